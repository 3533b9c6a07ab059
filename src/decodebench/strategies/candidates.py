"""The largest scores of each row, on which the rules of a sampler decide, and what is known of the rest.

A full sort of 262,144 scores takes 13 ms, the largest 64 take 0.3. So a rule sees the k largest scores of a row, in
order, and sums over the whole row. With k = V that is the whole distribution and the textbook definition. With a
smaller k the rule also says for which rows k was enough; the sampler asks again with a larger k for the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.strategies.step import Draws, Scores


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The k largest scores of B rows by (value down, id up), and which of them are still kept.

    `logit_BK` are the scores before the temperature, `kept_BK` never has a banned token (-inf). While `open`, nothing
    has cut the tail: all tokens outside the k are kept as well, and the sums run over the rows of `scores` that
    `rows_B` names. Afterwards the kept candidates are all there is. `known_B` says for which rows the k were enough so
    far; nothing holds of the others. `draws` are the rows' own, and `at_B` their places in the view.
    """

    scores: Scores
    rows_B: Tensor
    at_B: Tensor
    draws: Draws | None
    logit_BK: Tensor
    ids_BK: Tensor
    kept_BK: Tensor
    known_B: Tensor
    temperature: float = 1.0
    open: bool = True

    @classmethod
    def of(
        cls, scores: Scores, rows_B: Tensor, k: int, draws: Draws | None = None, at_B: Tensor | None = None
    ) -> "Candidates":
        """The k largest of some rows, nothing dropped; with k 0 nothing is looked at, for rules that need no order."""
        if k:
            logit_BK, ids_BK = scores.top(rows_B, k)
        else:
            logit_BK = torch.empty(len(rows_B), 0, device=rows_B.device)
            ids_BK = logit_BK.to(torch.int64)
        return cls(
            scores=scores,
            rows_B=rows_B,
            at_B=torch.arange(len(rows_B), device=rows_B.device) if at_B is None else at_B,
            draws=draws,
            logit_BK=logit_BK,
            ids_BK=ids_BK,
            kept_BK=logit_BK > -torch.inf,
            known_B=torch.ones_like(rows_B, dtype=torch.bool),
        )

    @cached_property
    def score_BK(self) -> Tensor:
        """Logits over temperature, float32."""
        return self.logit_BK / self.temperature

    @cached_property
    def left_BK(self) -> Tensor:
        """The scores of what is kept, -inf elsewhere; float64, as all that decides at a boundary."""
        return self.score_BK.to(torch.float64).masked_fill(~self.kept_BK, -torch.inf)

    @cached_property
    def largest_B(self) -> Tensor:
        """The largest score that is kept."""
        return self.left_BK.amax(-1)

    @cached_property
    def p_BK(self) -> Tensor:
        """Probabilities of the kept candidates in what is left."""
        return torch.exp(self.left_BK - self.log_z_B[:, None])

    @cached_property
    def log_z_B(self) -> Tensor:
        """The log-normaliser of what is left."""
        return self.log_sum_B(1)

    def log_sum_B(self, power: int) -> Tensor:
        """log(sum(exp(power * score))) over what is left, float64."""
        if not self.open:
            return torch.logsumexp(power * self.left_BK, -1)
        return self.scores.log_normalizer(self.rows_B, self.temperature / power).to(torch.float64)

    @cached_property
    def entropy_B(self) -> Tensor:
        """The entropy of what is left, in nats."""
        if not self.open:
            return self.log_z_B - (self.p_BK * self.left_BK.masked_fill(~self.kept_BK, 0.0)).sum(-1)
        return self.log_z_B - self.scores.mean_score(self.rows_B, self.temperature).to(torch.float64)

    @cached_property
    def count_B(self) -> Tensor:
        """Tokens left, float64."""
        if not self.open:
            return self.kept_BK.sum(-1).to(torch.float64)
        return self.scores.moments(self.rows_B)[0]

    @cached_property
    def spread_B(self) -> Tensor:
        """The standard deviation of the scores that are left, each counted once (population form)."""
        if not self.open:
            mean_B1 = self.left_BK.masked_fill(~self.kept_BK, 0.0).sum(-1, keepdim=True) / self.count_B[:, None]
            return ((self.left_BK - mean_B1).masked_fill(~self.kept_BK, 0.0).square().sum(-1) / self.count_B).sqrt()
        return self.scores.moments(self.rows_B)[1] / self.temperature

    def at_temperature(self, temperature: float) -> "Candidates":
        """All scores divided by a temperature."""
        return replace(self, temperature=self.temperature * temperature)

    def at_temperatures(self, temperature_B: Tensor) -> "Candidates":
        """The scores of each row divided by its own temperature."""
        own_B1 = (self.temperature * temperature_B).to(torch.float32)[:, None]
        scaled = replace(self, logit_BK=self.logit_BK / own_B1, temperature=1.0)
        return scaled._with_rows(lambda scores_BV: scores_BV.div_(own_B1)) if self.open else scaled

    def cut(self, kept_BK: Tensor, known_B: Tensor) -> "Candidates":
        """Keep these alone, and nothing outside the k; `known_B`: for which rows that is certain."""
        kept_BK = kept_BK & self.kept_BK
        if not self.open:
            return replace(self, kept_BK=kept_BK)
        known_B = known_B | (self.logit_BK[:, -1] == -torch.inf)  # all outside the k are banned
        return replace(self, kept_BK=kept_BK, known_B=self.known_B & known_B, open=False)

    def cut_below(self, least_B: Tensor) -> "Candidates":
        """Keep the scores of at least `least_B`, and always the largest."""
        least_B = torch.minimum(least_B, self.largest_B)
        return self.cut(self.left_BK >= least_B[:, None], self.above_tail(least_B))

    def drop(self, dropped_BK: Tensor, known_B: Tensor) -> "Candidates":
        """Drop some of the k; the tail stays as it is."""
        left = replace(self, kept_BK=self.kept_BK & ~dropped_BK)
        if not self.open:
            return left
        logit_BK = left.logit_BK.masked_fill(~left.kept_BK, -torch.inf)
        left = replace(left, known_B=self.known_B & known_B)
        return left._with_rows(lambda scores_BV: scores_BV.scatter_(1, self.ids_BK, logit_BK))

    def _with_rows(self, change: Callable[[Tensor], Tensor]) -> "Candidates":
        """The same with whole rows of its own, changed in place."""
        own = Scores(change(self.scores.rows(self.rows_B)))
        return replace(self, scores=own, rows_B=torch.arange(len(self.rows_B), device=self.rows_B.device))

    def above_tail(self, least_B: Tensor) -> Tensor:
        """Whether a cut at this score keeps nothing outside the k: it lies above the last of them."""
        return least_B > self.score_BK[:, -1]


class Rule(ABC):
    """One rule of a sampler's chain. `name` is what `order` calls it."""

    name: ClassVar[str] = ""
    needs_order: ClassVar[bool] = True
    """Whether it looks at the largest scores at all; a temperature does not."""

    @abstractmethod
    def __call__(self, candidates: Candidates) -> Candidates:
        """The candidates with fewer of them kept, or with other scores."""

    def outcomes(self) -> "Sequence[tuple[float, Rule | None]]":
        """What it does with which probability, where a coin decides; None: nothing."""
        return ((1.0, self),)

    def fields(self) -> dict[str, Any] | None:
        """The rule as fields of transformers' GenerationConfig; None where transformers lacks it."""
        return None
