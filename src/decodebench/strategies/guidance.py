"""Classifier-free guidance (Sanchez et al. 2023): away from what the model says without the prompt.

Any strategy that is a step on rows can be guided. Each of its rows gets a companion, which starts from something else
than the prompt and is fed the same tokens. The strategy sees its own rows only, and in place of their logits

    log p(without) + guidance_scale * (log p(with) - log p(without))

which is transformers' definition. The log-probs that are recorded stay those of the model with the prompt.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from decodebench.errors import ConfigError, PromptError
from decodebench.strategies.base import Strategy
from decodebench.strategies.step import ModelFacts, Moves, Scores, State, View, true_or_all


def guided(strategy: Strategy, facts: ModelFacts) -> Strategy:
    """The strategy as it is decoded: itself, or under guidance where its numbers ask for that.

    Raises ConfigError where guidance does not fit the strategy, or where the negative prompt has no tokens.
    """
    if strategy.guidance_scale == 1.0:
        return strategy
    name = type(strategy).__name__
    problem = None
    if not strategy.packs:
        problem = f"{name} takes several tokens at a time"
    elif strategy.hidden_layers(facts) or strategy.second_model:
        problem = f"{name} reads more of the model than its scores"
    if problem:
        raise ConfigError(f"strategy.guidance_scale={strategy.guidance_scale}: allowed is 1.0, {problem}")
    negative_ids = None
    if strategy.negative_prompt is not None:
        try:
            negative_ids = facts.encode_prompt(strategy.negative_prompt)
        except PromptError:
            negative_ids = ()
        if not negative_ids:
            text = strategy.negative_prompt
            raise ConfigError(f"strategy.negative_prompt={text!r}: has no tokens; allowed is null, or a text with some")
    numbers = {f.name: getattr(strategy, f.name) for f in fields(Strategy)}
    return Guided(inner=strategy, negative_ids=negative_ids, **numbers)


@dataclass(frozen=True, kw_only=True)
class Guided(Strategy):
    """`inner` under guidance. A request owns the rows of `inner`, and behind them their companions.

    `negative_ids` is what companions start from; None: the last token of the prompt, as in transformers.
    """

    inner: Strategy
    negative_ids: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        return 2 * self.inner.rows

    @property
    def width(self) -> int:
        return 2 * self.inner.width

    @property
    def samples(self) -> int:
        return self.inner.samples

    @property
    def returns(self) -> int:
        return self.inner.returns

    def check(self, facts: ModelFacts) -> None:
        self.inner.check(facts)

    def row_prompts(self, prompt_ids: tuple[int, ...], facts: ModelFacts) -> list[tuple[int, ...]]:
        start = prompt_ids[-1:] if self.negative_ids is None else self.negative_ids
        return [*self.inner.row_prompts(prompt_ids, facts), *[start] * self.inner.rows]

    def start(self, requests: int, device: torch.device) -> State:
        return self._doubled(self.inner.start(requests, device), requests)

    def step(self, view: View, state: State) -> Moves:
        main_B = self._main(view)
        requests = len(main_B) // self.inner.rows
        moves = self.inner.step(self._guided(view, main_B), _of_main(state, main_B))
        if moves.logprob_B is not None:
            raise ValueError(f"{type(self.inner).__name__} cannot be guided: it gives log-probs of its own")
        parent_B = main_B[moves.parent_B]
        return Moves(
            parent_B=_joined(requests, parent_B, parent_B + self.inner.rows),
            emit_B=_joined(requests, moves.emit_B, moves.emit_B),
            feed_B=_joined(requests, moves.feed_B, moves.feed_B),
            state=self._doubled(moves.state, requests),
        )

    def _main(self, view: View) -> Tensor:
        """The rows of `inner`; the companion of each lies `inner.rows` behind it."""
        row_B = torch.arange(len(view.physical_B), device=view.device)
        return row_B.view(-1, self.rows)[:, : self.inner.rows].flatten()

    def _guided(self, view: View, main_B: Tensor) -> View:
        """What `inner` sees: its own rows, with guided scores where they were fed."""
        own, companions = view.select(main_B), view.select(main_B + self.inner.rows)
        rests_B = own.physical_B < 0
        fed = true_or_all(~rests_B)
        with_BV, without_BV = (
            view.scores.rows(rows).sub_(view.scores.log_normalizer(rows)[:, None])
            for rows in (own.physical_B[fed], companions.physical_B[fed])
        )
        never_BV = with_BV == -torch.inf  # without the prompt too, it may be: -inf - -inf is no number
        scores_BV = with_BV.sub_(without_BV).mul_(self.guidance_scale).add_(without_BV)
        scores_BV.masked_fill_(never_BV, -torch.inf)
        place_B = torch.full_like(main_B, -1).index_copy(0, fed, torch.arange(len(fed), device=view.device))
        return replace(own, scores=Scores(scores_BV), physical_B=place_B.masked_fill(rests_B, -1), guided=True)

    def _doubled(self, state: State, requests: int) -> State:
        """The state that `inner` keeps of its rows, for the companions too, so that it follows them; the rest as is."""
        rows = requests * self.inner.rows
        return {name: _joined(requests, kept, kept) if len(kept) == rows else kept for name, kept in state.items()}

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        main_B = self._main(view)
        return self.inner.ranking(view.select(main_B), _of_main(state, main_B))

    def margins(self, state: State) -> Tensor | None:
        return self.inner.margins(state)

    def generation_config(self) -> dict[str, Any]:
        return self.inner.generation_config()


def _of_main(state: State, main_B: Tensor) -> State:
    """What `inner` knows as its state."""
    return {name: kept[main_B] if len(kept) == 2 * len(main_B) else kept for name, kept in state.items()}


def _joined(requests: int, main: Tensor, companions: Tensor) -> Tensor:
    """What holds for the rows of `inner`, request by request followed by what holds for their companions."""
    return torch.cat([part.reshape(requests, -1, *part.shape[1:]) for part in (main, companions)], dim=1).flatten(0, 1)
