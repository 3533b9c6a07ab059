"""Scores of which a few tokens were edited: the largest come from the table that all strategies share."""

from functools import cached_property

import torch
from torch import Tensor

from decodebench.strategies.step import BLOCK, Questions, Scores, top_by_value_then_id

_TABLE = 64
"""The width of the table of largest scores that the shared rows keep for every strategy."""


class EditedScores(Scores):
    """The scores of some rows of `base`, less `minus_B`, where the E tokens `token_BE` of each row have their own.

    The tokens of a row are ascending and distinct; unused places at the end have the vocabulary's size as their token.
    A row here is an index into `rows_B`, which holds its index in `base`. Sums are those of Scores, over edited copies
    of a few rows at a time.
    """

    def __init__(
        self,
        base: Scores,
        rows_B: Tensor,
        token_BE: Tensor,
        score_BE: Tensor,
        minus_B: Tensor | None = None,
        questions: Questions | None = None,
    ) -> None:
        self._base = base
        self._rows_B = rows_B
        self._token_BE = token_BE
        self._score_BE = score_BE
        self._minus_B = minus_B
        self._questions = questions or Questions()
        self._known = {}

    @cached_property
    def _scores_NV(self) -> Tensor:  # type: ignore[override]
        """All rows written out, for whoever asks for that."""
        return self.rows(torch.arange(self.count, device=self._rows_B.device))

    @property
    def count(self) -> int:
        return len(self._rows_B)

    @property
    def vocabulary(self) -> int:
        return self._base.vocabulary

    def rows(self, rows: Tensor) -> Tensor:
        scores = self._base.rows(self._rows_B[rows])
        if self._minus_B is not None:
            scores -= self._minus_B[rows, None]
        return put(scores, self._token_BE[rows], self._score_BE[rows])

    def of_tokens(self, rows: Tensor, tokens: Tensor) -> Tensor:
        rows, tokens = rows + torch.zeros_like(tokens), tokens + torch.zeros_like(rows)  # of one shape
        edited, at = _find(self._token_BE[rows], tokens[..., None])
        own = self._score_BE[rows].gather(-1, at)[..., 0]
        return torch.where(edited[..., 0], own, self._shared(self._base.of_tokens(self._rows_B[rows], tokens), rows))

    def top(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        k = min(k, self.vocabulary)
        width = max(_TABLE, 2 * k)
        if width <= max(_TABLE, self.vocabulary // (4 * BLOCK)):  # else the base would have to search whole rows too
            value, ids, known = self._merged(rows, k, width)
            if self._questions.all_true(known):
                return value, ids
            left = (~known).nonzero().squeeze(1)
        else:
            value, ids = self._score_BE.new_empty(len(rows), k), rows.new_empty(len(rows), k)
            left = torch.arange(len(rows), device=rows.device)
        for at, piece in self.pieces(rows[left]) if left.numel() else ():
            value[left[at]], ids[left[at]] = top_by_value_then_id(piece, k)
        return value, ids

    def _merged(self, rows: Tensor, k: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """The k largest of the edited tokens and the base's `width` largest others, and the rows where that is exact.

        A token that is in neither has at most the last score of the base's table.
        """
        value_BW, id_BW = self._base.top(self._rows_B[rows], width)
        value_BW = self._shared(value_BW, rows[:, None])
        token_BE = self._token_BE[rows]
        old_BW = _find(token_BE, id_BW)[0]
        unused_BE = token_BE == self.vocabulary
        ids = torch.cat([id_BW, token_BE], dim=1)
        value = torch.cat([value_BW.masked_fill(old_BW, -torch.inf), self._score_BE[rows]], dim=1)
        value[:, id_BW.shape[1] :].masked_fill_(unused_BE, -torch.inf)
        ids, by_id = ids.sort(dim=1)  # equal scores then are in the order of their ids
        top_BK, at = top_by_value_then_id(value.gather(1, by_id), k)
        least_B = top_BK[:, -1]
        return top_BK, ids.gather(1, at), (least_B >= value_BW[:, -1]) & (least_B > -torch.inf)

    def _shared(self, value: Tensor, rows: Tensor) -> Tensor:
        return value if self._minus_B is None else value - self._minus_B[rows]


def put(scores_BV: Tensor, token_BE: Tensor, score_BE: Tensor) -> Tensor:
    """Write the scores of the tokens, in place; unused places write again what their row's first place does."""
    unused = token_BE == scores_BV.shape[1]
    first = token_BE[:, :1].clamp_max(scores_BV.shape[1] - 1)
    score = torch.where(unused[:, :1], scores_BV.gather(1, first), score_BE[:, :1])
    return scores_BV.scatter_(1, torch.where(unused, first, token_BE), torch.where(unused, score, score_BE))


def _find(token_BE: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each wanted token is among the tokens of its row, and where."""
    at = torch.searchsorted(token_BE, wanted.contiguous()).clamp_max(token_BE.shape[-1] - 1)
    return token_BE.gather(-1, at) == wanted, at
