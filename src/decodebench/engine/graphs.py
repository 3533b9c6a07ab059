"""Decode steps as CUDA graphs: what the host would launch kernel by kernel, it launches as one.

A forward pass of a small batch takes a GPU less time than the host needs to launch its thousand kernels. A graph
repeats them with the shapes and the addresses of the step that was captured. So a captured step has a fixed number of
rows (those behind the last are fed for nothing) and of columns (those behind the write column are masked), and all that
differs from step to step is in one small tensor: tokens, lengths, write column.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.engine.cache import PackedCache
from decodebench.waits import upload

_MOST = 64
"""Graphs that are kept; the oldest go, because rows grow longer and seldom come back to a shape."""

Network = Callable[..., Any]
"""A forward pass: token ids [N, 1] and named inputs -> the model's output."""


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: Any
    numbers: Tensor
    out: Any


class StepGraphs:
    """The captured steps of one cache: a shape that comes back is captured, one that does not is run as it is."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._captured: dict[tuple[int, int], _Captured] = {}
        self._seen: Counter[tuple[int, int]] = Counter()
        self._memory: object = None
        self.failure: str | None = None
        """Why nothing is captured any more: steps are run as they are then."""

    def step(self, cache: PackedCache, fed: list[int], length: list[int]) -> Any:
        """Feed one token to each row of the cache; the model's output, of which only the first len(fed) rows count.

        It is valid until the next step.
        """
        rows = padded(len(fed), least=8)
        cache.reserve(rows, 0)
        if cache.memory is not self._memory:  # graphs write to where the buffers were
            self._memory = cache.memory
            torch.cuda.synchronize(self._device)  # one of them may still run
            self._captured.clear()
        shape = rows, min(padded(cache.column + 1, least=32), cache.columns)
        nothing = [0] * (rows - len(fed))
        numbers = upload([*fed, *nothing, *length, *nothing, cache.column], self._device)
        self._seen[shape] += 1
        if shape not in self._captured and self._seen[shape] > 1 and self.failure is None:
            self._capture(cache, numbers, *shape)
        captured = self._captured.get(shape)
        if captured is None:
            return self._run(cache, numbers, *shape)
        captured.numbers.copy_(numbers)
        captured.graph.replay()
        return captured.out

    def _capture(self, cache: PackedCache, numbers: Tensor, rows: int, columns: int) -> None:
        """Capture a shape. All graphs share their working memory: they never run at the same time."""
        own = numbers.clone()
        graph = torch.cuda.CUDAGraph()
        pool = next((c.graph.pool() for c in self._captured.values()), None)
        try:
            with torch.cuda.graph(graph, pool=pool):
                out = self._run(cache, own, rows, columns)
        except RuntimeError as error:
            for cause in (error, error.__context__):  # the end of a broken capture raises an error of its own
                if isinstance(cause, torch.OutOfMemoryError):
                    raise cause from None
            self.failure = " ".join(str(error).split())[:160]
            return
        self._captured[rows, columns] = _Captured(graph, own, out)
        if len(self._captured) > _MOST:
            self._captured.pop(next(iter(self._captured)))

    def _run(self, cache: PackedCache, numbers: Tensor, rows: int, columns: int) -> Any:
        token_N, length_N, at_1 = numbers[:rows], numbers[rows : 2 * rows], numbers[2 * rows :]
        column_C = torch.arange(columns, device=self._device)
        seen_NC = (column_C <= at_1) & (column_C >= at_1 - length_N[:, None])
        return self._network(
            token_N[:, None],
            past_key_values=cache.fixed_view(rows, columns, at_1),
            attention_mask=seen_NC.to(torch.int64),
            position_ids=length_N[:, None],
            use_cache=True,
        )


def padded(count: int, least: int) -> int:
    """The count rounded up to a multiple of `least`, or of a sixteenth of the next power of two where that is more."""
    step = max(least, (1 << (count - 1).bit_length()) // 16)
    return -(-count // step) * step
