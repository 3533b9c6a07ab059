"""95% intervals over prompts: BCa bootstrap for means and ratios, Wilson for shares.

Whole prompts are resampled, clusters of them where there are any (`clusters`): then few of them, or unequal ones, make
intervals wider, by Student's t with the degrees of freedom of as many equal ones as they are worth. Every metric of a
cell sees the same resamples, and all metrics over the same number of prompts are resampled at once.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decodebench.stats.clusters import Clusters, cluster_numbers, cluster_sums, count_clusters, effective_clusters

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_PROMPTS = 10
MIN_EFFECTIVE = 5
"""How many clusters of equal size the clusters must be worth: below 3 no method that we tried covers 95%."""
SEED = 1987
BATCH_NUMBERS = 1_000_000
"""Numbers held at a time for the resamples of one call: bounds memory on large prompt sets."""
BATCH_METRICS = 128
"""Metrics that share a bootstrap call: bounds memory on large grids. Larger ones are hardly faster."""

Array = npt.NDArray[np.float64]
Finish = Callable[..., Array]
"""Turns the K column means into the value; element-wise, since it also gets one array of means for each column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval; both ends are None where there is none, and `reason` then says why."""

    low: float | None
    high: float | None
    reason: str | None = None


def no_interval(reason: str) -> Interval:
    """The absent interval, with its reason."""
    return Interval(low=None, high=None, reason=reason)


def identity(mean: Array) -> Array:
    """The `finish` of a plain mean."""
    return mean


def mean_interval(values: Sequence[float], clusters: Clusters | None = None) -> Interval:
    """Interval of the mean of one finite value per prompt."""
    return ratio_interval(np.asarray(values, dtype=np.float64)[:, None], identity, clusters)


def ratio_interval(rows_PK: Array, finish: Finish, clusters: Clusters | None = None) -> Interval:
    """Interval of `finish(mean of column 1, ..., mean of column K)` over P prompts, K finite numbers each.

    With columns (numerator, denominator) this is the ratio of sums, not the mean of ratios. BCa bootstrap (Efron 1987,
    "Better bootstrap confidence intervals"), 2000 resamples of whole clusters of prompts, at the level of
    `bootstrap_confidence`. No interval for fewer than 10 clusters, for such unequal ones that they are worth less than
    5, where resampling cannot change the value, and where BCa is undefined.
    """
    return ratio_intervals([(rows_PK, finish)], [clusters])[0]


def ratio_intervals(
    metrics: Sequence[tuple[Array, Finish]], clusters: Sequence[Clusters | None] | None = None
) -> list[Interval]:
    """`ratio_interval` of many metrics, bit for bit, about 35 times as fast for 1,000 prompts: those with equally many
    share their resamples, and all means of a resample are one matrix product. `clusters` has an entry for each."""
    found: dict[int, Interval] = {}
    alike: dict[tuple[int, float], list[int]] = {}
    units: list[tuple[Array, Finish]] = []
    for number, ((rows_PK, finish), of) in enumerate(zip(metrics, clusters or [None] * len(metrics), strict=True)):
        number_P = cluster_numbers(of, len(rows_PK))
        units.append(by_cluster(rows_PK, finish, number_P))
        missing = too_few_clusters(number_P)
        if missing is not None:
            found[number] = missing
        else:
            alike.setdefault((len(units[-1][0]), bootstrap_confidence(number_P)), []).append(number)
    for (_, confidence), numbers in alike.items():
        for start in range(0, len(numbers), BATCH_METRICS):
            batch = numbers[start : start + BATCH_METRICS]
            found.update(zip(batch, _bootstrap([units[number] for number in batch], confidence), strict=True))
    return [found[number] for number in range(len(metrics))]


def bootstrap_confidence(number_P: npt.NDArray[np.intp]) -> float:
    """The level at which the bootstrap over clusters covers 95%: 2 Phi(sqrt(C / (C - 1)) t) - 1, t the 97.5% point of
    Student's t with C - 1 degrees of freedom (Hesterberg 2015, "What teachers should know about the bootstrap",
    expanded percentiles), C the number of equal clusters that these are worth (`effective_clusters`).

    Where each prompt is a cluster, 95%: there are enough of them, or docs/statistics.md says what is missing.
    """
    from scipy.special import ndtr, stdtrit

    if count_clusters(number_P) == len(number_P):
        return CONFIDENCE
    worth = effective_clusters(number_P)
    t = float(stdtrit(worth - 1, (1 + CONFIDENCE) / 2))
    return float(2 * ndtr(math.sqrt(worth / (worth - 1)) * t) - 1)


def by_cluster(rows_PK: Array, finish: Finish, number_P: npt.NDArray[np.intp]) -> tuple[Array, Finish]:
    """The same value of rows that are independent: one row for each cluster, the sums of its prompts' rows and, in a
    column of its own, how many these are. Where each prompt is a cluster, the rows as they are."""
    if count_clusters(number_P) == len(rows_PK):
        return rows_PK, finish
    counted_PK = np.column_stack([rows_PK, np.ones(len(rows_PK))])
    return cluster_sums(counted_PK, number_P), lambda *means: finish(*(mean / means[-1] for mean in means[:-1]))


def resampled(metrics: Sequence[tuple[Array, Finish]], clusters: Clusters | None = None) -> Array:
    """The value of M metrics of the same prompts on each of B resamples of these, `[M, B]`: what a band or a chance is
    read off. The resamples are those of the intervals."""
    units = [by_cluster(rows_PK, finish, cluster_numbers(clusters, len(rows_PK))) for rows_PK, finish in metrics]
    batches = [units[start : start + BATCH_METRICS] for start in range(0, len(units), BATCH_METRICS)]
    return np.concatenate([_resample(batch, "percentile").bootstrap_distribution for batch in batches])


def _bootstrap(metrics: Sequence[tuple[Array, Finish]], confidence: float) -> list[Interval]:
    """BCa intervals of metrics that have equally many rows."""
    result = _resample(metrics, "BCa", confidence)
    ci = result.confidence_interval
    return [_checked(*one) for one in zip(result.bootstrap_distribution, ci.low, ci.high, strict=True)]


def _resample(metrics: Sequence[tuple[Array, Finish]], method: str, confidence: float = CONFIDENCE) -> Any:
    """The bootstrap of metrics that have equally many rows: scipy resamples the numbers of the rows."""
    from scipy import stats

    prompts = len(metrics[0][0])
    columns_CP = np.concatenate([_on_a_grid(rows_PK) for rows_PK, _ in metrics], axis=1).T
    ends = np.cumsum([rows_PK.shape[1] for rows_PK, _ in metrics])[:-1]

    def values(drawn: npt.NDArray[np.int64], axis: int = -1) -> Array:
        """The value of each metric for each row of drawn prompts: an array of metrics x rows."""
        drawn_BN = drawn.reshape(-1, drawn.shape[-1])
        cells = (drawn_BN + prompts * np.arange(len(drawn_BN))[:, None]).ravel()
        times_BP = np.bincount(cells, minlength=len(drawn_BN) * prompts).reshape(-1, prompts).astype(np.float64)
        means_CB = columns_CP @ times_BP.T / drawn.shape[-1]
        finished = [finish(*means) for (_, finish), means in zip(metrics, np.split(means_CB, ends), strict=True)]
        return np.stack(finished).reshape(len(metrics), *drawn.shape[:-1])

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # scipy warns where BCa is undefined; the NaN that comes with the warning is turned into a reason below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        return stats.bootstrap(
            (np.arange(prompts),),
            values,
            n_resamples=RESAMPLES,
            batch=min(RESAMPLES, max(1, BATCH_NUMBERS // prompts)),
            vectorized=True,
            axis=-1,
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(SEED),
        )


def _on_a_grid(rows_PK: Array) -> Array:
    """The rows, each column rounded to multiples of a power of two so small (2**-42 of the column's largest number for
    1,000 prompts) that every sum of P of them is exact: sums then do not depend on the order of summation, hence not
    on which metrics are computed together, and equal resamples tie exactly."""
    bits = 52 - len(rows_PK).bit_length()
    exponents_K = np.frexp(np.abs(rows_PK).max(axis=0))[1] - bits
    steps_K = np.ldexp(1.0, np.maximum(exponents_K, -1000))
    return np.asarray(np.round(rows_PK / steps_K) * steps_K)


def _checked(drawn: Array, low: float, high: float) -> Interval:
    """scipy's interval where it means something, given the values of the resamples."""
    if not np.isfinite(drawn).all():
        return no_interval("some resamples of the prompts have no value")
    # Equal values differ by rounding once they are averaged: that width is no uncertainty.
    if np.ptp(drawn) <= 1e-10 * float(np.abs(drawn).max()):
        return no_interval("resampling the prompts does not change the value")
    if not np.isfinite([low, high]).all():
        return no_interval("the BCa bootstrap is undefined for these values")
    return Interval(low=float(low), high=float(high))


def share_interval(hits: float, prompts: int) -> Interval:
    """Interval of the share `hits / prompts`, for one text per prompt (Wilson 1927, the score interval)."""
    return too_few(prompts) if prompts < MIN_PROMPTS else _wilson(hits / prompts, prompts)


def clustered_share_interval(values: Sequence[float] | Array, clusters: Clusters | None = None) -> Interval:
    """The same of one 0 or 1 for each prompt, with the cluster of each.

    Prompts in clusters count as fewer: as many as give a share the standard error that its clusters show (linearised,
    over C - 1 clusters), times (z / t)^2, t with the degrees of freedom of as many clusters as these are worth (Korn
    and Graubard 1998; by Wilson: Dean and Pagano 2015). Never fewer than `effective_clusters`, what they are worth
    where all of a cluster agree; that many where the share is 0 or 1.
    """
    values_P = np.asarray(values, dtype=np.float64)
    number_P = cluster_numbers(clusters, len(values_P))
    if count_clusters(number_P) == len(values_P):
        return share_interval(float(values_P.sum()), len(values_P))
    missing = too_few_clusters(number_P)
    return missing or _wilson(float(values_P.mean()), _independent_prompts(values_P, number_P))


def _wilson(share: float, n: float) -> Interval:
    from scipy.special import ndtri

    z = float(ndtri((1 + CONFIDENCE) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return Interval(low=0.0 if share <= 0 else middle - half, high=1.0 if share >= 1 else middle + half)


def _independent_prompts(values_P: Array, number_P: npt.NDArray[np.intp]) -> float:
    """How many independent prompts tell as much of a share as these do in their clusters."""
    from scipy.special import ndtri, stdtrit

    prompts, clusters, share = len(values_P), count_clusters(number_P), float(values_P.mean())
    worst, level = effective_clusters(number_P), (1 + CONFIDENCE) / 2
    if not 0 < share < 1:
        return worst
    residuals_C = cluster_sums(values_P - share, number_P)
    variance = clusters / (clusters - 1) * float((residuals_C**2).sum()) / prompts**2
    independent = min(prompts, share * (1 - share) / variance) if variance else prompts
    return max(worst, independent * float(ndtri(level) / stdtrit(worst - 1, level)) ** 2)


def too_few_clusters(number_P: npt.NDArray[np.intp]) -> Interval | None:
    """The absent interval of fewer than MIN_PROMPTS clusters, or of such that are worth fewer than MIN_EFFECTIVE of
    equal size; None where there are enough."""
    clusters, prompts, worth = count_clusters(number_P), len(number_P), effective_clusters(number_P)
    if clusters < MIN_PROMPTS:
        return too_few(clusters, prompts)
    if worth >= MIN_EFFECTIVE:
        return None
    told = f"{clusters} clusters of {prompts} prompts, so unequal that they are worth {worth:.1f} of equal size"
    return no_interval(f"{told}: an interval needs at least {MIN_EFFECTIVE}")


def too_few(units: int, prompts: int | None = None) -> Interval:
    """The absent interval of fewer than MIN_PROMPTS prompts; or of clusters, where they have more `prompts`."""
    plural = "" if units == 1 else "s"
    what = f"prompt{plural}" if prompts in (None, units) else f"cluster{plural} of {prompts} prompts"
    return no_interval(f"{units} {what}: an interval needs at least {MIN_PROMPTS}")
