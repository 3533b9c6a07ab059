"""Strategies in order: Pareto front, Bradley-Terry strengths, mean ranks, and ties where intervals overlap.

`A` counts strategies ("arms"), `M` metrics, `P` prompts. Seeds and samples are averaged within a prompt beforehand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decodebench.records import Direction
from decodebench.stats.clusters import Clusters, cluster_numbers, cluster_sums, effective_clusters
from decodebench.stats.intervals import (
    CONFIDENCE,
    Array,
    Interval,
    identity,
    no_interval,
    ratio_intervals,
    too_few_clusters,
)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The place of one strategy. Strategies with the same `tie` (1 is the best) cannot be told apart; with different
    ones they may not be either, see `tie_groups`. `n` counts the prompts in which it met another strategy. `reason`
    says why a number or an interval is missing."""

    strength: float | None
    strength_interval: Interval
    mean_rank: float | None
    mean_rank_interval: Interval
    tie: int | None
    n: int
    reason: str | None


def pareto_front(values_AM: Array, directions: Sequence[Direction]) -> list[bool]:
    """Whether a strategy is on the front: no other is as good in every metric and better in one. One without a value
    (NaN) in some metric is not on it, and keeps no other from it. Raises ValueError for a metric without direction."""
    better_AM = values_AM * _signs(directions)
    whole_A: Mask = np.asarray(np.isfinite(better_AM).all(axis=1))
    as_good_AA: Mask = np.asarray((better_AM[:, None] >= better_AM).all(axis=-1))
    dominates_AA: Mask = as_good_AA & (better_AM[:, None] > better_AM).any(axis=-1)
    dominated_A: Mask = np.asarray((dominates_AA & whole_A[:, None]).any(axis=0))
    return [bool(front) for front in whole_A & ~dominated_A]


def standings(values_PAM: Array, directions: Sequence[Direction], clusters: Clusters | None = None) -> list[Standing]:
    """Strengths, mean ranks and ties of A strategies over P prompts and M metrics; NaN where a value is missing.

    Each prompt and metric is a match between every two strategies that have a value: the better one wins, equal values
    give half a win to each. Errors and intervals are over the clusters of the prompts. Raises ValueError for a metric
    without direction.
    """
    better_PAM = values_PAM * _signs(directions)
    number_P = cluster_numbers(clusters, len(values_PAM))
    wins_PAA = _wins(better_PAM)
    wins_CAA = cluster_sums(wins_PAA, number_P)
    met_PA = _met(wins_PAA)
    n_A = met_PA.sum(axis=0).tolist()
    strength_A, error_A = bradley_terry(wins_CAA[_met(wins_CAA).any(axis=1)])
    strengths = [
        _strength_interval(strength, error, number_P[met_P].tolist())
        for strength, error, met_P in zip(strength_A, error_A, met_PA.T, strict=True)
    ]
    ranks, rank_intervals = _mean_ranks(better_PAM, number_P)
    ties = tie_groups(
        [float(s) if n else None for s, n in zip(strength_A, n_A, strict=True)],
        strengths,
    )
    return [
        Standing(
            strength=float(strength_A[a]) if n_A[a] else None,
            strength_interval=strengths[a],
            mean_rank=ranks[a],
            mean_rank_interval=rank_intervals[a],
            tie=ties[a],
            n=n_A[a],
            reason=strengths[a].reason or rank_intervals[a].reason,
        )
        for a in range(values_PAM.shape[1])
    ]


def _met(wins_PAA: Array) -> Mask:
    """Whether a strategy met another one in a prompt (or cluster), [P, A]."""
    return np.asarray((wins_PAA + wins_PAA.transpose(0, 2, 1)).any(axis=2))


def _signs(directions: Sequence[Direction]) -> Array:
    if "none" in directions:
        raise ValueError("a metric without direction ranks nothing")
    return np.array([1.0 if direction == "higher" else -1.0 for direction in directions])


def _wins(better_PAM: Array) -> Array:
    """How often a beat b in the metrics of a prompt, ties as halves; 0 both ways where they did not meet."""
    prompts, arms, _ = better_PAM.shape
    wins_PAA = np.zeros((prompts, arms, arms))
    for better_PA in np.moveaxis(better_PAM, -1, 0):  # one metric at a time: bounds memory
        a_PAA, b_PAA = better_PA[:, :, None], better_PA[:, None, :]
        wins_PAA += (a_PAA > b_PAA) + 0.5 * (a_PAA == b_PAA)
    wins_PAA[:, np.arange(arms), np.arange(arms)] = 0
    return wins_PAA


def bradley_terry(wins_PAA: Array) -> tuple[Array, Array]:
    """Strengths of the Bradley-Terry model (1952, "Rank analysis of incomplete block designs"): log odds, mean 0; and
    their standard errors over prompts (or clusters of them, whose wins are summed).

    Every two strategies are given one tied match more, so that one that won all its matches has a finite strength.
    Maximum likelihood by choix (I-LSR; Maystre and Grossglauser 2015). The matches of a prompt are not independent: the
    errors are those of the sandwich with prompts as clusters (Huber 1967; Liang and Zeger 1986), which is what leaving
    out prompts comes to without a fit for each; the tied matches are clusters of their own, since as one they would all
    pull together.
    """
    import choix

    prompts, arms = len(wins_PAA), wins_PAA.shape[1]
    if not prompts or arms < 2:
        return np.zeros(arms), np.full(arms, math.inf)
    tied_AA = (1 - np.eye(arms)) / 2
    total_AA = wins_PAA.sum(axis=0) + tied_AA
    strength_A = choix.ilsr_pairwise_dense(total_AA, max_iter=10_000)
    chance_AA = 1 / (1 + np.exp(strength_A - strength_A[:, None]))
    clusters_PAA = np.concatenate([wins_PAA, _each_tied_pair(arms)])
    score_PA = (clusters_PAA - (clusters_PAA + clusters_PAA.transpose(0, 2, 1)) * chance_AA).sum(axis=2)
    weight_AA = (total_AA + total_AA.T) * chance_AA * chance_AA.T
    influence_PA = score_PA @ np.linalg.pinv(np.diag(weight_AA.sum(axis=1)) - weight_AA)
    return strength_A, np.sqrt((prompts + 1) / prompts * (influence_PA**2).sum(axis=0))


def _each_tied_pair(arms: int) -> Array:
    """The tied matches that are added, a cluster for each two strategies."""
    one, other = np.triu_indices(arms, k=1)
    pairs_CAA = np.zeros((len(one), arms, arms))
    pair = np.arange(len(one))
    pairs_CAA[pair, one, other] = pairs_CAA[pair, other, one] = 0.5
    return pairs_CAA


def _strength_interval(strength: float, error: float, clusters: Clusters) -> Interval:
    """`clusters` are those of the prompts in which the strategy met another one."""
    from scipy.special import stdtrit

    number_P = cluster_numbers(clusters, len(clusters))
    if not len(number_P):
        return no_interval("met no other strategy")
    if missing := too_few_clusters(number_P):
        return missing
    half = float(stdtrit(effective_clusters(number_P) - 1, (1 + CONFIDENCE) / 2)) * error
    return Interval(low=float(strength - half), high=float(strength + half))


def _mean_ranks(better_PAM: Array, number_P: npt.NDArray[np.intp]) -> tuple[list[float | None], list[Interval]]:
    """The rank of each strategy (1 is the best, equal values share the mean of their ranks), averaged over the metrics
    of a prompt, then over prompts; a prompt and metric counts where every strategy has a value."""
    from scipy.stats import rankdata

    arms = better_PAM.shape[1]
    whole_PM: Mask = np.asarray(np.isfinite(better_PAM).all(axis=1))
    ranks_PAM = rankdata(-better_PAM, axis=1)
    counted_P: Mask = np.asarray(whole_PM.any(axis=1))
    if not counted_P.any():
        return [None] * arms, [no_interval("no prompt has a value of every strategy")] * arms
    kept_PAM = np.where(whole_PM[:, None], ranks_PAM, 0.0)[counted_P]
    ranks_PA = kept_PAM.sum(axis=2) / whole_PM[counted_P].sum(axis=1)[:, None]
    of = number_P[counted_P].tolist()
    intervals = ratio_intervals([(ranks_PA[:, [a]], identity) for a in range(arms)], [of] * arms)
    return [float(rank) for rank in ranks_PA.mean(axis=0)], intervals


def tie_groups(values: Sequence[float | None], intervals: Sequence[Interval]) -> list[int | None]:
    """Groups, numbered from the largest value down, in which EVERY two intervals overlap.

    A strategy joins the group above it if its interval overlaps that of every member, else it begins the next. Of a
    chain where a overlaps b, b overlaps c, but not a c, a and b are one group and c begins another, though b and c
    cannot be told apart: one number for each cannot say more. None without an interval.
    """
    groups: list[int | None] = [None] * len(values)
    number, lowest, highest = 0, math.inf, -math.inf
    order = [i for i in range(len(values)) if values[i] is not None and intervals[i].reason is None]
    for i in sorted(order, key=lambda i: -(values[i] or 0.0)):
        low, high = intervals[i].low, intervals[i].high
        assert low is not None
        assert high is not None
        # Intervals overlap in pairs exactly where all of them share a point.
        lowest, highest = min(lowest, high), max(highest, low)
        if not number or lowest < highest:
            number, lowest, highest = number + 1, high, low
        groups[i] = number
    return groups
