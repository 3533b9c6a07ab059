"""95% intervals over prompts: BCa bootstrap for means and ratios, Wilson for shares.

Whole prompts are resampled, clusters of them where there are any (`clusters`). Every metric of a cell sees the same
resamples, and all metrics over the same number of prompts are resampled at once.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decodebench.stats.clusters import Clusters, cluster_numbers, cluster_sums, count_clusters, effective_prompts

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_PROMPTS = 10
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
    "Better bootstrap confidence intervals"), 2000 resamples of whole clusters of prompts. No interval for fewer than 10
    of them, where resampling cannot change the value, and where BCa is undefined.
    """
    return ratio_intervals([(rows_PK, finish)], [clusters])[0]


def ratio_intervals(
    metrics: Sequence[tuple[Array, Finish]], clusters: Sequence[Clusters | None] | None = None
) -> list[Interval]:
    """`ratio_interval` of many metrics, bit for bit, about 35 times as fast for 1,000 prompts: those with equally many
    share their resamples, and all means of a resample are one matrix product. `clusters` has an entry for each."""
    found: dict[int, Interval] = {}
    by_units: dict[int, list[int]] = {}
    units: list[tuple[Array, Finish]] = []
    for number, ((rows_PK, finish), of) in enumerate(zip(metrics, clusters or [None] * len(metrics), strict=True)):
        units.append(by_cluster(rows_PK, finish, of))
        count = len(units[-1][0])
        if count < MIN_PROMPTS:
            found[number] = too_few(count, len(rows_PK))
        else:
            by_units.setdefault(count, []).append(number)
    for numbers in by_units.values():
        for start in range(0, len(numbers), BATCH_METRICS):
            batch = numbers[start : start + BATCH_METRICS]
            found.update(zip(batch, _bootstrap([units[number] for number in batch]), strict=True))
    return [found[number] for number in range(len(metrics))]


def by_cluster(rows_PK: Array, finish: Finish, clusters: Clusters | None) -> tuple[Array, Finish]:
    """The same value of rows that are independent: one row for each cluster, the sums of its prompts' rows and, in a
    column of its own, how many these are. Where each prompt is a cluster, the rows as they are."""
    number_P = cluster_numbers(clusters, len(rows_PK))
    if count_clusters(number_P) == len(rows_PK):
        return rows_PK, finish
    counted_PK = np.column_stack([rows_PK, np.ones(len(rows_PK))])
    return cluster_sums(counted_PK, number_P), lambda *means: finish(*(mean / means[-1] for mean in means[:-1]))


def resampled(metrics: Sequence[tuple[Array, Finish]], clusters: Clusters | None = None) -> Array:
    """The value of M metrics of the same prompts on each of B resamples of these, `[M, B]`: what a band or a chance is
    read off. The resamples are those of the intervals."""
    units = [by_cluster(rows_PK, finish, clusters) for rows_PK, finish in metrics]
    batches = [units[start : start + BATCH_METRICS] for start in range(0, len(units), BATCH_METRICS)]
    return np.concatenate([_resample(batch, "percentile").bootstrap_distribution for batch in batches])


def _bootstrap(metrics: Sequence[tuple[Array, Finish]]) -> list[Interval]:
    """BCa intervals of metrics that have equally many rows."""
    result = _resample(metrics, "BCa")
    ci = result.confidence_interval
    return [_checked(*one) for one in zip(result.bootstrap_distribution, ci.low, ci.high, strict=True)]


def _resample(metrics: Sequence[tuple[Array, Finish]], method: str) -> Any:
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
            confidence_level=CONFIDENCE,
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


def share_interval(hits: float, prompts: int, clusters: Clusters | None = None) -> Interval:
    """Interval of the share `hits / prompts`, for one text per prompt (Wilson 1927, the score interval).

    Prompts of one cluster are taken to agree: the share is that of as many prompts as they are worth
    (`effective_prompts`). Never too narrow, wider than need be where they do not agree.
    """
    from scipy.special import ndtri

    count = count_clusters(cluster_numbers(clusters, prompts))
    if count < MIN_PROMPTS:
        return too_few(count, prompts)
    n, share = effective_prompts(clusters, prompts), hits / prompts
    z = float(ndtri((1 + CONFIDENCE) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return Interval(low=0.0 if hits <= 0 else middle - half, high=1.0 if hits >= prompts else middle + half)


def too_few(units: int, prompts: int | None = None) -> Interval:
    """The absent interval of fewer than MIN_PROMPTS prompts; or of clusters, where they have more `prompts`."""
    plural = "" if units == 1 else "s"
    what = f"prompt{plural}" if prompts in (None, units) else f"cluster{plural} of {prompts} prompts"
    return no_interval(f"{units} {what}: an interval needs at least {MIN_PROMPTS}")
