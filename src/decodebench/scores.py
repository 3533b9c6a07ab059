"""Scores over a vocabulary, and the sums and maxima that decoding rules ask for: each computed once, whoever asks.

A vocabulary of 262,144 makes every pass over it count. What is here reads a row in chunks that stay in the processor's
cache, or finds the largest values by way of block maxima; nothing sorts a whole row unless the last resort asks for it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 64
"""Columns that share one block maximum."""

_NARROW = 64
"""Top-k requests up to this size are answered from one table."""

_CHUNK = {"cpu": 2**19}
_CHUNK_DEVICE = 2**26
"""Elements looked at in one go: on a CPU what its second-level cache holds, on an accelerator simply many."""


class Scores:
    """Scores (logits, or logits that were edited) of some rows, [N, V]; they must not change afterwards.

    They may be of any float type: what is computed of them, and every row that is handed out, is float32, and half
    precision becomes float32 only where it is looked at.
    """

    def __init__(self, scores_NV: Tensor) -> None:
        self._scores_NV = scores_NV
        self._known: dict[tuple[str, float], _PerRow] = {}

    @property
    def count(self) -> int:
        """Rows."""
        return int(self._scores_NV.shape[0])

    @property
    def vocabulary(self) -> int:
        """Columns."""
        return int(self._scores_NV.shape[1])

    def rows(self, rows: Tensor) -> Tensor:
        """The scores of some rows, float32 [B, V]: a copy."""
        return self._scores_NV[rows].to(torch.float32)

    def all(self) -> Tensor:
        """The scores of all rows as they are, [N, V]: not a copy."""
        return self._scores_NV

    def of_tokens(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """One score of each of some rows, [B]."""
        return self._scores_NV[rows, tokens].to(torch.float32)

    def log_normalizer(self, rows: Tensor, temperature: float = 1.0) -> Tensor:
        """logsumexp(scores / temperature) over the vocabulary, [B]."""
        return self._of("log_z", temperature, rows, lambda s: (_log_z(s, temperature),))[0]

    def mean_score(self, rows: Tensor, temperature: float = 1.0) -> Tensor:
        """The expected score / temperature under softmax(scores / temperature), [B]."""
        return self._of("mean", temperature, rows, lambda s: (_mean(s, temperature),))[0]

    def top(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores of some rows and their ids, [B, k] each, by (value down, id up).

        Among equal scores the k-th may be any of them.
        """
        width = min(max(k, _NARROW), self.vocabulary)
        value, ids = self._of("top", width, rows, lambda s: top_by_value_then_id(s, width))
        return value[:, :k], ids[:, :k]

    def _of(self, what: str, number: float, rows: Tensor, compute: "Compute") -> tuple[Tensor, ...]:
        known = self._known.get((what, number))
        if known is None:
            known = self._known[what, number] = _PerRow(self._scores_NV, compute)
        return known.of(rows)


Compute = Callable[[Tensor], tuple[Tensor, ...]]


class _PerRow:
    """Something computed of rows, once for each row and only when it is asked for."""

    def __init__(self, scores_NV: Tensor, compute: Compute) -> None:
        self._scores_NV = scores_NV
        self._compute = compute
        self._place_N = torch.full((len(scores_NV),), -1, dtype=torch.int64, device=scores_NV.device)
        self._results: tuple[Tensor, ...] | None = None

    def of(self, rows: Tensor) -> tuple[Tensor, ...]:
        missing = torch.zeros_like(self._place_N, dtype=torch.bool)
        missing[rows] = True
        new = (missing & (self._place_N < 0)).nonzero().squeeze(1)
        if new.numel() or self._results is None:
            scores = self._scores_NV if len(new) == len(self._scores_NV) else self._scores_NV[new]
            results = self._compute(scores)
            start = 0 if self._results is None else len(self._results[0])
            self._place_N[new] = torch.arange(start, start + len(new), device=rows.device)
            old = self._results
            self._results = results if old is None else tuple(map(torch.cat, zip(old, results, strict=True)))
        place = self._place_N[rows]
        return tuple(result[place] for result in self._results)


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
        return torch.topk(scores_NV.to(torch.float32), k)
    even = scores_NV[:, : blocks * BLOCK].reshape(rows, blocks, BLOCK)
    best = torch.topk(even.amax(-1), k, sorted=False).indices
    inside = torch.arange(BLOCK, device=scores_NV.device)
    rest = torch.arange(blocks * BLOCK, vocabulary, device=scores_NV.device)
    ids = torch.cat([(best[:, :, None] * BLOCK + inside).flatten(1), rest.expand(rows, -1)], dim=1)
    value, at = torch.topk(scores_NV.gather(1, ids).to(torch.float32), k)
    return value, ids.gather(1, at)


def _log_z(scores_NV: Tensor, temperature: float) -> Tensor:
    """logsumexp(scores / temperature) of each row, chunk by chunk."""
    largest_N1 = scores_NV.amax(-1, keepdim=True).to(torch.float32)
    mass_N = torch.zeros_like(largest_N1[:, 0])
    for chunk in chunks(scores_NV):
        mass_N += _scaled(chunk - largest_N1, temperature).exp_().sum(-1)
    return largest_N1.squeeze(1) / temperature + mass_N.log()


def _mean(scores_NV: Tensor, temperature: float) -> Tensor:
    """The mean of scores / temperature under their softmax, chunk by chunk."""
    largest_N1 = scores_NV.amax(-1, keepdim=True).to(torch.float32)
    mass_N = torch.zeros_like(largest_N1[:, 0])
    weighted_N = torch.zeros_like(mass_N)
    for chunk in chunks(scores_NV):
        shifted = _scaled(chunk - largest_N1, temperature)
        weight = shifted.exp()
        mass_N += weight.sum(-1)
        # A banned token (-inf) has weight 0, and 0 * -inf is no number.
        weighted_N += (weight * shifted.masked_fill_(shifted == -torch.inf, 0.0)).sum(-1)
    return largest_N1.squeeze(1) / temperature + weighted_N / mass_N


def _scaled(scores: Tensor, temperature: float) -> Tensor:
    """Divided by the temperature, in place."""
    return scores if temperature == 1.0 else scores.div_(temperature)


def chunks(scores_NV: Tensor) -> tuple[Tensor, ...]:
    """The columns in pieces of a convenient size."""
    elements = _CHUNK.get(scores_NV.device.type, _CHUNK_DEVICE)
    return torch.split(scores_NV, max(1024, elements // max(1, len(scores_NV))), dim=1)
