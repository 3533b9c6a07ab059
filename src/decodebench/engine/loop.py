"""The packed decoding loop: rows of every strategy and prompt advance in one forward pass."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import torch

from decodebench.engine.block import Block, Outcome, Request
from decodebench.engine.rows import Prefix, Rows
from decodebench.errors import DecodebenchError, ModelError
from decodebench.strategies.base import EMPTY

log = logging.getLogger(__name__)

Sink = Callable[[Sequence[Outcome]], None]
Failure = Callable[[str, str], None]


class Decoder:
    """Decodes requests; each finished one goes to `sink` at once, each failing cell to `failure(cell, why)`.

    Requests are admitted prompt by prompt while the rows that they feed at once fit `max_rows`; as others finish,
    more come in. A prompt is prefilled once and kept until its last request is admitted.
    """

    def __init__(self, rows: Rows, *, max_rows: int, sink: Sink, failure: Failure) -> None:
        self._rows = rows
        self._max_rows = max_rows
        self._sink = sink
        self._failure = failure
        self._blocks: dict[str, Block] = {}
        self._pending: deque[Request] = deque()
        self._waiting: Counter[tuple[int, ...]] = Counter()
        self._prefixes: dict[tuple[int, ...], Prefix] = {}

    def run(self, requests: Iterable[Request], tick: Callable[[int], None] = lambda tokens: None) -> None:
        """Decode all requests; `tick(rows)` is called after each step with the rows fed."""
        by_prompt: dict[tuple[int, ...], list[Request]] = {}
        for request in requests:
            by_prompt.setdefault(request.prompt_ids, []).append(request)
        for group in by_prompt.values():
            self._pending.extend(group)
        for request in self._pending:
            self._waiting.update(set(request.strategy.row_prompts(request.prompt_ids)))
        with torch.inference_mode():
            while self._pending or self._blocks:
                self._admit()
                tick(self._step())

    def _admit(self) -> None:
        room = self._max_rows - sum(b.strategy.width * len(b.requests) for b in self._blocks.values())
        admitted: list[Request] = []
        while self._pending and (self._pending[0].strategy.width <= room or not (self._blocks or admitted)):
            request = self._pending.popleft()
            room -= request.strategy.width
            admitted.append(request)
        if not admitted:
            return
        starts = [request.strategy.row_prompts(request.prompt_ids) for request in admitted]
        needed = list(dict.fromkeys(ids for start in starts for ids in start))
        missing = [ids for ids in needed if ids not in self._prefixes]
        self._prefixes.update(zip(missing, self._rows.prefill(missing), strict=True))
        row_of = dict(zip(needed, self._rows.admit([self._prefixes[ids] for ids in needed]), strict=True))
        for request, start in zip(admitted, starts, strict=True):
            block = self._blocks.get(request.cell)
            if block is None:
                block = self._blocks[request.cell] = Block(request.strategy, request.eos_ids, self._rows.device)
            block.add(request, [(self._prefixes[ids], row_of[ids]) for ids in start])
            self._release(request)

    def _release(self, request: Request) -> None:
        """Forget the prefilled prompts that no waiting request needs."""
        for ids in set(request.strategy.row_prompts(request.prompt_ids)):
            self._waiting[ids] -= 1
            if not self._waiting[ids]:
                self._prefixes.pop(ids, None)

    def _step(self) -> int:
        """One step of every block and one forward pass; returns the rows fed, counted as if none were shared."""
        self._drop_broken_rows()
        answers = []
        for cell, block in list(self._blocks.items()):
            try:
                answers.append((cell, block, *block.step(self._rows)))
            except (DecodebenchError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
                log.exception("cell %s failed", cell)
                self._fail(cell, f"{type(error).__name__}: {error}")
        if not answers:
            self._rows.advance([], [])
            return 0
        # The one place of a step where the device is waited for.
        parent_and_token = torch.stack([torch.cat([a[2] for a in answers]), torch.cat([a[3] for a in answers])])
        parents, tokens = parent_and_token.tolist()
        pairs = dict.fromkeys((p, t) for p, t in zip(parents, tokens, strict=True) if t != EMPTY)
        slots = self._rows.advance([p for p, _ in pairs], [t for _, t in pairs])
        slot_of = dict(zip(pairs, slots, strict=True))
        where = [slot_of.get(pair, EMPTY) for pair in zip(parents, tokens, strict=True)]
        self._settle([(cell, block) for cell, block, *_ in answers], where)
        return sum(token != EMPTY for token in tokens)

    def _settle(self, blocks: Sequence[tuple[str, Block]], where: Sequence[int]) -> None:
        done: list[Outcome] = []
        at = 0
        for cell, block in blocks:
            size = len(block.physical_B)
            done += block.settle(where[at : at + size], self._rows.feeds_whole)
            at += size
            if not block.requests:
                del self._blocks[cell]
        if done:
            self._sink(done)

    def _drop_broken_rows(self) -> None:
        """Fail the cells that rest on rows whose logits are NaN or infinite; the other rows go on."""
        all_rows = torch.arange(self._rows.count, device=self._rows.device)
        finite = torch.isfinite(self._rows.scores.log_normalizer(all_rows))
        if bool(finite.all()):
            return
        broken = set((~finite).nonzero().squeeze(-1).tolist())
        for cell, block in list(self._blocks.items()):
            hit = [b for b, row in enumerate(block.physical_B.tolist()) if row in broken]
            if hit:
                request = block.requests[hit[0] // block.strategy.rows]
                error = ModelError(f"the model's logits are NaN or infinite in prompt {request.prompt_id}")
                self._fail(cell, f"{type(error).__name__}: {error}")
        for row in broken:
            self._rows.scrub(row)

    def _fail(self, cell: str, why: str) -> None:
        self._blocks.pop(cell, None)
        for request in [r for r in self._pending if r.cell == cell]:
            self._pending.remove(request)
            self._release(request)
        self._failure(cell, why)
