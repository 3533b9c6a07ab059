"""Models of six words that know only the last one, so that a search can be followed by hand."""

from types import SimpleNamespace
from typing import Any

import torch

from decodebench.strategies import Beam, Greedy
from engine_runs import WHOLE, Run, requests_of, run

START, A, B, C, D, END = range(6)


class Chain(torch.nn.Module):
    """The probability of the next word, given the last; what is not given shares the rest evenly."""

    def __init__(self, **given: dict[int, float]) -> None:
        super().__init__()
        table = torch.zeros(6, 6, dtype=torch.float64)
        for word in range(6):
            row = given.get(("start", "a", "b", "c", "d", "end")[word], {})
            table[word] = (1 - sum(row.values())) / (6 - len(row))
            for follower, p in row.items():
                table[word, follower] = p
        self.logits = table.log().float()

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        return SimpleNamespace(logits=self.logits[input_ids])


def decoded(model: Chain, strategy: Beam | Greedy, limit: int, eos_ids: tuple[int, ...] = ()) -> Run:
    done = run(model, requests_of({"x": strategy}, {"p": (START,)}, limit=limit, eos_ids=eos_ids), forward=WHOLE)
    assert done.failures == {}
    return done


def ranks(done: Run) -> list[tuple[tuple[int, ...], float | None]]:
    """Texts and scores, best first."""
    return [(done.outcomes[key].token_ids, done.outcomes[key].score) for key in sorted(done.outcomes)]
