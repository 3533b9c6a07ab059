"""Latency rows of one cell -> measurements: medians over rounds, then one value over prompts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np

from decodebench.errors import StoreError
from decodebench.metrics.kinds import MetricRow
from decodebench.metrics.scored import Scored
from decodebench.records import Measurement, Timing
from decodebench.stats import mean_interval, no_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingMetric(MetricRow):
    """One metric of timed calls. `per_call` reads one call (None: `why` says why); `level` `call` averages over prompts
    the median of each one's rounds (robust against one slow round), `peak` is the largest of all calls."""

    level: Literal["call", "peak"]
    per_call: Callable[[Timing], float | None]
    why: Callable[[Timing], str | None] = lambda timing: None


def _tok_per_s(timing: Timing) -> float:
    return timing.new_tokens / timing.e2e_s if timing.e2e_s else math.inf


TIMING_METRICS: tuple[TimingMetric, ...] = (
    TimingMetric(
        name="ttft_s",
        unit="s",
        direction="lower",
        group="cost",
        headline=10,
        level="call",
        per_call=lambda timing: timing.ttft_s,
        why=lambda timing: timing.ttft_reason,
    ),
    TimingMetric(
        name="e2e_s",
        unit="s",
        direction="lower",
        group="cost",
        headline=8,
        level="call",
        per_call=lambda timing: timing.e2e_s,
    ),
    TimingMetric(
        name="tok_per_s",
        unit="tok/s",
        direction="higher",
        group="cost",
        headline=9,
        level="call",
        per_call=_tok_per_s,
    ),
    TimingMetric(
        name="peak_bytes",
        unit="bytes",
        direction="lower",
        group="cost",
        level="peak",
        per_call=lambda timing: timing.peak_bytes,
        why=lambda timing: timing.peak_reason,
    ),
)


def score_timings(timings: Sequence[Timing], clusters: Mapping[str, str] | None = None) -> list[Scored]:
    """Every metric of TIMING_METRICS, in its order, for the timed calls of ONE cell; no calls, no metrics.

    `n` counts the prompts that gave a value; `clusters` has the cluster of each prompt, where one has others in it.
    Raises StoreError for rows of several cells.
    """
    if not timings:
        return []
    cells = sorted({timing.cell for timing in timings})
    if len(cells) > 1:
        raise StoreError(f"timings of {len(cells)} cells measured as one: {', '.join(cells)}; allowed: one cell")
    prompts: dict[str, list[Timing]] = {}
    for timing in sorted(timings, key=lambda t: (t.prompt_id, t.round)):
        prompts.setdefault(timing.prompt_id, []).append(timing)
    return [_score_one(metric, prompts, clusters or {}) for metric in TIMING_METRICS]


def measure_timings(timings: Sequence[Timing]) -> list[Measurement]:
    """The same as measurements."""
    return [scored.measurement(timings[0]) for scored in score_timings(timings)]


def _score_one(metric: TimingMetric, prompts: Mapping[str, Sequence[Timing]], clusters: Mapping[str, str]) -> Scored:
    blank = Scored(metric=metric, name=metric.name, unit=metric.unit)
    readings = {
        prompt_id: values
        for prompt_id, rounds in prompts.items()
        if (values := [value for call in rounds if (value := metric.per_call(call)) is not None])
    }
    if not readings:
        reasons = (reason for rounds in prompts.values() for call in rounds if (reason := metric.why(call)))
        return replace(blank, reason=next(reasons, "not measured"))
    if not all(math.isfinite(reading) for values in readings.values() for reading in values):
        return replace(blank, reason="a timed call gave a number that is not finite")
    if metric.level == "peak":
        largest = float(max(max(values) for values in readings.values()))
        no_rows = no_interval("the largest of all calls has no interval")
        return replace(blank, value=largest, n=len(readings), interval=no_rows)
    rows_PK = np.array([[float(median(values))] for values in readings.values()])
    return replace(
        blank,
        value=float(rows_PK.mean()),
        n=len(readings),
        interval=mean_interval(rows_PK[:, 0].tolist(), [clusters.get(prompt_id, prompt_id) for prompt_id in readings]),
        prompt_ids=tuple(readings),
        rows_PK=rows_PK,
    )
