"""Physical rows with a key-value cache: what is usual."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from decodebench.engine.cache import PackedCache, layer_key_values
from decodebench.engine.decode_step import Said, run_step, step_numbers
from decodebench.engine.exits import NOT_LOOKED_FOR, Layers
from decodebench.engine.graphs import StepGraphs, padded_rows
from decodebench.engine.head import OwnHead
from decodebench.engine.rows import Prefix, Rows


class CachedRows(Rows):
    """Rows with a key-value cache: a step feeds one token a row.

    With `own_head` the output head runs apart, with `graphs` steps are captured as CUDA graphs.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        hidden_layers: Iterable[int] = (),
        layers: Layers = NOT_LOOKED_FOR,
        own_head: bool = False,
        graphs: bool = False,
    ) -> None:
        super().__init__(model, device, hidden_layers, layers)
        self._head = OwnHead(model, device) if own_head else None
        self._graphs = StepGraphs(device) if graphs else None
        self._cache: PackedCache | None = None
        self._length: list[int] = []

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token of one row takes in the cache; 0 before anything was prefilled."""
        return self._cache.nbytes // (self._cache.slots * self._cache.columns) if self._cache else 0

    @property
    def capture_failure(self) -> str | None:
        return self._graphs.failure if self._graphs else None

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        ids_NT = self._tensor(prompts)
        self.forward_passes += 1
        self.tokens_computed += ids_NT.numel()
        # A DynamicCache without a config keeps all columns of sliding-window layers too: masks do the windowing.
        # The last position as an index, not as a count: a count leaves a strided view, and for a weight without
        # `requires_grad` torch then copies the whole head (2.5 s in bfloat16 with 262,144 tokens).
        last = self._tensor([ids_NT.shape[1] - 1])
        out = self._forward(ids_NT, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=last)
        rows = layer_key_values(out.past_key_values)
        if rows is None:
            raise TypeError(f"{type(self.model).__name__} keeps no plain key-value cache")
        logits_NV = out.logits[:, -1].to(self.device)
        return [
            Prefix(
                ids=prompt,
                logits_V=logits_NV[n],
                hidden={i: out.hidden_states[i][n].to(self.device) for i in self.hidden_layers},
                key_values=[(k.clone(), v.clone()) for k, v in rows[n]],
            )
            for n, prompt in enumerate(prompts)
        ]

    def _admit(self, prefixes: Sequence[Prefix]) -> None:
        longest_new = max(len(p.ids) for p in prefixes)
        rows = self.count + len(prefixes)
        if self._cache is None:
            self._cache = PackedCache(
                prefixes[0].key_values or (),
                slots=max(8, self._slots(rows)),
                columns=longest_new + 64,
                captured=self._graphs is not None,
            )
        cache = self._cache
        if self.count == 0:
            cache.restart()
        cache.reserve(self._slots(rows), longest_new + 1)
        if cache.column < longest_new:
            cache.align(longest_new, self.count, max(self._length, default=0))
        for slot, prefix in enumerate(prefixes, start=self.count):
            cache.write(slot, prefix.key_values or ())
            self._length.append(len(prefix.ids))

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        count = len(parents)
        if not count or self._cache is None:
            self._length = []
            self._publish(self.scores.all()[:0], {i: h[:0] for i, h in self._hidden.items()})
            return []
        slots, sources, targets = _place(parents)
        cache = self._cache
        cache.reserve(self._slots(count), 0)
        cache.copy(sources, targets, start=cache.column - max(self._length[s] for s in sources) if sources else 0)
        length, fed = [0] * count, [0] * count
        for slot, parent, token in zip(slots, parents, tokens, strict=True):
            length[slot], fed[slot] = self._length[parent], token
        self._length = length
        self._make_room(max(length))

        if self._graphs:
            last_NX, hidden = self._graphs.step(self._step, cache, fed, length)
        else:
            last_NX, hidden = run_step(self._step, cache, step_numbers(fed, length, cache.column, self.device))
        logits_NV = self._head.logits(last_NX[:count]) if self._head else last_NX[:count]
        cache.written(count)
        self._length = [n + 1 for n in length]
        self.forward_passes += 1
        self.tokens_computed += count
        self.cached_tokens_read += sum(length)
        self._publish(logits_NV.to(self.device), {i: h[:count].to(self.device) for i, h in hidden.items()})
        return slots

    def _slots(self, rows: int) -> int:
        """The slots of the cache that a step of so many rows writes to."""
        return padded_rows(rows) if self._graphs else rows

    def _step(self, ids_N1: Tensor, **inputs: Any) -> Said:
        out = self._forward(ids_N1, network=self._head.base if self._head else None, **inputs)
        last = out.last_hidden_state if self._head else out.logits
        return last[:, -1], {i: out.hidden_states[i][:, -1] for i in self.hidden_layers}

    def _make_room(self, longest: int) -> None:
        """Ensure that the write column exists: drop columns that only padding uses, else grow."""
        cache = self._cache
        if cache is None or cache.column < cache.columns:
            return
        if cache.column - longest >= cache.columns // 4:
            cache.align(longest, len(self._length), longest)
        else:
            cache.reserve(0, cache.columns + max(64, cache.columns // 2))

    def scrub(self, row: int) -> None:
        if self._cache is not None:
            self._cache.clear(row)


def _place(parents: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Slots 0..N-1 for N continuations with few copies: the first child of a row stays where its parent is.

    Returns the slot of each continuation, and the copies (sources, targets). A target is a slot without children, so
    it is never a source, and the copies may run in any order.
    """
    count = len(parents)
    slots = [-1] * count
    taken = [False] * count
    for child, parent in enumerate(parents):
        if parent < count and not taken[parent]:
            slots[child] = parent
            taken[parent] = True
    free = (slot for slot in range(count) if not taken[slot])
    sources, targets = [], []
    for child, parent in enumerate(parents):
        if slots[child] < 0:
            slots[child] = next(free)
            sources.append(parent)
            targets.append(slots[child])
    return slots, sources, targets
