"""The rules that decide which tokens a sampler keeps. Each works on what the rules before it left.

Sums that decide at a boundary are float64. `Candidates.cut` and `cut_below` say for which rows the candidates at hand
were enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.strategies.candidates import Candidates, Rule

XTC_LANE = 1
"""The lane of XTC's coin; tokens are drawn from lane 0."""

TOP_H_LOOKS_AT = 100
"""transformers looks at so many of the largest tokens only."""


@dataclass(frozen=True)
class KeepTopK(Rule):
    """The k largest; all that tie with the k-th are kept, as in transformers (Fan et al. 2018)."""

    top_k: int
    name: ClassVar[str] = "top_k"

    def __call__(self, candidates: Candidates) -> Candidates:
        left_BK = candidates.left_BK
        return candidates.cut_below(left_BK.topk(min(self.top_k, left_BK.shape[1]), dim=-1).values[:, -1])

    def fields(self) -> dict[str, Any]:
        return {"top_k": self.top_k}


@dataclass(frozen=True)
class KeepTopP(Rule):
    """The smallest set of largest tokens whose mass reaches p (Holtzman et al. 2020, nucleus sampling)."""

    top_p: float
    name: ClassVar[str] = "top_p"

    def __call__(self, candidates: Candidates) -> Candidates:
        before_BK = candidates.p_BK.cumsum(-1) - candidates.p_BK
        return _cut_after(candidates, before_BK < self.top_p)

    def fields(self) -> dict[str, Any]:
        return {"top_p": self.top_p}


@dataclass(frozen=True)
class KeepMinP(Rule):
    """Tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024)."""

    min_p: float
    name: ClassVar[str] = "min_p"

    def __call__(self, candidates: Candidates) -> Candidates:
        return candidates.cut_below(candidates.largest_B + math.log(self.min_p))

    def fields(self) -> dict[str, Any]:
        return {"min_p": self.min_p}


@dataclass(frozen=True)
class KeepTypical(Rule):
    """The tokens whose surprisal is nearest to the entropy, until their mass reaches p (Meister et al. 2023).

    Nearness does not follow the order of the scores: the likeliest token may go first. A token outside the k is at
    least as surprising as the last of them, so what lies strictly nearer than that one is ordered for certain.
    """

    typical_p: float
    name: ClassVar[str] = "typical_p"

    def __call__(self, candidates: Candidates) -> Candidates:
        # In float32: tokens whose scores tie must tie in their distance too, on both sides of the entropy.
        excess_BK = (candidates.log_z_B - candidates.entropy_B).to(torch.float32)[:, None] - candidates.score_BK
        distance_BK = excess_BK.abs().masked_fill(~candidates.kept_BK, torch.inf)
        order_BK = distance_BK.argsort(dim=-1, stable=True)
        mass_BK = candidates.p_BK.gather(1, order_BK).cumsum(-1)
        last_B1 = (mass_BK < self.typical_p).sum(-1, keepdim=True).clamp_max(mass_BK.shape[1] - 1)
        radius_B1 = distance_BK.gather(1, order_BK).gather(1, last_B1)
        reached_B = mass_BK[:, -1] >= self.typical_p
        return candidates.cut(distance_BK <= radius_B1, reached_B & (radius_B1.squeeze(1) < excess_BK[:, -1]))

    def fields(self) -> dict[str, Any]:
        return {"typical_p": self.typical_p}


@dataclass(frozen=True)
class KeepTopH(Rule):
    """Likeliest tokens whose terms of the entropy, -p log p, add up to top_h of it at most (Potraghloo et al. 2025).

    As in transformers, p and the entropy are those of the 100 likeliest tokens alone; one token is always kept.
    """

    top_h: float
    name: ClassVar[str] = "top_h"

    def __call__(self, candidates: Candidates) -> Candidates:
        rank_BK = candidates.kept_BK.cumsum(-1)
        looked_BK = candidates.kept_BK & (rank_BK <= TOP_H_LOOKS_AT)
        p_BK = torch.softmax(candidates.left_BK.masked_fill(~looked_BK, -torch.inf), -1)
        sum_BK = torch.special.entr(p_BK).cumsum(-1)
        kept_BK = (sum_BK <= self.top_h * sum_BK[:, -1:]) | (rank_BK == 1)
        return _cut_after(candidates, kept_BK & looked_BK, rank_BK[:, -1] >= TOP_H_LOOKS_AT)

    def fields(self) -> dict[str, Any]:
        return {"top_h": self.top_h}


@dataclass(frozen=True)
class KeepEpsilon(Rule):
    """Tokens with a probability of at least epsilon, and always the likeliest (Hewitt et al. 2022)."""

    epsilon_cutoff: float
    name: ClassVar[str] = "epsilon_cutoff"

    def __call__(self, candidates: Candidates) -> Candidates:
        return candidates.cut_below(candidates.log_z_B + math.log(self.epsilon_cutoff))

    def fields(self) -> dict[str, Any]:
        return {"epsilon_cutoff": self.epsilon_cutoff}


@dataclass(frozen=True)
class KeepEta(Rule):
    """Epsilon with min(eta, sqrt(eta) * exp(-entropy)): lower where the model is unsure (Hewitt et al. 2022)."""

    eta_cutoff: float
    name: ClassVar[str] = "eta_cutoff"

    def __call__(self, candidates: Candidates) -> Candidates:
        log_eta = math.log(self.eta_cutoff)
        return candidates.cut_below(candidates.log_z_B + (log_eta / 2 - candidates.entropy_B).clamp_max(log_eta))

    def fields(self) -> dict[str, Any]:
        return {"eta_cutoff": self.eta_cutoff}


@dataclass(frozen=True)
class KeepNSigma(Rule):
    """Scores at most n standard deviations below the largest (Tang et al. 2024).

    The deviation is that of all scores that are left, each counted once and divided by their number, as in llama.cpp;
    banned tokens are left out.
    """

    top_n_sigma: float
    name: ClassVar[str] = "top_n_sigma"

    def __call__(self, candidates: Candidates) -> Candidates:
        return candidates.cut_below(candidates.largest_B - self.top_n_sigma * candidates.spread_B)


@dataclass(frozen=True)
class KeepTailFree(Rule):
    """The tokens before the tail of the sorted probabilities, which begins where their curve has turned flat.

    The absolute second differences |p(i) - 2 p(i+1) + p(i+2)| are normalised to 1. With i the first index from 1 on (of
    0, 1, ...) at which their running sum is above z, the i likeliest tokens are kept; where there is none, all are
    (Bricken 2019, with Phénix). As in llama.cpp, which had the rule until 2024, differences that add up to less than
    1e-6 count as equal ones.

    The differences of what lies behind the last two known probabilities, p and q, add up to at most p + q: the first
    differences there are positive, and add up to their sum.
    """

    tfs_z: float
    name: ClassVar[str] = "tfs_z"

    def __call__(self, candidates: Candidates) -> Candidates:
        order_BK = (~candidates.kept_BK).to(torch.int8).argsort(dim=-1, stable=True)  # what is kept comes first
        p_BK = candidates.p_BK.gather(1, order_BK)
        count_B1 = candidates.kept_BK.sum(-1, keepdim=True)
        index_K = torch.arange(p_BK.shape[1], device=p_BK.device)
        curve_BK = torch.nn.functional.pad(p_BK, (0, 2))
        curve_BK = (curve_BK[:, :-2] - 2 * curve_BK[:, 1:-1] + curve_BK[:, 2:]).abs()
        sum_BK = curve_BK.masked_fill(index_K >= count_B1 - 2, 0.0).cumsum(-1)
        all_seen = not candidates.open or p_BK.shape[1] == candidates.scores.vocabulary
        unseen_B1 = p_BK.gather(1, torch.cat([count_B1 - 2, count_B1 - 1], 1).clamp_min(0)).sum(-1, keepdim=True)
        total_B1 = sum_BK[:, -1:]
        flat_B1 = total_B1 <= 1e-6
        sum_BK = torch.where(flat_B1, (index_K + 1).to(torch.float64) / (count_B1 - 2).clamp_min(1), sum_BK)
        total_B1 = torch.where(flat_B1, 1.0, total_B1)
        known_B = ~flat_B1.squeeze(1)
        kept_B1 = self._kept(sum_BK, total_B1, count_B1)
        if not all_seen:
            known_B &= (kept_B1 == self._kept(sum_BK, total_B1 + unseen_B1, count_B1)).squeeze(1)
            known_B &= (kept_B1 < count_B1).squeeze(1)
        kept_BK = torch.zeros_like(candidates.kept_BK).scatter(1, order_BK, index_K < kept_B1)
        return _cut_after(candidates, kept_BK, known_B)

    def _kept(self, sum_BK: Tensor, total_B1: Tensor, count_B1: Tensor) -> Tensor:
        """How many are kept, if the differences add up to `total_B1`: the first index from 1 on, or all."""
        index_K = torch.arange(sum_BK.shape[1], device=sum_BK.device)
        ends_BK = (sum_BK > self.tfs_z * total_B1) & (index_K >= 1) & (index_K < count_B1 - 2)
        return torch.where(ends_BK.any(-1, keepdim=True), ends_BK.to(torch.int8).argmax(-1, keepdim=True), count_B1)


@dataclass(frozen=True)
class KeepPLess(Rule):
    """Tokens at least as likely as two draws are to be the same token, the sum of p squared (Tan et al. 2025).

    `norm` takes (n * sum - 1) / (n - 1) of the n tokens that are left instead: 0 where all are equally likely.
    """

    p_less: str
    name: ClassVar[str] = "p_less"

    def __call__(self, candidates: Candidates) -> Candidates:
        log_sum_B = candidates.log_sum_B(2) - 2 * candidates.log_z_B
        if self.p_less == "norm":
            count_B = candidates.count_B
            log_sum_B = ((count_B * log_sum_B.exp() - 1) / (count_B - 1).clamp_min(1)).clamp_min(0).log()
        return candidates.cut_below(candidates.log_z_B + log_sum_B)


@dataclass(frozen=True)
class ExcludeTopChoices(Rule):
    """XTC: with a probability, drop all tokens at or above a threshold but the least likely of them.

    Source: p-e-w 2024 (text-generation-webui, then llama.cpp). The coin is the request's own. The tail stays.
    """

    probability: float
    threshold: float
    name: ClassVar[str] = "xtc"

    def __call__(self, candidates: Candidates) -> Candidates:
        if candidates.draws is None:
            raise ValueError("XTC needs the rows' draws")
        # Gumbel noise g is -log(-log(u)) of a uniform u: u < probability.
        bound = -math.log(-math.log(self.probability)) if self.probability < 1 else math.inf
        noise_B1 = candidates.draws.gumbel(torch.zeros_like(candidates.rows_B)[:, None], XTC_LANE)
        above_BK = candidates.kept_BK & (candidates.p_BK >= self.threshold)
        choices_BK = above_BK.cumsum(-1)
        dropped_BK = above_BK & (choices_BK < choices_BK[:, -1:]) & (noise_B1 < bound)
        within_B = candidates.above_tail(candidates.log_z_B + math.log(self.threshold))
        return candidates.drop(dropped_BK, within_B | (noise_B1 >= bound).squeeze(1))

    def outcomes(self) -> Sequence[tuple[float, Rule | None]]:
        return (self.probability, replace(self, probability=1.0)), (1 - self.probability, None)


@dataclass(frozen=True, eq=False)
class KeepSurprise(Rule):
    """Tokens with a surprisal of at most mu_B bits, or else the likeliest alone (mirostat v2, Basu et al. 2021)."""

    mu_B: Tensor

    def __call__(self, candidates: Candidates) -> Candidates:
        least_B = candidates.log_z_B - self.mu_B[candidates.at_B] * math.log(2)
        first_BK = candidates.kept_BK.cumsum(-1) == 1
        known_B = candidates.above_tail(torch.minimum(least_B, candidates.largest_B))
        return candidates.cut((candidates.left_BK >= least_B[:, None]) | first_BK, known_B)


def _cut_after(candidates: Candidates, kept_BK: Tensor, known_B: Tensor | None = None) -> Candidates:
    """Keep some, by rank: certain where they lie above the last of the k, and not among those that tie with it."""
    kept_BK = kept_BK & candidates.kept_BK
    above_B = candidates.above_tail(candidates.score_BK.masked_fill(~kept_BK, torch.inf).amin(-1))
    return candidates.cut(kept_BK, above_B if known_B is None else above_B & known_B)
