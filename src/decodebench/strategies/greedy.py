"""Greedy search: always the likeliest token."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from decodebench.strategies.base import Strategy
from decodebench.strategies.edits import edited
from decodebench.strategies.step import EMPTY, Moves, State, View

MOST_MARGIN = 1e4
"""Where all other tokens are forbidden: a margin stays a number."""


def advance_alone(view: View, token_B: torch.Tensor) -> Moves:
    """The moves of a strategy whose rows each go their own way: emit a token, and feed it unless the text ends."""
    parent_B = torch.arange(len(token_B), device=view.device)
    ended = view.ends(token_B, parent_B)
    return Moves(parent_B=parent_B, emit_B=token_B, feed_B=torch.where(ended, EMPTY, token_B))


@dataclass(frozen=True, kw_only=True)
class Greedy(Strategy):
    """argmax of the raw distribution at each step. It notes how close each decision was: noise turns the close ones."""

    is_search: ClassVar[bool] = True

    def step(self, view: View, state: State) -> Moves:
        scores, rows = edited(self, view)
        value_BK, id_BK = scores.top(rows, 2)
        margin_B = (value_BK[:, 0] - value_BK[:, -1]).clamp_max(MOST_MARGIN)
        margin_BL = torch.zeros_like(view.logprob_BL)
        if (before_BL := state.get("margin_BL")) is not None:
            margin_BL[:, : before_BL.shape[1]] = before_BL
        margin_BL = margin_BL.scatter(1, view.length_B[:, None], margin_B[:, None])
        return replace(advance_alone(view, id_BK[:, 0]), state={"margin_BL": margin_BL})

    def margins(self, state: State) -> torch.Tensor | None:
        return state.get("margin_BL")  # a strategy that inherits from this one may keep another state

    def generation_config(self) -> dict[str, Any]:
        return {"do_sample": False, "num_beams": 1}
