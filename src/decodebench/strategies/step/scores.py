"""Scores over a vocabulary, and the sums and maxima that decoding rules ask for: each computed once, whoever asks.

A vocabulary of 262,144 makes every pass over it count. What is here reads a few rows at a time, so few that they stay
in the processor's cache while all is computed of them, or finds the largest values by way of block maxima; nothing
sorts a whole row unless the last resort asks for it.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK = 64
"""Columns that share one block maximum."""

_NARROW = 64
"""Top-k requests up to this size are answered from one table."""

_LEAST = -1e30

_PIECE = {"cpu": 2**19}
_PIECE_DEVICE = 2**28
"""Elements looked at in one go: on a CPU what its second-level caches hold, on an accelerator simply many."""


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
        if rows.device.type != "cpu":
            return self._scores_NV[rows].to(torch.float32)
        copies_BV = torch.empty(len(rows), self.vocabulary)
        for copy_V, row in zip(copies_BV, rows.tolist(), strict=True):
            copy_V.copy_(self._scores_NV[row])  # an index over rows of half precision takes three times as long
        return copies_BV

    def all(self) -> Tensor:
        """The scores of all rows as they are, [N, V]: not a copy."""
        return self._scores_NV

    def of_tokens(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """One score of each of some rows, [B]."""
        return self._scores_NV[rows, tokens].to(torch.float32)

    def pieces(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some rows, a few at a time: which of `rows` they are, and their scores, float32 [n, V], copies."""
        start = 0
        for piece in torch.split(rows, _piece_rows(self.vocabulary, rows.device)):
            yield slice(start, start + len(piece)), self.rows(piece)
            start += len(piece)

    def log_normalizer(self, rows: Tensor, temperature: float = 1.0) -> Tensor:
        """logsumexp(scores / temperature) over the vocabulary, [B]."""
        if temperature == 1.0:
            return self._surveyed(rows)[0]
        return self._of("log_z", temperature, rows, lambda new: (self._reduced(new, temperature, _log_mass),))[0]

    def mean_score(self, rows: Tensor, temperature: float = 1.0) -> Tensor:
        """The expected score / temperature under softmax(scores / temperature), [B]."""
        return self._of("mean", temperature, rows, lambda new: (self._reduced(new, temperature, _mean),))[0]

    def top(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores of some rows and their ids, [B, k] each, by (value down, id up).

        Among equal scores the k-th may be any of them.
        """
        width = min(max(k, _NARROW), self.vocabulary)

        def largest(new: Tensor) -> tuple[Tensor, Tensor]:
            return _by_value_then_id(*_top(self._scores_NV, new, width, lambda: self._surveyed(new)[1]))

        value, ids = self._of("top", width, rows, largest)
        return value[:, :k], ids[:, :k]

    def _surveyed(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What everybody asks for, from one reading: log-normalizer [B] and block maxima [B, blocks]."""
        log_z, block_max = self._of("survey", 1.0, rows, self._survey)
        return log_z, block_max

    def _survey(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        log_z = torch.empty(len(rows), device=rows.device)
        block_max = torch.empty(len(rows), self.vocabulary // BLOCK, device=rows.device)
        for at, piece in self.pieces(rows):
            block_max[at] = _block_maxima(piece)
            largest = _largest(piece, block_max[at])
            log_z[at] = largest.squeeze(1) + _log_mass(piece.sub_(largest))
        return log_z, block_max

    def _reduced(self, rows: Tensor, temperature: float, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """largest / temperature + reduce((scores - largest) / temperature) of each row, [B]."""
        block_max = self._surveyed(rows)[1]
        result = torch.empty(len(rows), device=rows.device)
        for at, piece in self.pieces(rows):
            largest = _largest(piece, block_max[at])
            result[at] = largest.squeeze(1) / temperature + reduce(piece.sub_(largest).div_(temperature))
        return result

    def _of(self, what: str, number: float, rows: Tensor, compute: "Compute") -> tuple[Tensor, ...]:
        known = self._known.get((what, number))
        if known is None:
            known = self._known[what, number] = _PerRow(self.count, rows.device)
        return known.of(rows, compute)

    def moments(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """How many scores are not banned (-inf), and their standard deviation, [B] each, float64."""
        count, deviation = self._of("moments", 1.0, rows, self._moments)
        return count, deviation

    def _moments(self, rows: Tensor) -> tuple[Tensor, ...]:
        moments_2B = torch.empty(2, len(rows), dtype=torch.float64, device=rows.device)
        for at, piece in self.pieces(rows):
            banned = piece == -torch.inf
            count = piece.shape[1] - banned.sum(-1)
            mean = piece.masked_fill_(banned, 0.0).sum(-1) / count
            square = piece.sub_(mean[:, None]).masked_fill_(banned, 0.0).square_().sum(-1)
            moments_2B[:, at] = torch.stack([count, (square / count).sqrt()]).to(torch.float64)
        return tuple(moments_2B)


Compute = Callable[[Tensor], tuple[Tensor, ...]]


class _PerRow:
    """Something computed of rows, once for each row and only when it is asked for."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._place_N = torch.full((count,), -1, dtype=torch.int64, device=device)
        self._results: tuple[Tensor, ...] | None = None
        self._complete = False

    def of(self, rows: Tensor, compute: Compute) -> tuple[Tensor, ...]:
        if not self._complete:
            self._add(self._missing(rows), compute)
        if self._results is None:
            raise ValueError("nothing was computed")
        place = self._place_N[rows]
        return tuple(result[place] for result in self._results)

    def _missing(self, rows: Tensor) -> Tensor:
        if rows.device.type != "cpu":  # to look which rows are new would wait for the device: computing all is cheaper
            self._complete = True
            return torch.arange(len(self._place_N), device=rows.device)
        asked = torch.zeros_like(self._place_N, dtype=torch.bool)
        asked[rows] = True
        return (asked & (self._place_N < 0)).nonzero().squeeze(1)

    def _add(self, new: Tensor, compute: Compute) -> None:
        old = self._results
        if old is not None and not len(new):
            return
        start = 0 if old is None else len(old[0])
        results = compute(new)
        self._place_N[new] = torch.arange(start, start + len(new), device=new.device)
        self._results = results if old is None else tuple(map(torch.cat, zip(old, results, strict=True)))


def top_by_value_then_id(scores_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores and their ids, [N, k], ordered by (value down, id up): `topk` leaves ties in any order."""
    rows = torch.arange(len(scores_NV), device=scores_NV.device)
    return _by_value_then_id(*_top(scores_NV, rows, min(k, scores_NV.shape[1]), lambda: _block_maxima(scores_NV)))


def _by_value_then_id(value: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    ids, by_id = ids.sort(dim=-1)
    value, by_value = value.gather(1, by_id).sort(dim=-1, descending=True, stable=True)
    return value, ids.gather(1, by_value)


def _top(scores_NV: Tensor, rows: Tensor, k: int, block_max: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """torch.topk of some rows by way of block maxima: the k largest values lie in the k blocks with the largest."""
    vocabulary = scores_NV.shape[1]
    blocks = vocabulary // BLOCK
    if blocks < 4 * k:
        return torch.topk(scores_NV[rows].to(torch.float32), k)
    best = torch.topk(block_max(), k, sorted=False).indices
    even = blocks * BLOCK
    inside = torch.arange(BLOCK, device=rows.device)
    rest = torch.arange(even, vocabulary, device=rows.device)
    ids = torch.cat([(best[:, :, None] * BLOCK + inside).flatten(1), rest.expand(len(rows), -1)], dim=1)
    in_blocks = scores_NV[:, :even].reshape(-1, blocks, BLOCK)[rows[:, None], best].flatten(1)
    found = torch.cat([in_blocks, scores_NV[rows[:, None], rest]], dim=1)
    value, at = torch.topk(found.to(torch.float32), k, sorted=False)
    return value, ids.gather(1, at)


def _block_maxima(scores_NV: Tensor) -> Tensor:
    """The largest of each BLOCK columns, [N, V // BLOCK]; the columns behind the last whole block have none."""
    rows, vocabulary = scores_NV.shape
    blocks = vocabulary // BLOCK
    return scores_NV[:, : blocks * BLOCK].reshape(rows, blocks, BLOCK).amax(-1)


def _largest(scores_NV: Tensor, block_max: Tensor) -> Tensor:
    """The largest score of each row, [N, 1], by its block maxima."""
    rest = scores_NV[:, block_max.shape[1] * BLOCK :]
    return torch.cat([part.amax(-1, keepdim=True) for part in (block_max, rest) if part.shape[1]], 1).amax(-1, True)


def _log_mass(shifted: Tensor) -> Tensor:
    """log(sum(exp)) of scores whose largest is 0; they are overwritten."""
    return shifted.exp_().sum(-1).log()


def _mean(shifted: Tensor) -> Tensor:
    """The mean of scores under their softmax; their largest is 0."""
    shifted.clamp_min_(_LEAST)  # a banned token (-inf) has weight 0, and 0 * -inf is no number
    weight = shifted.exp()
    weighted: Tensor = torch.linalg.vecdot(weight, shifted)
    return weighted / weight.sum(-1)


def _piece_rows(vocabulary: int, device: torch.device) -> int:
    return max(1, _PIECE.get(device.type, _PIECE_DEVICE) // max(1, vocabulary))
