"""What the best of several trials is worth: the expected best score, and the chance to be the best.

`T` counts trials (settings of one family, or contenders), `P` prompts, `B` resamples of them, `N` how many are tried.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decodebench.stats.clusters import Clusters, cluster_numbers, count_clusters
from decodebench.stats.intervals import CONFIDENCE, MIN_PROMPTS, Array, Finish, resampled, too_few


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOf:
    """The expected best score after 1, 2, ..., T trials, with a band over prompts; or `reason`, why there is none."""

    values_N: Array
    low_N: Array | None
    high_N: Array | None
    reason: str | None = None


def expected_best(scores: Array, *, higher: bool = True) -> Array:
    """The expected best of N of T scores that are drawn without replacement, for N = 1 ... T, along the last axis:
    sum over the sorted scores s_(i) of s_(i) C(i-1, N-1) / C(T, N) (arXiv 2506.13681 draws such curves). `higher`: the
    best is the largest, else the smallest."""
    trials = scores.shape[-1]
    ascending = np.sort(scores if higher else -scores, axis=-1)
    weights_NT = np.array(
        [[math.comb(i, n - 1) / math.comb(trials, n) for i in range(trials)] for n in range(1, trials + 1)]
    )
    best = ascending @ weights_NT.T
    return np.asarray(best if higher else -best)


def best_of(
    families: Sequence[Sequence[tuple[Array, Finish]]], clusters: Clusters | None = None, *, higher: bool = True
) -> list[BestOf]:
    """`expected_best` of the trials of each family, all measured on the same P prompts, each trial by its rows `[P, K]`
    and what makes a value of their means. The band is the percentile interval of the curve over resampled prompts
    (clusters): each resample gives every trial a score, and these a curve. It says how far other prompts would move the
    curve; not how far other trials would. It is not drawn for fewer than 10 prompts (clusters)."""
    trials = [trial for family in families for trial in family]
    value_T = np.array([float(finish(*rows_PK.mean(axis=0))) for rows_PK, finish in trials])
    ends = np.cumsum([len(family) for family in families])[:-1]
    curves = [expected_best(of_family, higher=higher) for of_family in np.split(value_T, ends)]
    prompts = len(trials[0][0])
    units = count_clusters(cluster_numbers(clusters, prompts))
    if units < MIN_PROMPTS:
        reason = too_few(units, prompts).reason
        return [BestOf(values_N=values_N, low_N=None, high_N=None, reason=reason) for values_N in curves]
    value_TB = resampled(trials, clusters)
    tail = 100 * (1 - CONFIDENCE) / 2
    found = []
    for values_N, of_family in zip(curves, np.split(value_TB, ends), strict=True):
        low_N, high_N = np.percentile(expected_best(of_family.T, higher=higher), [tail, 100 - tail], axis=0)
        found.append(BestOf(values_N=values_N, low_N=low_N, high_N=high_N))
    return found


def chance_of_best(
    contenders: Sequence[tuple[Array, Finish]], clusters: Clusters | None = None, *, higher: bool = True
) -> Array:
    """For each of T contenders measured on the same prompts, the share of resamples of these in which it has the best
    value; equal ones share. Bootstrap over prompts (clusters)."""
    value_TB = resampled(contenders, clusters)
    best_B = (value_TB.max if higher else value_TB.min)(axis=0)
    is_best_TB = np.isclose(value_TB, best_B, rtol=1e-12, atol=0)
    return np.asarray((is_best_TB / is_best_TB.sum(axis=0)).mean(axis=1))
