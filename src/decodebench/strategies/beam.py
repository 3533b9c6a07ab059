"""Beam search, with the bookkeeping of transformers 5 so that both return the same tokens."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.base import Strategy
from decodebench.strategies.edits import edited, edits
from decodebench.strategies.step import EMPTY, ModelFacts, Moves, Scores, State, View

NEVER = -1.0e9
"""The score of what must not be chosen; finite, so that sums with it stay ordered."""


@dataclass(frozen=True, kw_only=True)
class Advance:
    """What a search does with its 2 x beams rows, [R, 2 x beams]: first those that run, then those that are finished.

    `source` is the row among the same 2 x beams that a row continues; `stop` [R, 1] says where the search is over.
    """

    source: Tensor
    emit: Tensor
    feed: Tensor
    stop: Tensor
    state: State


def logprobs(strategy: Strategy, rows: View) -> tuple[Scores, Tensor, Tensor]:
    """Log-probs after the strategy's penalties, as scores, the rows in which to find them, and what to subtract [B, 1].

    A search's penalties work on log-probs. Where there are none, the scores are the engine's shared ones.
    """
    log_z_B1 = rows.log_z_B[:, None]
    if not edits(strategy, rows.facts):
        return rows.scores, rows.physical_B, log_z_B1
    scores, at = edited(strategy, rows, minus_B=rows.log_z_B)
    return scores, at, torch.zeros_like(log_z_B1)


def top_logprobs(strategy: Strategy, rows: View, count: int) -> tuple[Tensor, Tensor]:
    """The largest log-probs of each row after the strategy's penalties, and their tokens, [B, count]."""
    scores, at, log_z_B1 = logprobs(strategy, rows)
    score_BC, token_BC = scores.top(at, count)
    return score_BC - log_z_B1, token_BC


def best_of_beams(score_BC: Tensor, token_BC: Tensor, running: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the C tokens of each running beam the `count` best by accumulated score: score, beam, token, best first."""
    requests, beams = running.shape
    total = (score_BC.view(requests, beams, -1) + running[:, :, None]).flatten(1)
    score_RC, at = torch.topk(total, count)
    return score_RC, at // score_BC.shape[1], token_BC.reshape(requests, -1).gather(1, at)


def rows_of(beam_RC: Tensor, beams: int) -> Tensor:
    """The row of each beam among those of all requests, which have `beams` rows each."""
    return torch.arange(len(beam_RC), device=beam_RC.device)[:, None] * beams + beam_RC


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
            most = self.num_beams * vocabulary // needed
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
        requests = len(view.physical_B) // self.rows
        running = view.select(self._running_rows(view, requests, self.num_beams))
        advance = self._advance(running, state, self._candidates(view, state["running"]))
        first_row = torch.arange(requests, device=view.device)[:, None] * self.rows
        return Moves(
            parent_B=(first_row + advance.source).flatten(),
            emit_B=advance.emit.flatten(),
            feed_B=advance.feed.flatten(),
            state=advance.state,
        )

    def _advance(self, rows: View, state: State, candidates: tuple[Tensor, Tensor, Tensor]) -> Advance:
        """Choose what runs on and what is kept as finished, of C candidates of each request or group.

        `rows` are the running beams, which are all as long.
        """
        score_RC, beam_RC, token_RC = candidates
        requests, beams = state["running"].shape
        new_R1 = rows.new_B.view(requests, -1)[:, :1] + 1  # length of what is chosen now
        limit_R1 = rows.limit_B.view(requests, -1)[:, :1]
        ends_RC = rows.ends(token_RC, rows_of(beam_RC, beams))
        running, run_at = self._runs_on(score_RC, ends_RC, beams)
        finished, is_finished, merged_at = self._finish(state, score_RC, ends_RC, new_R1)
        improvable = state["improvable"] & self._may_improve(running, finished, is_finished, new_R1, limit_R1)
        stop_R1 = ~improvable | ends_RC.all(1, keepdim=True)
        if self.early_stopping is True:
            stop_R1 |= is_finished.all(1, keepdim=True)

        kept_before = merged_at < beams  # a finished hypothesis that stays; otherwise a candidate that ends now
        candidate = (merged_at - beams).clamp_min(0)
        token_run = token_RC.gather(1, run_at)
        source_finished = torch.where(kept_before, beams + merged_at, beam_RC.gather(1, candidate))
        emit_finished = torch.where(kept_before, EMPTY, token_RC.gather(1, candidate))
        return Advance(
            source=torch.cat([beam_RC.gather(1, run_at), source_finished], dim=1),
            emit=torch.cat([token_run, emit_finished], dim=1),
            feed=torch.cat([torch.where(stop_R1, EMPTY, token_run), torch.full_like(token_run, EMPTY)], dim=1),
            stop=stop_R1,
            state={"running": running, "finished": finished, "is_finished": is_finished, "improvable": improvable},
        )

    def _candidates(self, view: View, running: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best C continuations of each request: score, beam and token, [R, C]; of the first num_beams some end."""
        count = self._candidate_count(view.eos_ids.numel())
        score_BC, token_BC = top_logprobs(self, view.select(self._running_rows(view, *running.shape)), count)
        return best_of_beams(score_BC, token_BC, running, count)

    @staticmethod
    def _running_rows(view: View, requests: int, beams: int) -> Tensor:
        """The rows of the running beams, request-major."""
        return torch.arange(len(view.physical_B), device=view.device).view(requests, -1)[:, :beams].flatten()

    def _runs_on(self, score_RC: Tensor, ends_RC: Tensor, beams: int) -> tuple[Tensor, Tensor]:
        """The scores and places of the candidates that run on, the best first."""
        return torch.topk(score_RC + ends_RC * NEVER, beams)

    def _finish(self, state: State, score_RC: Tensor, ends_RC: Tensor, new_R1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Merge what ends now into the finished hypotheses: scores, flags, and the place in [finished, candidates]."""
        beams = state["finished"].shape[1]
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
