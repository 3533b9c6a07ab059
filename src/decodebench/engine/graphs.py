"""Decode steps as CUDA graphs: what the host would launch kernel by kernel, it launches as one.

A forward pass of a small batch takes a GPU less time than the host needs to launch its thousand kernels. A graph
repeats them with the shapes and the addresses of the step that was captured. So a captured step has a fixed number of
rows (those behind the last are fed for nothing) and of columns (those behind the write column are masked), and all that
differs from step to step is in one small tensor: tokens, lengths, write column.
"""

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.engine.cache import PackedCache
from decodebench.engine.decode_step import Network, Said, run_step, step_numbers
from decodebench.errors import one_line

_CAPTURED_AT = 3
"""A capture takes as long as a few steps: the third step of a shape is captured, most of its kind are still to come."""

_MOST_GRAPHS, _MOST_BYTES = 64, 2**30
"""What is kept: rows grow longer and seldom come back to a shape, so the oldest go. Bytes are of what graphs return."""


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: Any
    numbers: Tensor
    said: Said

    @property
    def nbytes(self) -> int:
        return self.said[0].nbytes + sum(hidden.nbytes for hidden in self.said[1].values())


class StepGraphs:
    """The captured steps of one cache: a shape that comes back is captured, others are run as they are."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        self._captured: dict[tuple[int, int], _Captured] = {}
        self._seen: Counter[tuple[int, int]] = Counter()
        self._memory: object = None
        self.failure: str | None = None
        """Why nothing is captured any more: steps are run as they are then."""

    def step(self, network: Network, cache: PackedCache, fed: list[int], length: list[int]) -> Said:
        """Feed one token to each row of the cache; only the first len(fed) rows of what is said count.

        It is valid until the next step. The cache has `padded_rows(len(fed))` slots at least.
        """
        if cache.memory is not self._memory:  # graphs write to where the buffers were
            self._memory = cache.memory
            self._drop()
        rows = padded_rows(len(fed))
        columns = min(_padded(cache.column + 1, least=32), cache.columns)
        shape = rows, columns
        numbers = step_numbers(fed, length, cache.column, self._device, rows)
        self._seen[shape] += 1
        if shape not in self._captured and self._seen[shape] >= _CAPTURED_AT and self.failure is None:
            self._capture(network, cache, numbers, *shape)
        captured = self._captured.get(shape)
        if captured is None:
            return run_step(network, cache, numbers, columns)
        captured.numbers.copy_(numbers)
        captured.graph.replay()
        return captured.said

    def _capture(self, network: Network, cache: PackedCache, numbers: Tensor, rows: int, columns: int) -> None:
        """Capture a shape, or note why not. All graphs share their working memory: they never run at the same time."""
        self._stream = self._stream or torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        before = torch.cuda.current_stream(self._device)
        own = numbers.clone()
        graph = torch.cuda.CUDAGraph()
        pool = next((c.graph.pool() for c in self._captured.values()), None)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=pool, stream=self._stream):
                said = self._run_without_waits(network, cache, own, columns)
        except RuntimeError as error:  # memory that ran out, too: without graphs it may be enough
            torch.cuda.set_stream(before)  # which a capture that breaks off does not do
            self._drop()
            self.failure = one_line(error, 160)
            return
        self._captured[rows, columns] = _Captured(graph, own, said)
        while len(self._captured) > 1 and self._too_much():
            self._captured.pop(next(iter(self._captured)))

    def _too_much(self) -> bool:
        kept = self._captured.values()
        return len(kept) > _MOST_GRAPHS or sum(captured.nbytes for captured in kept) > _MOST_BYTES

    def _run_without_waits(self, network: Network, cache: PackedCache, numbers: Tensor, columns: int) -> Said:
        """A wait within a capture breaks it, and torch's allocator with it: torch raises an error before it waits."""
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a prototype that does not find every wait
            torch.cuda.set_sync_debug_mode("error")
        try:
            return run_step(network, cache, numbers, columns)
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    def _drop(self) -> None:
        """Let go of all graphs, of which one may still run."""
        if self._captured:
            torch.cuda.synchronize(self._device)
            self._captured.clear()


def padded_rows(rows: int) -> int:
    """The rows of a step of fixed shape that has room for so many."""
    return _padded(rows, least=8)


def _padded(count: int, least: int) -> int:
    """The count rounded up to a multiple of `least`, or of a sixteenth of the next power of two where that is more."""
    step = max(least, (1 << (count - 1).bit_length()) // 16)
    return -(-count // step) * step
