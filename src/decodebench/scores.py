"""Scores over a vocabulary, and the sums and maxima that decoding rules ask for: each computed once, whoever asks.

A vocabulary of 262,144 makes every pass over it count. What is here reads a row in chunks that stay in the processor's
cache, or finds the largest values by way of block maxima; nothing sorts a whole row unless the last resort asks for it.
"""

import torch
from torch import Tensor

BLOCK = 64
"""Columns that share one block maximum."""

_NARROW = 64
"""Top-k requests up to this size are answered from one table of all rows."""

_CHUNK = {"cpu": 2**19}
_CHUNK_DEVICE = 2**26
"""Elements looked at in one go: on a CPU what its second-level cache holds, on an accelerator simply many."""


class Scores:
    """Scores (logits, or logits that were edited) of some rows, float32 [N, V]; they must not change afterwards."""

    def __init__(self, scores_NV: Tensor) -> None:
        self._scores_NV = scores_NV
        self._moments: dict[float, tuple[Tensor, Tensor | None]] = {}
        self._tops: dict[int, _Tops] = {}

    @property
    def count(self) -> int:
        """Rows."""
        return int(self._scores_NV.shape[0])

    @property
    def vocabulary(self) -> int:
        """Columns."""
        return int(self._scores_NV.shape[1])

    def rows(self, rows: Tensor) -> Tensor:
        """The scores of some rows, [B, V]: a copy."""
        return self._scores_NV[rows]

    def all(self) -> Tensor:
        """The scores of all rows, [N, V]: not a copy."""
        return self._scores_NV

    def of_tokens(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """One score of each of some rows, [B]."""
        return self._scores_NV[rows, tokens]

    def log_normalizer(self, rows: Tensor, temperature: float = 1.0) -> Tensor:
        """logsumexp(scores / temperature) over the vocabulary, [B]."""
        if temperature not in self._moments:
            self._moments[temperature] = _moments(self._scores_NV, temperature, mean=False)
        return self._moments[temperature][0][rows]

    def mean_score(self, rows: Tensor, temperature: float = 1.0) -> Tensor:
        """The expected score / temperature under softmax(scores / temperature), [B]."""
        known = self._moments.get(temperature)
        if known is None or known[1] is None:
            known = self._moments[temperature] = _moments(self._scores_NV, temperature, mean=True)
        mean = known[1]
        if mean is None:
            raise RuntimeError("the mean was asked for and is not there")
        return mean[rows]

    def top(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores of some rows and their ids, [B, k] each, by (value down, id up).

        Among equal scores the k-th may be any of them.
        """
        width = min(max(k, _NARROW), self.vocabulary)
        if width not in self._tops:
            self._tops[width] = _Tops(self._scores_NV, width)
        value, ids = self._tops[width].of(rows)
        return value[:, :k], ids[:, :k]


class _Tops:
    """The largest scores of rows, found when a row is first asked for."""

    def __init__(self, scores_NV: Tensor, width: int) -> None:
        self._scores_NV = scores_NV
        self._width = width
        self._place_N = torch.full((len(scores_NV),), -1, dtype=torch.int64, device=scores_NV.device)
        self._value = scores_NV.new_empty(0, width)
        self._ids = self._place_N.new_empty(0, width)

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        everything = self._width <= _NARROW
        asked = torch.arange(len(self._scores_NV), device=rows.device) if everything else rows.unique()
        missing = asked[self._place_N[asked] < 0]
        if missing.numel():
            scores = self._scores_NV if len(missing) == len(self._scores_NV) else self._scores_NV[missing]
            value, ids = top_by_value_then_id(scores, self._width)
            self._place_N[missing] = torch.arange(len(missing), device=rows.device) + len(self._value)
            self._value, self._ids = torch.cat([self._value, value]), torch.cat([self._ids, ids])
        place = self._place_N[rows]
        return self._value[place], self._ids[place]


def top_by_value_then_id(scores_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores and their ids, [N, k], ordered by (value down, id up): `topk` leaves ties in any order."""
    value, ids = _top(scores_NV, min(k, scores_NV.shape[1]))
    if bool((value[:, 1:] == value[:, :-1]).any()):
        ids, by_id = ids.sort(dim=-1)
        value, by_value = value.gather(1, by_id).sort(dim=-1, descending=True, stable=True)
        ids = ids.gather(1, by_value)
    return value, ids


def _top(scores_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """torch.topk by way of block maxima: the k largest values lie in the k blocks with the largest maxima."""
    rows, vocabulary = scores_NV.shape
    blocks = vocabulary // BLOCK
    if blocks < 4 * k:
        return torch.topk(scores_NV, k)
    even = scores_NV[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    best = torch.topk(even.amax(-1), k, sorted=False).indices
    inside = torch.arange(BLOCK, device=scores_NV.device)
    rest = torch.arange(blocks * BLOCK, vocabulary, device=scores_NV.device)
    ids = torch.cat([(best[:, :, None] * BLOCK + inside).flatten(1), rest.expand(rows, -1)], dim=1)
    value, at = torch.topk(scores_NV.gather(1, ids), k)
    return value, ids.gather(1, at)


def _moments(scores_NV: Tensor, temperature: float, mean: bool) -> tuple[Tensor, Tensor | None]:
    """logsumexp(scores / temperature) of each row and, if asked, the mean of scores / temperature; chunk by chunk."""
    rows = len(scores_NV)
    largest_N1 = scores_NV.amax(-1, keepdim=True)
    mass_N = scores_NV.new_zeros(rows)
    weighted_N = scores_NV.new_zeros(rows)
    for chunk in chunks(scores_NV):
        shifted = chunk - largest_N1
        if temperature != 1.0:
            shifted /= temperature
        weight = shifted.exp()
        mass_N += weight.sum(-1)
        if mean:  # a banned token (-inf) has weight 0, and 0 * -inf is no number
            weighted_N += (weight * shifted.masked_fill_(shifted == -torch.inf, 0.0)).sum(-1)
    scaled_N = largest_N1.squeeze(1) / temperature
    return scaled_N + mass_N.log(), scaled_N + weighted_N / mass_N if mean else None


def chunks(scores_NV: Tensor) -> tuple[Tensor, ...]:
    """The columns in pieces of a convenient size."""
    elements = _CHUNK.get(scores_NV.device.type, _CHUNK_DEVICE)
    return scores_NV.split(max(1024, elements // max(1, len(scores_NV))), dim=1)
