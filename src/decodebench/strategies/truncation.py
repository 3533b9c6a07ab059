"""Truncation: which tokens a sampler keeps, decided on the largest logits and as little of the rest as possible.

Each truncation works on `Candidates`, the k largest scores of a row in order. With k = V that is the whole
distribution and the textbook definition. With a smaller k the truncation also says for which rows k was enough; the
sampler asks again with a larger k for the others. A full sort of 262,144 scores takes 13 ms, the largest 64 take 0.3.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(kw_only=True)
class Candidates:
    """The k largest scores of each row (logits over temperature), by (value down, id up).

    `kept_BK` marks those still kept. `log_z` is the log-normaliser and `mean_score` the expected score under the
    distribution that is left. `cut_B` says for which rows the first truncation kept nothing outside the k: from there
    on the k are all there is. None: nothing is truncated yet.
    """

    score_BK: Tensor
    kept_BK: Tensor
    log_z: Callable[[], Tensor]
    mean_score: Callable[[], Tensor]
    cut_B: Tensor | None = None

    def keep(self, kept_BK: Tensor, cut_B: Tensor) -> "Candidates":
        """The candidates after a truncation; its sums run over what it kept."""
        kept_BK = kept_BK & self.kept_BK
        left = self.score_BK.masked_fill(~kept_BK, -torch.inf)

        def mean_score() -> Tensor:
            return (torch.softmax(left, -1) * left.masked_fill(~kept_BK, 0.0)).sum(-1)

        return Candidates(
            score_BK=self.score_BK,
            kept_BK=kept_BK,
            log_z=lambda: torch.logsumexp(left, -1),
            mean_score=mean_score,
            cut_B=cut_B if self.cut_B is None else self.cut_B,
        )

    @property
    def p_BK(self) -> Tensor:
        """Probabilities of the kept candidates, float64 (a cumulative sum decides at a boundary)."""
        score = self.score_BK.masked_fill(~self.kept_BK, -torch.inf).to(torch.float64)
        return torch.exp(score - self.log_z().to(torch.float64)[:, None])

    def above_tail(self, cut_B: Tensor) -> Tensor:
        """Whether a cut at this score keeps nothing outside the k: it lies above the last of them."""
        return cut_B > self.score_BK[:, -1]


class Truncation(ABC):
    """One truncation rule."""

    @abstractmethod
    def __call__(self, candidates: Candidates) -> Candidates:
        """The candidates with fewer of them kept."""


@dataclass(frozen=True)
class KeepTopK(Truncation):
    """The k largest; all that tie with the k-th are kept, as in transformers (Fan et al. 2018)."""

    top_k: int

    def __call__(self, candidates: Candidates) -> Candidates:
        score = candidates.score_BK.masked_fill(~candidates.kept_BK, -torch.inf)
        cut_B = score.topk(min(self.top_k, score.shape[1]), dim=-1).values[:, -1]
        return candidates.keep(score >= cut_B[:, None], candidates.above_tail(cut_B))


@dataclass(frozen=True)
class KeepTopP(Truncation):
    """The smallest set of largest tokens whose mass reaches p (Holtzman et al. 2020, nucleus sampling)."""

    top_p: float

    def __call__(self, candidates: Candidates) -> Candidates:
        p_BK = candidates.p_BK
        before_BK = p_BK.cumsum(-1) - p_BK
        kept = (before_BK < self.top_p) & candidates.kept_BK
        kept[:, 0] |= candidates.kept_BK[:, 0]
        cut_B = candidates.score_BK.masked_fill(~kept, torch.inf).amin(-1)
        return candidates.keep(kept, candidates.above_tail(cut_B))


@dataclass(frozen=True)
class KeepMinP(Truncation):
    """Tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024)."""

    min_p: float

    def __call__(self, candidates: Candidates) -> Candidates:
        score = candidates.score_BK.masked_fill(~candidates.kept_BK, -torch.inf)
        cut_B = score.amax(-1) + torch.log(torch.tensor(self.min_p))
        return candidates.keep(score >= cut_B[:, None], candidates.above_tail(cut_B))


@dataclass(frozen=True)
class KeepTypical(Truncation):
    """The tokens whose surprisal is nearest to the entropy, until their mass reaches p (Meister et al. 2023).

    Nearness does not follow the order of the scores: the likeliest token may go first. A token outside the k is at
    least as surprising as the last of them, so what lies strictly nearer than that one is ordered for certain.
    """

    typical_p: float

    def __call__(self, candidates: Candidates) -> Candidates:
        log_z = candidates.log_z()
        entropy_B = log_z - candidates.mean_score()
        surprisal = log_z[:, None] - candidates.score_BK
        distance = (surprisal - entropy_B[:, None]).abs().masked_fill(~candidates.kept_BK, torch.inf)
        order = distance.argsort(dim=-1, stable=True)
        mass = candidates.p_BK.gather(1, order).cumsum(-1)
        last = (mass < self.typical_p).sum(-1, keepdim=True).clamp_max(mass.shape[1] - 1)
        radius_B = distance.gather(1, order).gather(1, last).squeeze(1)
        reached = mass[:, -1] >= self.typical_p
        return candidates.keep(distance <= radius_B[:, None], reached & (radius_B < surprisal[:, -1] - entropy_B))
