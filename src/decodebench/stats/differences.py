"""Differences between strategies: paired by prompt, corrected by Holm for how many were compared in a metric.

An `Estimate` is one difference with its standard error, from rows of numbers by `paired`, or from subsampling.
`compare` turns the estimates of one metric into verdicts. What it is made of (`t_p_values`, `fewest_changes`, `holm`,
`step_levels`, `bound`) is elementwise and serves one-sided checks against a margin as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from decodebench.records import Direction, Verdict
from decodebench.stats.clusters import Clusters, cluster_numbers, effective_clusters
from decodebench.stats.intervals import CONFIDENCE, Array, Finish, by_cluster, too_few_clusters

ALPHA = 1 - CONFIDENCE
POWER = 0.8
"""The chance with which a difference as large as `detectable` is found."""
ROUNDING = 1e-12
"""A spread below this part of the numbers themselves is rounding."""

Tail = Literal["both", "above", "below"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One difference over `n` prompts. `df` are the degrees of freedom of `standard_error`; `changed` counts the
    prompts, or their clusters, that differ at all (None: not known). Where there is a `reason`, nothing can be said of
    it."""

    value: float | None
    standard_error: float | None
    n: int
    df: float
    changed: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An estimate among the `comparisons` of its family: the fields of records.Difference."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    detectable: float | None
    n: int
    comparisons: int
    verdict: Verdict
    reason: str | None


def pseudo_values(rows_PK: Array, finish: Finish) -> Array:
    """Jackknife pseudo-values of `finish(means of the columns)`, one for each of P > 1 prompts (or clusters of
    them): P times the value minus P - 1 times the value without the prompt (Tukey 1958; Miller 1974, "The jackknife: a
    review").

    Of a plain mean they are the values themselves. NaN where the value without a prompt is undefined.
    """
    prompts = len(rows_PK)
    sums_K = rows_PK.sum(axis=0)
    with np.errstate(all="ignore"):
        whole = finish(*(sums_K / prompts))
        without_P = finish(*((sums_K - rows_PK) / (prompts - 1)).T)
    return np.asarray(prompts * whole - (prompts - 1) * without_P)


def paired(a_PK: Array, b_PK: Array, finish: Finish, clusters: Clusters | None = None) -> Estimate:
    """`finish` of the means of a, minus that of b; rows belong to the same prompts, those with NaN in either are left
    out. The standard error is that of the mean difference of the two's pseudo-values, over the clusters of the prompts;
    its degrees of freedom are those of as many clusters of equal size as these are worth (Carter, Schnepel and
    Steigerwald 2017, "Asymptotic behavior of a t-test robust to cluster heterogeneity").

    Too few clusters (`too_few_clusters`), or a metric that is undefined for all of them or for all but one: a reason.
    """
    shared_P = np.isfinite(a_PK).all(axis=1) & np.isfinite(b_PK).all(axis=1)
    kept = cluster_numbers(clusters, len(a_PK))[shared_P].tolist()
    number_P = cluster_numbers(kept, len(kept))
    a_PK, b_PK = a_PK[shared_P], b_PK[shared_P]
    n = len(a_PK)
    if not n:
        return Estimate(value=None, standard_error=None, n=0, df=0.0, reason="no prompt has both")
    (a_CK, finish_C), (b_CK, _) = (by_cluster(side_PK, finish, number_P) for side_PK in (a_PK, b_PK))
    units = len(a_CK)
    with np.errstate(all="ignore"):
        value = float(finish_C(*a_CK.mean(axis=0)) - finish_C(*b_CK.mean(axis=0)))
    if not math.isfinite(value):
        return Estimate(value=None, standard_error=None, n=n, df=0.0, reason="one of the two has no value")
    if missing := too_few_clusters(number_P):
        return Estimate(value=value, standard_error=None, n=n, df=0.0, reason=missing.reason)
    pseudo_a_C, pseudo_b_C = pseudo_values(a_CK, finish_C), pseudo_values(b_CK, finish_C)
    error = float(np.std(pseudo_a_C - pseudo_b_C, ddof=1)) / math.sqrt(units)
    if not math.isfinite(error):
        return Estimate(
            value=value, standard_error=None, n=n, df=0.0, reason="without one of the prompts there is no value"
        )
    if error <= ROUNDING * units * max(np.abs(pseudo_a_C).max(), np.abs(pseudo_b_C).max()):
        error = 0.0
    changed = int((a_CK != b_CK).any(axis=1).sum())
    return Estimate(value=value, standard_error=error, n=n, df=effective_clusters(number_P) - 1, changed=changed)


def t_p_values(value_M: Array, error_M: Array, df_M: Array, *, margin: float = 0.0, tail: Tail = "both") -> Array:
    """p of the hypothesis that the difference is `margin` ("both"), at most that ("above": evidence that it is more) or
    at least that ("below"), by Student's t. Without any spread 1 at the margin, else 0 (1 on the wrong side)."""
    from scipy.special import stdtr

    away_M = np.asarray(value_M) - margin
    with np.errstate(all="ignore"):
        t_M = np.where(away_M == 0, 0.0, away_M / error_M)
    if tail == "both":
        return np.asarray(2 * stdtr(df_M, -np.abs(t_M)))
    p_M = stdtr(df_M, -t_M if tail == "above" else t_M)
    return np.asarray(np.where((away_M == 0) & (np.asarray(error_M) == 0), 1.0, p_M))


def sign_floor(changed_M: Array, *, tail: Tail = "both") -> Array:
    """The smallest p that a sign test can give where so many prompts differ, all in one direction: no test of ours
    claims more. It holds back the t test, which believes too much where a few prompts of many differ (rare shares)."""
    return np.asarray(np.minimum(1.0, 0.5 ** (np.asarray(changed_M) - (1.0 if tail == "both" else 0.0))))


def fewest_changes(comparisons: int, alpha: float = ALPHA) -> int:
    """How many prompts must differ before the first of so many comparisons can be significant: below it `sign_floor` is
    above alpha / comparisons."""
    return math.ceil(math.log2(2 * comparisons / alpha))


def holm(p_M: Array) -> Array:
    """p corrected for M hypotheses (Holm 1979, "A simple sequentially rejective multiple test procedure"): rejecting
    where it is at most alpha keeps the chance of any false rejection at alpha, however the M depend on each other."""
    scaled_M = np.minimum(1.0, _steps(p_M) * p_M)
    return np.asarray(np.where(p_M[:, None] >= p_M, scaled_M, 0.0).max(axis=1, initial=0.0))


def step_levels(p_M: Array, alpha: float = ALPHA) -> Array:
    """The level at which Holm's procedure looked at each hypothesis: alpha / (m - i + 1) for the i-th smallest p, and
    from the first that is not rejected on its level for all that follow (equal p share a level)."""
    rejected_M = holm(p_M) <= alpha
    return alpha / np.maximum(_steps(p_M), max(1, len(p_M) - int(rejected_M.sum()))) if len(p_M) else np.empty(0)


def _steps(p_M: Array) -> Array:
    """m - i + 1 for the i-th smallest."""
    return np.asarray(len(p_M) - (p_M[:, None] > p_M).sum(axis=1), dtype=np.float64)


def bound(value_M: Array, error_M: Array, df_M: Array, level_M: Array | float) -> Array:
    """The end below which the true difference lies with probability `level`: with 1 - level a lower bound."""
    from scipy.special import stdtrit

    return np.asarray(value_M + stdtrit(df_M, level_M) * error_M)


def compare(pairs: Sequence[Estimate], direction: Direction, *, alpha: float = ALPHA) -> list[Comparison]:
    """Verdicts for the differences of ONE metric between several strategies and one other.

    A difference is claimed where its Holm-corrected p is at most `alpha`. Intervals are those of Holm's steps
    (`step_levels`): one that leaves out 0 belongs to a claimed difference and the other way round, so that with
    probability 1 - alpha none of them leaves out a true 0; each alone covers its difference with 1 - alpha at least.
    They do not cover all true differences together with 1 - alpha (alpha / m for all would, and is wider).
    `detectable` is found with probability 0.8 at the first step, alpha / m. Estimates with a reason are not counted.
    """
    tested = [pair for pair in pairs if pair.reason is None]
    compared = iter(_family(tested, direction, alpha) if tested else [])
    return [next(compared) if pair.reason is None else _cannot_tell(pair, len(tested)) for pair in pairs]


def _cannot_tell(pair: Estimate, comparisons: int) -> Comparison:
    return Comparison(
        value=pair.value,
        low=None,
        high=None,
        p=None,
        p_holm=None,
        detectable=None,
        n=pair.n,
        comparisons=comparisons,
        verdict="cannot tell",
        reason=pair.reason,
    )


def _family(pairs: Sequence[Estimate], direction: Direction, alpha: float) -> list[Comparison]:
    m = len(pairs)
    value_M = np.array([pair.value for pair in pairs], dtype=np.float64)
    error_M = np.array([pair.standard_error for pair in pairs], dtype=np.float64)
    df_M = np.array([pair.df for pair in pairs])
    changed_M = np.array([math.inf if pair.changed is None else pair.changed for pair in pairs])
    value_M[(error_M == 0) & (changed_M == 0)] = 0.0
    p_M = np.maximum(t_p_values(value_M, error_M, df_M), sign_floor(changed_M))
    p_M[(error_M == 0) & (value_M == 0)] = 1.0
    holm_M, level_M = holm(p_M), step_levels(p_M, alpha)
    low_M, high_M = (bound(value_M, error_M, df_M, level) for level in (level_M / 2, 1 - level_M / 2))
    # What the floor holds back is not claimed: its interval has 0 in it.
    held_M = holm_M > alpha
    low_M, high_M = np.where(held_M, np.minimum(low_M, 0), low_M), np.where(held_M, np.maximum(high_M, 0), high_M)
    detectable_M = bound(np.zeros(m), error_M, df_M, 1 - alpha / m / 2) + bound(np.zeros(m), error_M, df_M, POWER)
    found = []
    for i, pair in enumerate(pairs):
        flat = error_M[i] == 0
        found.append(
            Comparison(
                value=float(value_M[i]),
                low=None if flat else float(low_M[i]),
                high=None if flat else float(high_M[i]),
                p=float(p_M[i]),
                p_holm=float(holm_M[i]),
                detectable=None if flat else float(detectable_M[i]),
                n=pair.n,
                comparisons=m,
                verdict="indistinguishable" if held_M[i] else _verdict(value_M[i], direction),
                reason=_reason(value_M[i], flat, bool(held_M[i]), pair.changed, fewest_changes(1, float(level_M[i]))),
            )
        )
    return found


def _verdict(value: float, direction: Direction) -> Verdict:
    if direction == "none":
        return "higher" if value > 0 else "lower"
    return "better" if (value > 0) == (direction == "higher") else "worse"


def _reason(value: float, flat: bool, held: bool, changed: int | None, fewest: int) -> str | None:
    if flat and value == 0:
        return "the two are equal for every prompt"
    if held and changed is not None and changed < fewest:
        return f"only {changed} prompts differ: fewer than {fewest} cannot show a difference"
    return "the difference is the same for every prompt: no interval" if flat else None
