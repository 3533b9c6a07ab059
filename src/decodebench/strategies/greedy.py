"""Greedy search: always the likeliest token."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from decodebench.strategies.base import EMPTY, Moves, State, Strategy, View
from decodebench.strategies.edits import edited


def advance_alone(view: View, token_B: torch.Tensor) -> Moves:
    """The moves of a strategy whose rows each go their own way: emit a token, and feed it unless the text ends."""
    ended = view.ends(token_B, view.new_B + 1, view.limit_B)
    parent_B = torch.arange(len(token_B), device=view.device)
    return Moves(parent_B=parent_B, emit_B=token_B, feed_B=torch.where(ended, EMPTY, token_B))


@dataclass(frozen=True, kw_only=True)
class Greedy(Strategy):
    """argmax of the raw distribution at each step."""

    is_search: ClassVar[bool] = True

    def step(self, view: View, state: State) -> Moves:
        scores, rows = edited(self, view)
        return advance_alone(view, scores.top(rows, 1)[1].squeeze(1))

    def generation_config(self) -> dict[str, Any]:
        return {"do_sample": False, "num_beams": 1}
