"""How many rows fit: estimated before decoding; what was really used is measured after (`device.peak_memory`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from decodebench.engine.block import Request
from decodebench.engine.probe import Forward
from decodebench.errors import ConfigError

FREE_SHARE = 0.25
"""The share of the free memory that the rows may take by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Rows that may be fed at once, and what they are estimated to take."""

    max_rows: int
    row_bytes: int
    budget_bytes: int

    @property
    def estimated_bytes(self) -> int:
        """What `max_rows` rows take, if none of them shares anything."""
        return self.max_rows * self.row_bytes


def room(
    requests: Sequence[Request],
    forward: Forward,
    *,
    vocabulary: int,
    logit_bytes: int,
    free_bytes: int,
    memory_gb: float | None,
    max_rows: int,
) -> Room:
    """The rows that fit the memory, at most `max_rows`.

    A row has its keys and values for as long as the longest request gets, its logits, and one float32 copy of them for
    whoever edits or scales them. Without a cache it has the logits of every position instead. `memory_gb` (10**9 bytes)
    replaces the share of the free memory. Raises ConfigError where not even one request fits.
    """
    columns = max(_longest_start(request) + request.limit for request in requests)
    if forward.kv_bytes_per_token is None:
        row_bytes = columns * vocabulary * logit_bytes + 4 * vocabulary
    else:
        row_bytes = columns * forward.kv_bytes_per_token + (logit_bytes + 4) * vocabulary
    budget = int(free_bytes * FREE_SHARE if memory_gb is None else memory_gb * 1e9)
    widest = max(request.strategy.width for request in requests)
    rows = budget // row_bytes
    if rows < widest and memory_gb is not None:
        raise ConfigError(
            f"engine.memory_gb={memory_gb}: one request needs {widest} rows of {row_bytes / 1e6:.1f} MB; "
            f"allowed is {widest * row_bytes / 1e9:.2g} or more, or null"
        )
    return Room(max_rows=max(1, min(max_rows, max(rows, widest))), row_bytes=row_bytes, budget_bytes=budget)


def _longest_start(request: Request) -> int:
    """Tokens of what a row of the request starts from, at most."""
    return max(map(len, request.strategy.row_prompts(request.prompt_ids, request.facts)))
