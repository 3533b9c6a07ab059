"""A preallocated key-value cache whose rows can be forked, moved and dropped.

All rows share one write column: a row of n tokens lies in the n columns left of it, so the model sees an ordinary
left-padded batch and its own masks, positions, sliding windows and ALiBi slopes hold. transformers' DynamicCache
copies everything at each step; here a step writes one column.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from decodebench.strategies.step import upload

KeyValues = tuple[Tensor, Tensor]
"""Keys and values of one layer for one sequence, [heads, T, head size] each."""


class PackedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer: buffers of [slots, heads, columns, head size], of which the model sees `rows` and `shown` columns.

    A step writes column `at`: a number, or a tensor [1] that has it. Nothing here depends on what is in such a tensor,
    so that the step can be captured.
    """

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, key: Tensor, value: Tensor, slots: int, columns: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys = key.new_empty(slots, key.shape[0], columns, key.shape[2])
        self.values = value.new_empty(slots, value.shape[0], columns, value.shape[2])
        self.is_initialized = True
        self.rows = 0
        self.shown = 0
        self.at: int | Tensor = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the buffers exist from the start."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> KeyValues:
        keys, values = self.keys[: self.rows, :, : self.shown], self.values[: self.rows, :, : self.shown]
        if isinstance(self.at, int):
            keys[:, :, self.at : self.at + 1] = key_states
            values[:, :, self.at : self.at + 1] = value_states
        else:
            keys.index_copy_(2, self.at, key_states.to(keys.dtype))
            values.index_copy_(2, self.at, value_states.to(values.dtype))
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.shown, 0

    def get_seq_length(self) -> Any:
        """Tokens before the step: a number, or a tensor of one where transformers' own static cache has one too."""
        return self.at if isinstance(self.at, int) else self.at[0]

    def get_max_length(self) -> int:
        return -1


class PackedCache:
    """All layers of a `PackedLayer` cache as one thing: room, forks and alignment.

    Buffers are not cleared when they are made, and memory that nobody touches costs nothing. But what lies left of a
    row is multiplied by a probability of 0, and 0 x NaN is NaN: a slot is cleared up to its row when it is first used.
    Where steps are `captured` they read columns that are not written yet, too: all of a slot is cleared then.
    """

    def __init__(self, like: Sequence[KeyValues], slots: int, columns: int, captured: bool = False) -> None:
        self.layers = [PackedLayer(key, value, slots, columns) for key, value in like]
        self.column = 0
        self.memory = object()
        """Another one whenever the buffers are."""
        self._captured = captured
        self._clean = 0  # slots below this one hold finite numbers left of the write column

    @property
    def slots(self) -> int:
        return int(self.layers[0].keys.shape[0])

    @property
    def columns(self) -> int:
        return int(self.layers[0].keys.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers())

    def _buffers(self) -> Iterator[Tensor]:
        for layer in self.layers:
            yield layer.keys
            yield layer.values

    def view(self, rows: int, shown: int, at: int | Tensor) -> Cache:
        """The first `rows` rows and `shown` columns as the cache object that a transformers model takes.

        `at` is the write column: a number, or a tensor [1] that has it for a step that may be captured.
        """
        for layer in self.layers:
            layer.rows, layer.shown, layer.at = rows, shown, at
        return Cache(layers=list(self.layers))

    def written(self, rows: int) -> None:
        """The write column was written, for these rows only."""
        self.column += 1
        self._clean = rows

    def write(self, slot: int, key_values: Sequence[KeyValues]) -> None:
        """Put a prefilled sequence into a slot, ending at the write column."""
        start = self.column - key_values[0][0].shape[1]
        self._use(slot + 1, start)
        for layer, (key, value) in zip(self.layers, key_values, strict=True):
            layer.keys[slot, :, start : self.column] = key
            layer.values[slot, :, start : self.column] = value

    def copy(self, sources: Sequence[int], targets: Sequence[int], start: int) -> None:
        """Copy rows onto rows, from column `start` on; no target may be a source."""
        if not targets:
            return
        self._use(max(targets) + 1, start)
        from_rows, to_rows = (upload(rows, self.layers[0].keys.device) for rows in (sources, targets))
        for buffer in self._buffers():
            columns = buffer[:, :, start : self.column]
            columns.index_copy_(0, to_rows, columns.index_select(0, from_rows))

    def _use(self, slots: int, start: int) -> None:
        """Clear the slots that come into use, up to column `start`, from which their rows are written."""
        if slots > self._clean:
            for buffer in self._buffers():
                buffer[self._clean : slots, :, : None if self._captured else start].zero_()
            self._clean = slots

    def clear(self, slot: int) -> None:
        """Forget what is in a slot."""
        for buffer in self._buffers():
            buffer[slot, :, : self.column].zero_()

    def restart(self) -> None:
        """With no row in use: start again at the first column."""
        self.column = 0
        self._clean = 0

    def reserve(self, slots: int, columns: int) -> None:
        """Grow the buffers to at least this size; rows double, so that growing stays rare."""
        if slots <= self.slots and columns <= self.columns:
            return
        self.memory = object()
        slots = self.slots if slots <= self.slots else max(slots, 2 * self.slots)
        columns = max(columns, self.columns)
        for layer in self.layers:
            layer.keys = self._grown(layer.keys, slots, columns)
            layer.values = self._grown(layer.values, slots, columns)

    def _grown(self, buffer: Tensor, slots: int, columns: int) -> Tensor:
        make = buffer.new_zeros if self._captured else buffer.new_empty
        grown = make((slots, buffer.shape[1], columns, buffer.shape[3]))
        grown[: self._clean, :, : self.column] = buffer[: self._clean, :, : self.column]
        return grown

    def align(self, column: int, rows: int, longest: int) -> None:
        """Move the first `rows` rows, none longer than `longest`, so that the write column becomes `column`."""
        source = slice(self.column - longest, self.column)
        target = slice(column - longest, column)
        for buffer in self._buffers():
            moved = buffer[:rows, :, source].clone()
            buffer[:rows, :, self.column : column].zero_()  # columns that come into use on the way right
            buffer[:rows, :, target] = moved
        self.column = column
        self._clean = rows


def layer_key_values(cache: Cache) -> list[list[KeyValues]] | None:
    """Keys and values of a prefilled batch, [row][layer]; None where the cache is no plain key-value cache."""
    layers = []
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if not (isinstance(keys, Tensor) and isinstance(values, Tensor) and keys.ndim == 4 and values.ndim == 4):
            return None
        layers.append((keys, values))
    if not layers:
        return None
    return [[(k[row], v[row]) for k, v in layers] for row in range(layers[0][0].shape[0])]
