"""How close texts are to human references: distances of distributions, MAUVE, and prompt against continuation."""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from decodebench.stats import Array

MAUVE_TEXTS = 5000
"""The texts on each side in Pillutla et al. 2021; with fewer, MAUVE comes with a warning."""
MAUVE_MIN_TEXTS = 20
"""k-means gets a tenth as many clusters as the smaller side has texts: below 20 there is nothing to compare."""
MAUVE_CLUSTERINGS = 5
"""k-means begins at random places, and its histograms with it: Pillutla et al. 2021 average over 5 of them, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mauve:
    """MAUVE, 0 to 1, high is close: the mean over several clusterings, and the standard deviation of one of them, their
    `spread`. `reason` says why `value` is None, or why to distrust it."""

    value: float | None
    spread: float | None = None
    reason: str | None = None


def distribution_distance(values_a: Sequence[float] | Array, values_b: Sequence[float] | Array) -> float | None:
    """The 1-Wasserstein distance of two samples of one metric, in its units (Kantorovich 1942; Vallender 1974).

    It is the area between the two empirical distribution functions: how far the values of one side must be moved, on
    average, to become the other's. None where a side is empty or has a number that is not finite.
    """
    if not len(values_a) or not len(values_b) or not np.isfinite([*values_a, *values_b]).all():
        return None
    from scipy import stats  # here, since it takes seconds, and a report reads the tables of metrics alone

    return float(stats.wasserstein_distance(values_a, values_b))


def cosine(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The cosine of two embeddings, -1 to 1: of a prompt and its continuation, the coherence of Su et al. 2022.

    None where one is empty or zero, and so has no direction; NaN where an entry is not finite, so that the caller can
    name the text. Raises ValueError for embeddings of different widths.
    """
    if len(a) != len(b) and len(a) and len(b):
        raise ValueError(f"embeddings of {len(a)} and {len(b)} numbers; allowed: as many in both")
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if not len(a) or not len(b) or norms == 0:
        return None
    with np.errstate(invalid="ignore"):
        return float(np.clip(np.dot(a, b) / norms, -1, 1))


def mauve(features_p_ND: Array, features_q_ND: Array, seed: int = 25) -> Mauve:
    """MAUVE of human texts P against generated texts Q, from one row of features for each text (Pillutla et al. 2021).

    By mauve-text with its defaults: rows scaled to norm 1, PCA to 90% of the variance, k-means with a tenth as many
    clusters as the smaller side has texts, divergences scaled by 5. Equal histograms are 1 by definition (the library
    says 0.75 to some of them: its area has ties there). It depends on the number of texts: compare equal numbers only.
    It is the mean over 5 clusterings, from `seed` on, of the rows in an order of their own (by their numbers): the same
    features and seed give the same value, in whatever order the texts come. No value, with the reason, for fewer than
    20 texts on a side, for features that are not finite, and without the extra `mauve`. A warning for fewer than 5,000.
    """
    fewest = min(len(features_p_ND), len(features_q_ND))
    if fewest < MAUVE_MIN_TEXTS:
        return Mauve(value=None, reason=f"{fewest} texts on a side: MAUVE needs at least {MAUVE_MIN_TEXTS}")
    if not (np.isfinite(features_p_ND).all() and np.isfinite(features_q_ND).all()):
        return Mauve(value=None, reason="the features of a text are not finite")
    try:
        from mauve import compute_mauve  # only here: it imports torch and transformers
    except ImportError:
        return Mauve(value=None, reason="mauve-text is not installed: pip install 'decodebench[mauve]'")
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")  # PCA warns where all features are equal
        p_ND, q_ND = (side_ND[np.lexsort(side_ND.T)] for side_ND in (features_p_ND, features_q_ND))
        clusterings = [
            compute_mauve(p_features=p_ND, q_features=q_ND, seed=seed + further) for further in range(MAUVE_CLUSTERINGS)
        ]
    values = [1.0 if np.array_equal(each.p_hist, each.q_hist) else min(1.0, float(each.mauve)) for each in clusterings]
    few = f"{fewest} texts on a side: with fewer than the {MAUVE_TEXTS} of Pillutla et al. 2021 MAUVE is biased"
    return Mauve(value=fmean(values), spread=stdev(values), reason=few if fewest < MAUVE_TEXTS else None)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Close stderr to C++ code: with MAUVE's own number of clusters, k-means always complains of too few points."""
    sys.stderr.flush()
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
