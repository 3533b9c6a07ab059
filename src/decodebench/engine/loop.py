"""The packed decoding loop: rows of every strategy and prompt advance in one forward pass."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain

import torch
from torch import Tensor

from decodebench.engine.block import Block, Feed, Outcome, Request
from decodebench.engine.rows import Prefix, Rows
from decodebench.errors import ModelError, guarded
from decodebench.strategies.step import EMPTY, Questions

Sink = Callable[[Sequence[Outcome]], None]
Failure = Callable[[str, str], None]
Starts = tuple[tuple[int, ...], ...]
"""What each row of a request starts from."""

Answer = tuple[Tensor, Tensor, Tensor]
"""Of a block's rows: the physical rows that go on, the tokens that they feed; and whether the step is sure of them."""

BROKEN = ""
"""In place of a cell: what is not sure is that all logits are numbers."""


class Decoder:
    """Decodes requests; each finished one goes to `sink` at once, each failing cell to `failure(cell, why)`.

    Whatever a strategy raises, or `sink` of its texts, fails its cell and no other. What a pass of the model raises,
    which all of them share, `run` raises.

    Requests are admitted prompt by prompt while the rows that they feed at once fit `max_rows`; as others finish,
    more come in. A prompt is prefilled once and kept until its last request is admitted.
    """

    def __init__(self, rows: Rows, *, max_rows: int, sink: Sink, failure: Failure) -> None:
        self._rows = rows
        self._max_rows = max_rows
        self._sink = sink
        self._failure = failure
        self._blocks: dict[str, Block] = {}
        self._failed: set[str] = set()
        self._pending: deque[tuple[Request, Starts]] = deque()
        self._waiting: Counter[tuple[int, ...]] = Counter()
        self._prefixes: dict[tuple[int, ...], Prefix] = {}

    def run(self, requests: Iterable[Request], tick: Callable[[int], object] = lambda rows: None) -> None:
        """Decode all requests; `tick(rows)` is called after each step with the rows fed."""
        by_prompt: dict[tuple[int, ...], list[Request]] = {}
        for request in requests:
            by_prompt.setdefault(request.prompt_ids, []).append(request)
        for request in chain.from_iterable(by_prompt.values()):
            with self._guarded(request.cell):
                self._rows.refuse_unreadable(request.strategy.hidden_layers(request.facts))
                starts = tuple(request.strategy.row_prompts(request.prompt_ids, request.facts))
                self._pending.append((request, starts))
                self._waiting.update(set(starts))
        with torch.inference_mode():
            while self._pending or self._blocks:
                self._admit()
                if self._blocks:
                    tick(self._step())

    def _guarded(self, cell: str) -> AbstractContextManager[None]:
        """Strategies are anybody's code: whatever one of them raises fails its cell, and no other."""
        return guarded(lambda error: self._fail(cell, str(error)))

    def _admit(self) -> None:
        """Let waiting requests in, while there is room; with nothing under way, one at least."""
        room = self._max_rows - sum(b.strategy.width * len(b.requests) for b in self._blocks.values())
        admitted: list[tuple[Request, Starts]] = []
        while self._pending and (self._pending[0][0].strategy.width <= room or not (self._blocks or admitted)):
            request, starts = self._pending.popleft()
            if request.cell in self._failed:
                self._release(starts)
                continue
            room -= request.strategy.width
            admitted.append((request, starts))
        if not admitted:
            return
        needed = list(dict.fromkeys(ids for _, starts in admitted for ids in starts))
        missing = [ids for ids in needed if ids not in self._prefixes]
        self._prefixes.update(zip(missing, self._rows.prefill(missing), strict=True))
        row_of = dict(zip(needed, self._rows.admit([self._prefixes[ids] for ids in needed]), strict=True))
        for request, starts in admitted:
            with self._guarded(request.cell):
                block = self._blocks.get(request.cell) or Block(request.strategy, request.facts, self._rows.device)
                block.add(request, [(self._prefixes[ids], row_of[ids]) for ids in starts])
                self._blocks[request.cell] = block
        for _, starts in admitted:
            self._release(starts)

    def _release(self, starts: Starts) -> None:
        """Forget the prefilled prompts that no waiting request needs."""
        for ids in set(starts):
            self._waiting[ids] -= 1
            if not self._waiting[ids]:
                self._prefixes.pop(ids, None)

    def _step(self) -> int:
        """One step of every block and one forward pass; returns the rows fed, counted as if none were shared."""
        feeds: dict[str, list[Feed]] = {}
        done: dict[str, list[Outcome]] = {}
        # Texts that end are read before the next forward pass is given to the device: now it has nothing to do.
        for cell, own in self._feeds().items():
            with self._guarded(cell):
                self._check(own)
                done[cell], feeds[cell] = self._blocks[cell].finish(own, self._rows)
        pairs = dict.fromkeys(feed for own in feeds.values() for feed in own if feed[1] != EMPTY)
        slots = self._rows.advance([p for p, _ in pairs], [t for _, t in pairs])
        slot_of = dict(zip(pairs, slots, strict=True))
        for cell, own in feeds.items():
            self._blocks[cell].place([slot_of.get(feed, EMPTY) for feed in own], self._rows)
            if not own:
                del self._blocks[cell]
        for cell, outcomes in done.items():
            if outcomes:
                with self._guarded(cell):
                    self._sink(outcomes)
        return sum(feed[1] != EMPTY for own in feeds.values() for feed in own)

    def _feeds(self) -> dict[str, list[Feed]]:
        """What each cell's rows do next.

        The host waits for the device once, in `_read`; where a question was left open and the answer is no, twice.
        """
        finite = Questions.first(self._rows.device)
        if not finite.all_true(self._finite_N()):
            self._drop_broken_rows()
        feeds, unsure = self._read(self._answers(self._blocks, Block.step), finite)
        if BROKEN in unsure:
            for block in self._blocks.values():
                block.undo()
            self._drop_broken_rows()
            feeds, unsure = {}, list(self._blocks)
        if unsure:
            again = {cell: self._blocks[cell] for cell in unsure}
            feeds |= self._read(self._answers(again, Block.step_again), Questions())[0]
        return {cell: own for cell, own in feeds.items() if cell in self._blocks}

    def _answers(self, blocks: Mapping[str, Block], step: Callable[[Block, Rows], Answer]) -> dict[str, Answer]:
        """What the strategies answer; a cell whose strategy raises an error fails."""
        answers = {}
        for cell, block in list(blocks.items()):
            with self._guarded(cell):
                answers[cell] = step(block, self._rows)
        return answers

    def _read(self, answers: Mapping[str, Answer], finite: Questions) -> tuple[dict[str, list[Feed]], list[str]]:
        """All answers in one transfer: what is fed, and the cells that are not sure (BROKEN: a row is not finite)."""
        sure = [finite.answer(self._rows.device), *(answer[2] for answer in answers.values())]
        flat = torch.cat(
            [*(a[0] for a in answers.values()), *(a[1] for a in answers.values()), torch.stack(sure).to(torch.int64)]
        ).tolist()
        count = (len(flat) - len(sure)) // 2
        feeds = list(zip(flat[:count], flat[count : 2 * count], strict=True))
        unsure = [cell for cell, yes in zip([BROKEN, *answers], flat[2 * count :], strict=True) if not yes]
        own = {}
        at = 0
        for cell, (parent_B, _, _) in answers.items():
            own[cell] = feeds[at : at + len(parent_B)]
            at += len(parent_B)
        return own, unsure

    def _check(self, feeds: Sequence[Feed]) -> None:
        wrong = [token for _, token in feeds if not EMPTY <= token < self._rows.scores.vocabulary]
        if wrong:
            raise ValueError(f"token {wrong[0]} to be fed; the model knows 0 to {self._rows.scores.vocabulary - 1}")
        if any(parent == EMPTY and token != EMPTY for parent, token in feeds):
            raise ValueError("a row that rests was fed: what it said is gone, only rows that were fed can be continued")

    def _finite_N(self) -> Tensor:
        """Which rows have logits that are numbers, of both models where there are two."""
        all_rows = torch.arange(self._rows.count, device=self._rows.device)
        finite = torch.isfinite(self._rows.scores.log_normalizer(all_rows))
        if self._rows.amateur is not None:
            finite &= torch.isfinite(self._rows.amateur.log_normalizer(all_rows))
        return finite

    def _drop_broken_rows(self) -> None:
        """Fail the cells that rest on rows whose logits are NaN or infinite; the other rows go on."""
        broken = set((~self._finite_N()).nonzero().squeeze(-1).tolist())
        for cell, block in list(self._blocks.items()):
            hit = [b for b, row in enumerate(block.physical_B.tolist()) if row in broken]
            if hit:
                request = block.requests[hit[0] // block.strategy.rows]
                error = ModelError(f"the model's logits are NaN or infinite in prompt {request.prompt_id}")
                self._fail(cell, f"{type(error).__name__}: {error}")
        for row in broken:
            self._rows.scrub(row)

    def _fail(self, cell: str, why: str) -> None:
        """Drop a cell: its rows, and what of it is waiting."""
        if cell in self._failed:
            return
        self._failed.add(cell)
        self._blocks.pop(cell, None)
        for entry in [e for e in self._pending if e[0].cell == cell]:
            self._pending.remove(entry)
            self._release(entry[1])
        self._failure(cell, why)
