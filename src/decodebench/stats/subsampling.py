"""Intervals for metrics of a whole set of texts (distinct over the set, Zipf, Vendi): subsampling without replacement.

A bootstrap would put the same text into a set twice, and such metrics count just that. The delete-d jackknife (Shao and
Wu 1989, "A general theory for jackknife variance estimation"; a kind of subsampling, Politis and Romano 1994, "Large
sample confidence regions based on subsamples under minimal assumptions") leaves prompts out instead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from decodebench.stats.clusters import Clusters, cluster_numbers, count_clusters, effective_clusters
from decodebench.stats.differences import Estimate
from decodebench.stats.intervals import CONFIDENCE, SEED, Array, Interval, no_interval, too_few_clusters

SUBSETS = 100
LEFT_OUT = 0.1
"""Share of the prompts that a subset lacks. Larger shares measure smaller sets, whose values spread otherwise: leaving
out half of 50 prompts covered 89% for distinct-2, a tenth 94% (docs/statistics.md)."""

SetMetric = Callable[[npt.NDArray[np.int64]], float | None]
"""The metric of the set that is made of these prompts (ascending numbers from 0); None where it has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsampled:
    """The values of a metric on subsets of the prompts: the same subsets for every metric over as many prompts in the
    same clusters, so that two can be subtracted. `worth` is how many clusters of equal size they come to
    (`effective_clusters`). `values_S` is empty where there is a `reason`."""

    values_S: Array
    prompts: int
    clusters: int
    worth: float
    reason: str | None = None

    @property
    def standard_error(self) -> float:
        """sqrt((n - d) / d) times the spread of the values around THEIR mean: a metric of fewer texts has another
        expectation. For a mean, and all subsets, exactly s / sqrt(n)."""
        d = left_out(self.clusters)
        everything = len(self.values_S) == math.comb(self.clusters, d)
        return float(np.std(self.values_S, ddof=0 if everything else 1)) * math.sqrt((self.clusters - d) / d)

    @property
    def df(self) -> float:
        """Degrees of freedom: those of as many equal clusters, fewer because only so many subsets were looked at."""
        return 1 / (1 / (self.worth - 1) + 1 / (len(self.values_S) - 1))


def left_out(clusters: int) -> int:
    """How many clusters a subset lacks; of prompts where each is one of its own."""
    return max(1, round(LEFT_OUT * clusters))


def subsample(of: SetMetric, prompts: int, subsets: int = SUBSETS, clusters: Clusters | None = None) -> Subsampled:
    """Values of `of` on 100 subsets (all of them where there are fewer) that lack a tenth of the clusters of prompts.

    `of` is called 100 times with 90% of the set: it should count the texts beforehand, not again each time. Where it
    cannot, fewer `subsets` will do: t with their degrees of freedom makes the interval wider.
    """
    number_P = cluster_numbers(clusters, prompts)
    blank = Subsampled(
        values_S=np.empty(0), prompts=prompts, clusters=count_clusters(number_P), worth=effective_clusters(number_P)
    )
    if missing := too_few_clusters(number_P):
        return replace(blank, reason=missing.reason)
    values = []
    for kept_C in _subsets(blank.clusters, subsets):
        value = of(np.flatnonzero(np.isin(number_P, kept_C)))
        if value is None or not math.isfinite(value):
            return replace(blank, reason="some subsets of the prompts have no value")
        values.append(float(value))
    return replace(blank, values_S=np.array(values))


def _subsets(clusters: int, subsets: int) -> list[npt.NDArray[np.int64]]:
    d = left_out(clusters)
    if math.comb(clusters, d) <= subsets:
        return [np.delete(np.arange(clusters), out) for out in combinations(range(clusters), d)]
    rng = np.random.default_rng(SEED)
    return [rng.permutation(clusters)[d:] for _ in range(subsets)]


def subsample_interval(value: float, of: SetMetric | Subsampled, prompts: int) -> Interval:
    """Interval of the `value` of a whole set: t times the standard error to both sides.

    It is about the metric of sets of THIS size. No interval for fewer than 10 prompts, where a subset has no value, and
    where leaving prompts out does not change the value.
    """
    from scipy.special import stdtrit

    seen = of if isinstance(of, Subsampled) else subsample(of, prompts)
    if seen.reason:
        return no_interval(seen.reason)
    error = seen.standard_error
    if error <= 1e-10 * float(np.abs(seen.values_S).max()):
        return no_interval("leaving prompts out does not change the value")
    half = float(stdtrit(seen.df, (1 + CONFIDENCE) / 2)) * error
    return Interval(low=value - half, high=value + half)


def paired_subsamples(value_a: float | None, a: Subsampled, value_b: float | None, b: Subsampled) -> Estimate:
    """Set a minus set b, for `compare`: both over the same prompts in the same order, hence the same subsets."""
    if (a.prompts, a.clusters) != (b.prompts, b.clusters):
        raise ValueError(f"subsamples of {a.prompts} and {b.prompts} prompts are not pairs")
    reason = a.reason or b.reason
    if value_a is None or value_b is None:
        reason = "one of the two has no value"
    value = None if value_a is None or value_b is None else value_a - value_b
    if reason:
        return Estimate(value=value, standard_error=None, n=a.prompts, df=0.0, reason=reason)
    difference = replace(a, values_S=a.values_S - b.values_S)
    scale = float(max(np.abs(a.values_S).max(), np.abs(b.values_S).max()))
    error = difference.standard_error
    if error <= 1e-10 * scale and value and abs(value) > 1e-10 * scale:
        same = "leaving prompts out does not change the difference"
        return Estimate(value=value, standard_error=None, n=a.prompts, df=0.0, reason=same)
    return Estimate(
        value=value,
        standard_error=0.0 if error <= 1e-10 * scale else error,
        n=a.prompts,
        df=difference.df,
    )
