"""95% intervals over prompts: BCa bootstrap for means and ratios, Wilson for shares.

The prompt is the unit: the samples of one prompt are not independent, so whole prompts are resampled. The random
stream is fixed, so the same data gives the same interval, and every metric of a cell sees the same resamples.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_PROMPTS = 10
SEED = 1987
BATCH_NUMBERS = 1_000_000
"""Resampled numbers held at a time and column: bounds memory on large prompt sets."""

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


def mean_interval(values: Sequence[float]) -> Interval:
    """Interval of the mean of one finite value per prompt."""
    return ratio_interval(np.asarray(values, dtype=np.float64)[:, None], identity)


def ratio_interval(rows_PK: Array, finish: Finish) -> Interval:
    """Interval of `finish(mean of column 1, ..., mean of column K)` over P prompts, K finite numbers each.

    With columns (numerator, denominator) this is the ratio of sums, not the mean of ratios. BCa bootstrap (Efron 1987,
    "Better bootstrap confidence intervals"), 2000 resamples of whole prompts. No interval for fewer than 10 prompts,
    where resampling cannot change the value, and where BCa is undefined.
    """
    prompts = len(rows_PK)
    if prompts < MIN_PROMPTS:
        return _too_few(prompts)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # scipy warns where BCa is undefined; the NaN that comes with the warning is turned into a reason below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            tuple(rows_PK.T),
            lambda *columns, axis=-1: finish(*(column.mean(axis=axis) for column in columns)),
            n_resamples=RESAMPLES,
            batch=min(RESAMPLES, max(1, BATCH_NUMBERS // prompts)),
            vectorized=True,
            paired=True,
            axis=-1,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(SEED),
        )
    ci = result.confidence_interval
    return _checked(np.asarray(result.bootstrap_distribution), float(ci.low), float(ci.high))


def _checked(drawn: Array, low: float, high: float) -> Interval:
    """scipy's interval where it means something, given the values of the resamples."""
    if not np.isfinite(drawn).all():
        return no_interval("some resamples of the prompts have no value")
    # Equal values differ by rounding once they are averaged: that width is no uncertainty.
    if np.ptp(drawn) <= 1e-12 * max(1.0, float(np.abs(drawn).max())):
        return no_interval("resampling the prompts does not change the value")
    if not np.isfinite([low, high]).all():
        return no_interval("the BCa bootstrap is undefined for these values")
    return Interval(low=low, high=high)


def share_interval(hits: int, prompts: int) -> Interval:
    """Interval of the share `hits / prompts`, for one text per prompt (Wilson 1927, the score interval)."""
    if prompts < MIN_PROMPTS:
        return _too_few(prompts)
    wilson = stats.binomtest(hits, prompts).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(low=float(wilson.low), high=float(wilson.high))


def _too_few(prompts: int) -> Interval:
    plural = "" if prompts == 1 else "s"
    return no_interval(f"{prompts} prompt{plural}: an interval needs at least {MIN_PROMPTS}")
