"""A decode step: one token for each row of the cache, and what the model takes beside them.

All that differs from step to step is in one small tensor, which goes to the device in one transfer: tokens, lengths,
write column. A step has the rows and the columns that are in use. One that may be captured (graphs.py) has a fixed
number of both instead, which is more: on a CPU, where every row costs its time, it would only be slower.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from decodebench.engine.cache import PackedCache
from decodebench.strategies.step import upload

Said = tuple[Tensor, dict[int, Tensor]]
"""What a forward pass gives at the last position: what the head reads, or logits, [N, X]; hidden states by layer."""

Network = Callable[..., Said]
"""A forward pass: token ids [N, 1] and named inputs -> what it said."""


def step_numbers(
    fed: Sequence[int], length: Sequence[int], column: int, device: torch.device, rows: int | None = None
) -> Tensor:
    """The token that each row feeds, the tokens that it has, and the write column: int64 [2 N + 1].

    N is `rows` where that is given: those behind the last are fed for nothing.
    """
    nothing = [0] * (0 if rows is None else rows - len(fed))
    return upload([*fed, *nothing, *length, *nothing, column], device)


def run_step(network: Network, cache: PackedCache, numbers: Tensor, columns: int | None = None) -> Said:
    """Feed the tokens of `step_numbers`.

    With `columns` so many are shown, those behind the write column masked, and the write column is read from `numbers`
    alone: such a step can be captured, and repeated with other numbers.
    """
    rows = len(numbers) // 2
    token_N, length_N, at_1 = numbers[:rows], numbers[rows : 2 * rows], numbers[2 * rows :]
    shown, at = (cache.column + 1, cache.column) if columns is None else (columns, at_1)
    column_C = torch.arange(shown, device=numbers.device)
    seen_NC = (column_C <= at_1) & (column_C >= at_1 - length_N[:, None])
    return network(
        token_N[:, None],
        past_key_values=cache.view(rows, shown, at),
        attention_mask=seen_NC.to(torch.int64),
        position_ids=length_N[:, None],
        use_cache=True,
    )
