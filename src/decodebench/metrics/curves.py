"""Metrics against the position in the text: where surprisal falls, and where repetition sets in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from decodebench.metrics import repetition
from decodebench.metrics.corpus import Corpus, Text
from decodebench.metrics.kinds import Need, unmet
from decodebench.metrics.surprisal import binned
from decodebench.metrics.texts import Unit
from decodebench.records import CurvePoint
from decodebench.stats import Array, Interval, identity, no_interval, ratio_intervals

FEWEST_UNITS = 8
MOST_POINTS = 32
"""A point is the mean over 8 units, or over 16, 32, ... where a curve would have more points than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One value for each position of a text, NaN where the position has none."""

    name: str
    version: str
    per_position: Callable[[Text], Array]
    needs: tuple[Need, ...] = ()
    by_unit: bool = False


def _stated(values: Sequence[float]) -> Array:
    """Numbers that were given for every position: one that is NaN must not pass for a position without a value."""
    values_L = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(values_L), np.inf, values_L)


def _repeated(text: Text, n: int = 4) -> Array:
    return np.concatenate([np.full(n - 1, np.nan), repetition.repeated_positions(text.units, n)])


CURVES: tuple[Curve, ...] = (
    Curve(
        name="surprisal",
        version="1",
        per_position=lambda text: _stated([-logprob for logprob in text.generation.token_logprobs]),
        needs=("logprobs",),
    ),
    Curve(
        name="scorer_surprisal",
        version="1",
        per_position=lambda text: _stated([-p for p in text.reading.token_logprobs] if text.reading else ()),
        needs=("reading",),
    ),
    Curve(
        name="entropy",
        version="1",
        per_position=lambda text: _stated(text.reading.token_entropies if text.reading else ()),
        needs=("reading",),
    ),
    Curve(name="rep_4", version="1", per_position=_repeated, by_unit=True),
)


def measure_curves(texts: Corpus, *, unit: Unit = "tokens") -> list[CurvePoint]:
    """The points of every curve of one cell: means over prompts, samples averaged within their prompt first.

    A prompt counts at a point where one of its texts reaches it, so the ends of curves are those of the long texts;
    `n` says how many prompts are left there.
    """
    return [point for curve in CURVES if not unmet(curve.needs, texts) for point in _points(curve, texts, unit)]


def _points(curve: Curve, texts: Corpus, unit: Unit) -> list[CurvePoint]:
    positions = [[curve.per_position(text) for text in of_prompt] for of_prompt in texts.counted.values()]
    longest = max((len(values) for of_prompt in positions for values in of_prompt), default=0)
    width = FEWEST_UNITS
    while longest > width * MOST_POINTS:
        width *= 2
    points = -(-longest // width)
    sums_PB, counts_PB = np.zeros((len(positions), points)), np.zeros((len(positions), points))
    for prompt, of_prompt in enumerate(positions):
        sums_B, counts_B = binned(of_prompt, width)
        sums_PB[prompt, : len(sums_B)], counts_PB[prompt, : len(counts_B)] = sums_B, counts_B
    means = [sums_P[n_P > 0] / n_P[n_P > 0] for sums_P, n_P in zip(sums_PB.T, counts_PB.T, strict=True)]
    there = [at for at, values in enumerate(means) if len(values)]
    clusters = texts.clusters_of(texts.counted)
    of = [[clusters[prompt] for prompt in np.flatnonzero(counts_PB[:, at])] for at in there]
    intervals = ratio_intervals([(means[at][:, None], identity) for at in there], of)
    counted_in = unit if curve.by_unit else "tokens"
    return [
        _point(curve, texts, counted_in, at * width, (at + 1) * width, means[at], interval)
        for at, interval in zip(there, intervals, strict=True)
    ]


def _point(
    curve: Curve, texts: Corpus, unit: str, start: int, stop: int, means: Array, interval: Interval
) -> CurvePoint:
    finite = bool(np.isfinite(means).all())
    if not finite:
        interval = no_interval("not a finite number for every text")
    first = texts.first
    return CurvePoint(
        cell=first.cell,
        model=first.model,
        strategy=first.strategy,
        curve=curve.name,
        unit=unit,
        start=start,
        stop=stop,
        value=float(means.mean()) if finite else None,
        reason=interval.reason,
        n=len(means) if finite else 0,
        ci_low=interval.low,
        ci_high=interval.high,
        version=curve.version,
    )
