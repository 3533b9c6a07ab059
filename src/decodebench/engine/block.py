"""A block: the live requests of one cell, their logical rows, and the texts so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decodebench.engine.rows import Prefix, Rows
from decodebench.records import Drafting
from decodebench.strategies import Strategy
from decodebench.strategies.step import (
    EMPTY,
    Draws,
    ModelFacts,
    Moves,
    Questions,
    State,
    View,
    handed_over,
    row_words,
    stream_key,
    upload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to decode: `strategy.returns` texts for one prompt and one sample index, at most `limit` tokens each."""

    cell: str
    strategy: Strategy
    prompt_id: str
    prompt_ids: tuple[int, ...]
    sample: int
    limit: int
    seed: int
    facts: ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One returned text of a request: `rank` 0 is the best; `computed_tokens` is booked on rank 0.

    `drafting` is there where several tokens were taken at a time.
    """

    request: Request
    rank: int
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    computed_tokens: int
    score: float | None
    token_margins: tuple[float, ...] | None = None
    drafting: Drafting | None = None


Feed = tuple[int, int]
"""What a logical row does next: the physical row that it continues, and the token that it feeds (EMPTY: none)."""


class Block:
    """The live requests of one cell: R requests of k logical rows each, request-major, B = R * k."""

    def __init__(self, strategy: Strategy, facts: ModelFacts, device: torch.device) -> None:
        self.strategy = strategy
        self._facts = facts
        self.requests: list[Request] = []
        self._device = device
        self._eos_ids = upload(facts.eos_ids, device)
        self._fed: list[int] = []
        self._prompt_hidden: list[dict[int, Tensor]] = []
        self._state: State = {}
        self.physical_B = self._int([])
        self._prefix_BL = self._int([]).view(0, 0)
        self._logprob_BL = torch.empty(0, 0, device=device)
        self._length_B = self._int([])
        self._prompt_length_B = self._int([])
        self._limit_B = self._int([])
        self._stop_B = self._int([])
        self._key_B2 = self._int([]).view(0, 2)
        self._words_BS2 = torch.empty(0, 0, 2, dtype=torch.int32, device=device)
        self._sample_B = self._int([])
        self._questions = Questions.first(device)
        self._before: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, State]

    def _int(self, values: Sequence[object]) -> Tensor:
        return upload(values, self._device)

    def add(self, request: Request, starts: Sequence[tuple[Prefix, int]]) -> None:
        """Add a request; `starts` gives for each of its rows the prefix it begins with and that prefix's row."""
        prefixes = [prefix.ids for prefix, _ in starts]
        width = max(self._prefix_BL.shape[1], max(map(len, prefixes)) + request.limit)
        old = self._prefix_BL.shape[1]
        new_ids = self._int([ids + (EMPTY,) * (width - len(ids)) for ids in prefixes])
        self._prefix_BL = torch.cat([_widened(self._prefix_BL, width - old, EMPTY), new_ids])
        new_logprobs = torch.full((len(starts), width), torch.nan, device=self._device)
        self._logprob_BL = torch.cat([_widened(self._logprob_BL, width - old, torch.nan), new_logprobs])
        lengths = self._int([len(ids) for ids in prefixes])
        self._length_B = torch.cat([self._length_B, lengths])
        self._prompt_length_B = torch.cat([self._prompt_length_B, lengths])
        k = len(starts)
        self._limit_B = torch.cat([self._limit_B, self._int([request.limit] * k)])
        stops = self._facts.stops
        behind = stops.after_prompt(request.prompt_ids) if stops else 0
        self._stop_B = torch.cat([self._stop_B, self._int([behind] * k)])
        self.physical_B = torch.cat([self.physical_B, self._int([row for _, row in starts])])
        key = stream_key(request.seed, request.prompt_ids)
        self._key_B2 = torch.cat([self._key_B2, self._int([key] * k)])
        words_S2 = handed_over(row_words(key, request.sample, request.limit), self._device)
        steps = max(self._words_BS2.shape[1], request.limit)
        self._words_BS2 = torch.cat([_filled(t, [steps, 2]) for t in (self._words_BS2, words_S2.expand(k, -1, -1))])
        self._sample_B = torch.cat([self._sample_B, self._int([request.sample] * k)])
        started = self.strategy.start(1, self._device)
        self._state = {
            name: _joined(self._state.get(name), started.get(name), len(self.requests))
            for name in {**self._state, **started}
        }
        self.requests.append(request)
        self._prompt_hidden.append(starts[0][0].hidden)  # not the prefix: its keys and values are in the cache now
        self._fed.append(sum(len(ids) for ids in dict.fromkeys(prefixes)))

    def view(self, rows: Rows) -> View:
        """What the strategy sees at this step."""
        return View(
            scores=rows.scores,
            physical_B=self.physical_B,
            prefix_BL=self._prefix_BL,
            logprob_BL=self._logprob_BL,
            length_B=self._length_B,
            prompt_length_B=self._prompt_length_B,
            limit_B=self._limit_B,
            stop_B=self._stop_B,
            eos_ids=self._eos_ids,
            draws=self._draws(),
            facts=self._facts,
            hidden=rows.hidden,
            exit_logits=rows.exit_logits,
            amateur=rows.amateur,
            questions=self._questions,
            prompt_hidden=lambda request, layer: self._prompt_hidden[request][layer],
        )

    def _draws(self) -> Draws:
        step_B = self._length_B - self._prompt_length_B
        known = step_B.clamp_max(self._words_BS2.shape[1] - 1)  # a text at its limit draws nothing any more
        row_B = torch.arange(len(known), device=self._device)
        return Draws(self._key_B2, self._sample_B, step_B, self._words_BS2[row_B, known])

    def step(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """One step: append what is emitted.

        Returns for each row the physical row to continue and the token to feed, and whether the step is sure of them.
        """
        self._questions = Questions.first(self._device, self._questions.least)
        return self._take(rows)

    def step_again(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """The same step, by one who waits for what it asks; from now on it looks at more in the first place."""
        self.undo()
        self._questions = self._questions.again()
        return self._take(rows)

    def undo(self) -> None:
        """Take the last step back."""
        self.physical_B, self._prefix_BL, self._logprob_BL, self._length_B, self._stop_B, self._state = self._before

    def _take(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        texts = (self.physical_B, self._prefix_BL, self._logprob_BL, self._length_B, self._stop_B)
        self._before = (*texts, self._state)
        moves = self.strategy.step(self.view(rows), self._state)
        for name in ("parent_B", "emit_B", "feed_B"):
            if getattr(moves, name).shape != self.physical_B.shape:
                raise ValueError(f"{name} has {len(getattr(moves, name))} rows; allowed is {len(self.physical_B)}")
        self._append(moves, rows)
        self._state = moves.state
        self.physical_B = self.physical_B[moves.parent_B]
        return self.physical_B, moves.feed_B, self._questions.answer(self._device)

    def _append(self, moves: Moves, rows: Rows) -> None:
        parent = moves.parent_B
        emits = moves.emit_B >= 0
        logprob = moves.logprob_B
        if logprob is None:
            logprob = rows.logprob(self.physical_B[parent].clamp_min(0), moves.emit_B.clamp_min(0))
        self._prefix_BL = self._prefix_BL[parent]
        self._logprob_BL = self._logprob_BL[parent]
        length = self._length_B[parent]
        at = torch.where(emits, length, 0)[:, None]
        old_ids, old_logprobs = self._prefix_BL.gather(1, at), self._logprob_BL.gather(1, at)
        self._prefix_BL.scatter_(1, at, torch.where(emits[:, None], moves.emit_B[:, None], old_ids))
        self._logprob_BL.scatter_(1, at, torch.where(emits[:, None], logprob[:, None], old_logprobs))
        self._length_B = length + emits
        if stops := self._facts.stops:
            self._stop_B = stops.step(self._stop_B[parent], moves.emit_B.clamp_min(EMPTY))[0]

    def finish(self, feeds: Sequence[Feed], rows: Rows) -> tuple[list[Outcome], list[Feed]]:
        """The texts of the requests that feed nothing more, which go; and what those that stay feed.

        Nothing more is fed after EOS or at the limit: the strategy decides so, by `View.ends`.
        """
        k = self.strategy.rows
        runs = [any(token != EMPTY for _, token in feeds[r * k : (r + 1) * k]) for r in range(len(self.requests))]
        finished = [r for r, goes_on in enumerate(runs) if not goes_on]
        if not finished:
            return [], list(feeds)
        outcomes = self._outcomes(finished, rows)
        kept = [r for r, goes_on in enumerate(runs) if goes_on]
        self._keep(kept)
        return outcomes, [feed for r in kept for feed in feeds[r * k : (r + 1) * k]]

    def _outcomes(self, finished: Sequence[int], rows: Rows) -> list[Outcome]:
        order, scores = self.strategy.ranking(self.view(rows), self._state)
        row_of = order.tolist()
        margins_BL = self.strategy.margins(self._state)
        starts, ends = torch.stack([self._prompt_length_B, self._length_B]).tolist()
        prefix_BL, logprob_BL = self._prefix_BL.cpu(), self._logprob_BL.cpu()
        margins_BL = None if margins_BL is None else margins_BL.cpu()
        outcomes = []
        for r in finished:
            for rank, row in enumerate(row_of[r]):
                b = r * self.strategy.rows + row
                text = slice(starts[b], ends[b])
                outcomes.append(
                    Outcome(
                        request=self.requests[r],
                        rank=rank,
                        token_ids=tuple(prefix_BL[b, text].tolist()),
                        token_logprobs=tuple(logprob_BL[b, text].tolist()),
                        computed_tokens=self._fed[r] if rank == 0 else 0,
                        score=None if scores is None else float(scores[r, rank]),
                        token_margins=None if margins_BL is None else tuple(margins_BL[b, text].tolist()),
                    )
                )
        return outcomes

    def place(self, slot_B: Sequence[int], rows: Rows) -> None:
        """Note where each row is now (EMPTY: it was not fed), and what feeding it took."""
        k = self.strategy.rows
        for r in range(len(self.requests)):
            slots = {slot for slot in slot_B[r * k : (r + 1) * k] if slot >= 0}
            self._fed[r] += sum(map(rows.cost, slots))  # rows of a request that are still one text count once
        self.physical_B = self._int(slot_B)

    def _keep(self, kept: Sequence[int]) -> None:
        """Drop all requests but these."""
        k, count = self.strategy.rows, len(self.requests)
        r_index = self._int(kept)
        b_index = (r_index[:, None] * k + torch.arange(k, device=self._device)).flatten()
        self._state = {n: t[b_index if len(t) == count * k else r_index] for n, t in self._state.items()}
        texts = ("physical_B", "_prefix_BL", "_logprob_BL", "_length_B", "_prompt_length_B", "_limit_B", "_stop_B")
        for name in (*texts, "_key_B2", "_sample_B", "_words_BS2"):
            setattr(self, name, getattr(self, name)[b_index])
        self.requests = [self.requests[r] for r in kept]
        self._prompt_hidden = [self._prompt_hidden[r] for r in kept]
        self._fed = [self._fed[r] for r in kept]


def _joined(old: Tensor | None, new: Tensor | None, requests: int) -> Tensor:
    """The state of running requests and that of one more; either may lack it, or have grown: zeros fill the gaps."""
    if not requests:
        old = None
    if old is None:
        if new is None:
            raise ValueError("a state without rows")
        old = new.new_zeros((len(new) * requests, *new.shape[1:]))
    if new is None:
        new = old.new_zeros((len(old) // requests, *old.shape[1:]))
    shape = [max(a, b) for a, b in zip(old.shape[1:], new.shape[1:], strict=True)]
    return torch.cat([_filled(old, shape), _filled(new, shape)])


def _filled(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    gaps = [(0, want - have) for have, want in zip(tensor.shape[1:], shape, strict=True)]
    return torch.nn.functional.pad(tensor, [n for gap in reversed(gaps) for n in gap])


def _widened(tensor_BL: Tensor, columns: int, value: float) -> Tensor:
    return torch.nn.functional.pad(tensor_BL, (0, max(0, columns)), value=value)
