"""Beam search, with the bookkeeping of transformers 5 so that both return the same tokens."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.scores import top_by_value_then_id
from decodebench.strategies.base import EMPTY, ModelFacts, Moves, State, Strategy, View
from decodebench.strategies.edits import edit_scores, edits

NEVER = -1.0e9
"""The score of what must not be chosen; finite, so that sums with it stay ordered."""


@dataclass(frozen=True, kw_only=True)
class Beam(Strategy):
    """Keep the `num_beams` likeliest prefixes; return the best finished ones by log-prob / length**length_penalty.

    Source: Sutskever et al. 2014; length penalty and stopping rules as transformers defines them. A request owns
    2 x num_beams rows: the first half runs, the second half rests and holds the finished hypotheses.
    """

    num_beams: int = 5
    num_return_sequences: int = 5
    length_penalty: float = 1.0
    early_stopping: Any = True

    is_search: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("num_beams", self.num_beams >= 2, "2 or more (1 beam: use strategy=greedy)")
        self.require(
            "num_return_sequences",
            1 <= self.num_return_sequences <= self.num_beams,
            f"1 to strategy.num_beams={self.num_beams}",
        )
        stops = isinstance(self.early_stopping, bool) or self.early_stopping == "never"
        self.require("early_stopping", stops, "true, false, or never")

    @property
    def rows(self) -> int:
        return 2 * self.num_beams

    @property
    def width(self) -> int:
        return self.num_beams

    @property
    def returns(self) -> int:
        return self.num_return_sequences

    def _candidate_count(self, eos_count: int) -> int:
        """So many candidates that num_beams unfinished ones always remain: (end tokens + 1) for each beam."""
        return max(2, 1 + eos_count) * self.num_beams

    def check(self, facts: ModelFacts) -> None:
        vocabulary, eos_count = facts.vocabulary, len(facts.eos_ids)
        needed = self._candidate_count(eos_count)
        if needed > vocabulary:
            most = vocabulary // max(2, 1 + eos_count)
            raise ConfigError(
                f"strategy.num_beams={self.num_beams}: needs {needed} candidates of a vocabulary of {vocabulary}; "
                f"allowed is up to {most}"
            )

    def start(self, requests: int, device: torch.device) -> State:
        running = torch.full((requests, self.num_beams), NEVER, device=device)
        running[:, 0] = 0.0  # all beams start as the same prefix: only the first may be continued
        return {
            "running": running,
            "finished": torch.full((requests, self.num_beams), NEVER, device=device),
            "is_finished": torch.zeros(requests, self.num_beams, dtype=torch.bool, device=device),
            "improvable": torch.ones(requests, 1, dtype=torch.bool, device=device),
        }

    def step(self, view: View, state: State) -> Moves:
        beams = self.num_beams
        requests = len(view.physical_B) // self.rows
        new_R1 = view.new_B.view(requests, -1)[:, :1] + 1  # length of what is chosen now; all running rows are as long
        limit_R1 = view.limit_B.view(requests, -1)[:, :1]

        score_RC, beam_RC, token_RC = self._candidates(view, state["running"])
        ends_RC = view.ends(token_RC, new_R1, limit_R1)

        running, run_at = torch.topk(score_RC + ends_RC * NEVER, beams)
        finished, is_finished, merged_at = self._finish(state, score_RC, ends_RC, new_R1)
        improvable = state["improvable"] & self._may_improve(running, finished, is_finished, new_R1, limit_R1)
        stop_R1 = ~improvable | ends_RC.all(1, keepdim=True)
        if self.early_stopping is True:
            stop_R1 |= is_finished.all(1, keepdim=True)

        first_row = torch.arange(requests, device=view.device)[:, None] * self.rows
        kept_before = merged_at < beams  # a finished hypothesis that stays; otherwise a candidate that ends now
        candidate = (merged_at - beams).clamp_min(0)
        token_run = token_RC.gather(1, run_at)
        parent = torch.cat(
            [
                first_row + beam_RC.gather(1, run_at),
                first_row + torch.where(kept_before, beams + merged_at, beam_RC.gather(1, candidate)),
            ],
            dim=1,
        )
        emit = torch.cat([token_run, torch.where(kept_before, EMPTY, token_RC.gather(1, candidate))], dim=1)
        feed = torch.cat([torch.where(stop_R1, EMPTY, token_run), torch.full_like(token_run, EMPTY)], dim=1)
        new_state = {"running": running, "finished": finished, "is_finished": is_finished, "improvable": improvable}
        return Moves(parent_B=parent.flatten(), emit_B=emit.flatten(), feed_B=feed.flatten(), state=new_state)

    def _candidates(self, view: View, running: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best C continuations of each request: score, beam and token, [R, C], best first."""
        requests, beams = running.shape
        count = self._candidate_count(view.eos_ids.numel())
        runs = torch.arange(len(view.physical_B), device=view.device).view(requests, -1)[:, :beams].flatten()
        rows = view.select(runs)
        log_z_B1 = rows.scores.log_normalizer(rows.physical_B)[:, None]
        if edits(self):  # a search's penalties work on log-probs
            score_BC, token_BC = top_by_value_then_id(edit_scores(self, rows, rows.logits_BV.sub_(log_z_B1)), count)
        else:
            score_BC, token_BC = rows.scores.top(rows.physical_B, count)
            score_BC = score_BC - log_z_B1
        total = (score_BC.view(requests, beams, -1) + running[:, :, None]).flatten(1)
        score_RC, at = torch.topk(total, count)
        return score_RC, at // score_BC.shape[1], token_BC.reshape(requests, -1).gather(1, at)

    def _finish(self, state: State, score_RC: Tensor, ends_RC: Tensor, new_R1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Merge what ends now into the finished hypotheses: scores, flags, and the place in [finished, candidates]."""
        beams = self.num_beams
        ends_now = ends_RC & (torch.arange(ends_RC.shape[1], device=ends_RC.device) < beams)
        closed = ~state["improvable"]
        if self.early_stopping is True:
            closed = closed | state["is_finished"].all(1, keepdim=True)
        normalized = score_RC / new_R1.to(torch.float32) ** self.length_penalty
        normalized = normalized + closed * NEVER + ~ends_now * NEVER
        finished, merged_at = torch.topk(torch.cat([state["finished"], normalized], dim=1), beams)
        is_finished = torch.cat([state["is_finished"], ends_now], dim=1).gather(1, merged_at)
        return finished, is_finished, merged_at

    def _may_improve(
        self, running: Tensor, finished: Tensor, is_finished: Tensor, new_R1: Tensor, limit_R1: Tensor
    ) -> Tensor:
        """Whether the best running beam can still beat the worst finished one (transformers' heuristic)."""
        length = limit_R1 if self.early_stopping == "never" and self.length_penalty > 0 else new_R1
        best_running = running[:, :1] / length.to(torch.float32) ** self.length_penalty
        worst_finished = torch.where(is_finished, finished.min(1, keepdim=True).values, NEVER)
        return (best_running > worst_finished).any(1, keepdim=True)

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        finished = state["finished"][:, : self.returns].cpu()
        return torch.arange(self.num_beams, self.num_beams + self.returns).expand(len(finished), -1), finished

    def generation_config(self) -> dict[str, Any]:
        return {
            "do_sample": False,
            "num_beams": self.num_beams,
            "num_return_sequences": self.num_return_sequences,
            "length_penalty": self.length_penalty,
            "early_stopping": self.early_stopping,
        }
