"""Physical rows: the distinct sequences that the model works on, and what it says of their next token.

Logical rows of strategies point at physical rows. Continuing is one mechanism for everything: `advance` takes the
distinct (parent row, token) pairs that come next. A prompt's fan-out, a beam's reorder, a prefix that two strategies
share and a finished row that goes are all that.
"""

import inspect
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from decodebench.engine.cache import KeyValues, PackedCache, layer_key_values, pad_columns
from decodebench.engine.exits import exit_logits
from decodebench.engine.graphs import Said, StepGraphs, padded_rows
from decodebench.engine.head import OwnHead
from decodebench.strategies.step import Scores, upload

_PREFILL_TOKENS = 4096
"""Prompt tokens in one forward pass, at most: it bounds the memory of attention and of the prompt's hidden states."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A prefilled sequence: what the model says next, and what it takes to go on from it."""

    ids: tuple[int, ...]
    logits_V: Tensor
    hidden: dict[int, Tensor]
    key_values: Sequence[KeyValues] | None = None


class Rows(ABC):
    """The physical rows, their raw logits and their hidden states at the last position."""

    def __init__(self, model: Any, device: torch.device, hidden_layers: Iterable[int] = ()) -> None:
        self.model = model
        self.device = device
        self.hidden_layers = tuple(sorted(set(hidden_layers)))
        self.scores = Scores(torch.empty(0, 0, device=device))
        self.forward_passes = 0
        self.prefills = 0
        self.tokens_computed = 0
        self.cached_tokens_read = 0
        self._accepts = set(inspect.signature(model.forward).parameters)
        self._hidden: dict[int, Tensor] = {}

    @property
    def count(self) -> int:
        """Physical rows in use."""
        return self.scores.count

    @property
    def amateur(self) -> Scores | None:
        """The raw logits of a second model for the same rows, where there is one."""
        return None

    @property
    def capture_failure(self) -> str | None:
        """Why steps that should be captured as CUDA graphs are run as they are; None where nothing failed."""
        return None

    def hidden(self, rows: Tensor, layer: int) -> Tensor:
        """The hidden state after `layer` (0: the embeddings) at the last position, [N, H]."""
        return self._hidden[layer][rows]

    def exit_logits(self, rows: Tensor, layer: int, normed: bool = True) -> Tensor:
        """What the output head says of the hidden state after `layer` at the last position, float32 [N, V]."""
        return exit_logits(self.model, self.hidden(rows, layer), normed)

    def logprob(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Raw log-prob of one token in each of the given rows, [N]."""
        return self.scores.of_tokens(rows, tokens) - self.scores.log_normalizer(rows)

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """Run the model over prompts, each once; equal lengths go together, so that nothing is ever padded."""
        by_length = defaultdict(list)
        for at, prompt in enumerate(prompts):
            by_length[len(prompt)].append(at)
        done: dict[int, Prefix] = {}
        for length, places in by_length.items():
            together = max(1, _PREFILL_TOKENS // length)
            for first in range(0, len(places), together):
                chunk = places[first : first + together]
                done.update(zip(chunk, self._prefill([prompts[i] for i in chunk]), strict=True))
        self.prefills += len(prompts)
        return [done[at] for at in range(len(prompts))]

    def admit(self, prefixes: Sequence[Prefix]) -> list[int]:
        """Add prefilled sequences as new rows, behind those in use; returns their indices."""
        first = self.count
        new_NV = torch.stack([p.logits_V for p in prefixes])
        hidden = {i: torch.stack([p.hidden[i][-1] for p in prefixes]) for i in self.hidden_layers}
        self._admit(prefixes)
        if first:
            new_NV = torch.cat([self.scores.all(), new_NV])
            hidden = {i: torch.cat([self._hidden[i], h]) for i, h in hidden.items()}
        self._publish(new_NV, hidden)
        return list(range(first, first + len(prefixes)))

    @abstractmethod
    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """Prefill prompts of equal length."""

    @abstractmethod
    def _admit(self, prefixes: Sequence[Prefix]) -> None: ...

    @abstractmethod
    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Make the rows exactly these continuations, feed them, and return where each one is now."""

    def cost(self, row: int) -> int:
        """Tokens that the last step fed for a row."""
        return 1

    @abstractmethod
    def scrub(self, row: int) -> None:
        """Remove what a row with NaN in it could leave behind for others."""

    def _forward(self, ids_NT: Tensor, network: Any = None, **inputs: Any) -> Any:
        """One forward pass; inputs that this model does not know are left out (the start-up probe checks that).

        `network` is a part of the model that takes the same inputs.
        """
        known = {name: value for name, value in inputs.items() if name in self._accepts}
        run = network or self.model
        return run(input_ids=ids_NT, output_hidden_states=bool(self.hidden_layers), return_dict=True, **known)

    def _publish(self, logits_PV: Tensor, hidden: dict[int, Tensor]) -> None:
        self.scores = Scores(logits_PV)
        self._hidden = hidden

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return upload(values, self.device)


class CachedRows(Rows):
    """Rows with a key-value cache: a step feeds one token a row.

    With `own_head` the output head runs apart, with `graphs` steps are captured as CUDA graphs.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        hidden_layers: Iterable[int] = (),
        own_head: bool = False,
        graphs: bool = False,
    ) -> None:
        super().__init__(model, device, hidden_layers)
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
            last_NX, hidden = self._feed(cache, fed, length)
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

    def _feed(self, cache: PackedCache, fed: Sequence[int], length: Sequence[int]) -> Said:
        """One forward pass over the first rows of the cache."""
        length_N = self._tensor(length)
        return self._step(
            self._tensor(fed)[:, None],
            past_key_values=cache.view(len(fed)),
            attention_mask=pad_columns(length_N + 1, cache.column + 1),
            position_ids=length_N[:, None],
            use_cache=True,
        )

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


class WholeRows(Rows):
    """Rows without a cache: each step feeds the whole sequences, padded on the right.

    Right for every causal model (what follows a token cannot change what it sees), and slow.
    """

    def __init__(self, model: Any, device: torch.device, hidden_layers: Iterable[int] = ()) -> None:
        super().__init__(model, device, hidden_layers)
        self._ids: list[tuple[int, ...]] = []

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        logits_NV, hidden = self._whole(prompts)
        return [
            Prefix(ids=p, logits_V=logits_NV[n], hidden={i: h[n, : len(p)] for i, h in hidden.items()})
            for n, p in enumerate(prompts)
        ]

    def _admit(self, prefixes: Sequence[Prefix]) -> None:
        self._ids += [p.ids for p in prefixes]

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        self._ids = [(*self._ids[parent], token) for parent, token in zip(parents, tokens, strict=True)]
        if not self._ids:
            self._publish(self.scores.all()[:0], {})
            return []
        logits_NV, hidden = self._whole(self._ids)
        last = {i: torch.stack([h[n, len(ids) - 1] for n, ids in enumerate(self._ids)]) for i, h in hidden.items()}
        self._publish(logits_NV, last)
        return list(range(len(parents)))

    def cost(self, row: int) -> int:
        return len(self._ids[row])

    def _whole(self, sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, dict[int, Tensor]]:
        longest = max(map(len, sequences))
        ids_NT = self._tensor([ids + (0,) * (longest - len(ids)) for ids in sequences])
        self.forward_passes += 1
        self.tokens_computed += sum(map(len, sequences))
        out = self._forward(ids_NT, use_cache=False)
        at = self._tensor([len(ids) - 1 for ids in sequences])
        last = out.logits[torch.arange(len(sequences), device=out.logits.device), at.to(out.logits.device)]
        return last.to(self.device), {i: out.hidden_states[i].to(self.device) for i in self.hidden_layers}

    def scrub(self, row: int) -> None:
        """Nothing is kept between steps but token ids."""


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
