"""Stochastic beam search: several texts of the model, drawn without replacement (Kool et al. 2019)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.base import Strategy
from decodebench.strategies.beam import logprobs
from decodebench.strategies.beam_sample import gumbel_top
from decodebench.strategies.step import EMPTY, ModelFacts, Moves, State, View, true_or_all


@dataclass(frozen=True, kw_only=True)
class StochasticBeam(Strategy):
    """The `num_beams` texts whose log-prob + Gumbel noise is largest, found by a beam search over that sum.

    Source: Kool et al. 2019. They are a draw of `num_beams` different texts from the model at this
    temperature, one after the other without replacement, and are returned in that order: the first is an ordinary
    sample. Their score is the perturbed log-prob. The penalties edit log-probs, which are then normalised again.

    The noise of a text is made on the way. What a prefix has is the largest perturbed log-prob of all texts that begin
    so: the continuations' own are drawn, and shifted so that their largest is the prefix's. A text that has ended stays
    in the beam with what it has. The noise belongs to (request, step, beam, token).
    """

    num_beams: int = 5
    temperature: float = 1.0

    is_search: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("num_beams", self.num_beams >= 1, "1 or more")
        self.require("temperature", self.temperature > 0, "above 0 (for temperature 0 use strategy=beam)")

    @property
    def in_transformers(self) -> bool:
        return False

    @property
    def rows(self) -> int:
        return self.num_beams

    @property
    def width(self) -> int:
        return self.num_beams

    @property
    def returns(self) -> int:
        return self.num_beams

    def check(self, facts: ModelFacts) -> None:
        most = facts.vocabulary - len(facts.eos_ids)
        if self.num_beams > most:
            raise ConfigError(
                f"strategy.num_beams={self.num_beams}: needs as many tokens that do not end a text, of a vocabulary of "
                f"{facts.vocabulary} with {len(facts.eos_ids)} end tokens; allowed is up to {most}"
            )

    def start(self, requests: int, device: torch.device) -> State:
        perturbed = torch.full((requests, self.num_beams), -torch.inf, dtype=torch.float64, device=device)
        perturbed[:, 0] = 0.0  # all rows start as the same prefix: only the first may be continued
        return {
            "log_prob": torch.zeros_like(perturbed),
            "perturbed": perturbed,
            "ended": torch.zeros_like(perturbed, dtype=torch.bool),
        }

    def step(self, view: View, state: State) -> Moves:
        beams = self.num_beams
        requests = len(view.physical_B) // beams
        log_prob, perturbed, token = self._continuations(view, state)
        perturbed, at = perturbed.topk(beams)
        row = at // beams
        stays = state["ended"].gather(1, row) | (perturbed == -torch.inf)
        token = torch.where(stays, EMPTY, token.gather(1, at))
        parent_B = (torch.arange(requests, device=view.device)[:, None] * beams + row).flatten()
        ends_B = view.ends(token.flatten(), parent_B)
        ended = state["ended"].gather(1, row) | (ends_B.view_as(stays) & ~stays)
        return Moves(
            parent_B=parent_B,
            emit_B=token.flatten(),
            feed_B=torch.where(ended, EMPTY, token).flatten(),
            state={"log_prob": log_prob.gather(1, at), "perturbed": perturbed, "ended": ended},
        )

    def _continuations(self, view: View, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """The num_beams best continuations of each row: log-prob, perturbed log-prob and token, [R, beams x beams].

        A text that has ended has one, itself; what is no continuation has a perturbed log-prob of -inf.
        """
        beams = self.num_beams
        log_prob_B1, perturbed_B1, ended_B1 = (state[name].view(-1, 1) for name in ("log_prob", "perturbed", "ended"))
        first_BK = torch.arange(beams, device=view.device).expand(len(ended_B1), -1) == 0
        log_prob_BK = log_prob_B1.repeat(1, beams)
        perturbed_BK = perturbed_B1.where(ended_B1 & first_BK, -torch.inf)
        token_BK = torch.full_like(first_BK, EMPTY, dtype=torch.int64)

        live_B1 = ~ended_B1 & (perturbed_B1 > -torch.inf)
        live_N = true_or_all(live_B1.squeeze(1))
        rows = view.select(live_N)
        scores, at, _ = logprobs(self, rows)
        value, noisy, token = gumbel_top(scores, at, self.temperature, rows.draws, live_N % beams, beams)
        shift = log_prob_B1[live_N] - scores.log_normalizer(at, self.temperature)[:, None]
        largest = perturbed_B1[live_N].where(rows.new_B[:, None] > 0, shift + noisy[:, :1])
        token_BK, log_prob_BK, perturbed_BK = (
            torch.where(live_B1, before.index_copy(0, live_N, own), before)
            for before, own in (
                (token_BK, token),
                (log_prob_BK, (shift + value).to(log_prob_BK.dtype)),
                (perturbed_BK, with_largest(shift + noisy, largest).to(perturbed_BK.dtype)),
            )
        )
        wide = (-1, beams * beams)
        return log_prob_BK.view(wide), perturbed_BK.view(wide), token_BK.view(wide)

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        perturbed = state["perturbed"].cpu()
        return torch.arange(self.num_beams).expand(len(perturbed), -1), perturbed

    def generation_config(self) -> dict[str, Any]:
        return {"do_sample": True, "num_beams": 1, "temperature": self.temperature}


def with_largest(perturbed_NK: Tensor, largest_N1: Tensor) -> Tensor:
    """Gumbel variables (largest first) under the condition that the largest is `largest_N1`.

    That is -log(exp(-largest) - exp(-z) + exp(-g)) of each g, where z is the largest of them now; in the form of the
    paper's appendix B, which neither overflows nor cancels.
    """
    below_NK = perturbed_NK - perturbed_NK[:, :1]  # log(1 - exp(below)) in the form that keeps its digits there
    rest_NK = torch.where(below_NK > -0.5, torch.log(-torch.expm1(below_NK)), torch.log1p(-torch.exp(below_NK)))
    v_NK = largest_N1 - perturbed_NK + rest_NK
    return largest_N1 - v_NK.clamp_min(0.0) - torch.log1p(torch.exp(-v_NK.abs()))
