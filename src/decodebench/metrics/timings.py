"""Latency rows of one cell -> measurements: medians over rounds, then one value over prompts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from decodebench.errors import StoreError
from decodebench.records import Direction, Measurement, Timing
from decodebench.stats import Interval, mean_interval, no_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingMetric:
    """One metric of timed calls. `per_call` reads one call (None: `why` says why); `level` `call` averages over prompts
    the median of each one's rounds (robust against one slow round), `peak` is the largest of all calls."""

    name: str
    unit: str
    direction: Direction
    version: str
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
        version="1",
        level="call",
        per_call=lambda timing: timing.ttft_s,
        why=lambda timing: timing.ttft_reason,
    ),
    TimingMetric(
        name="e2e_s", unit="s", direction="lower", version="1", level="call", per_call=lambda timing: timing.e2e_s
    ),
    TimingMetric(name="tok_per_s", unit="tok/s", direction="higher", version="1", level="call", per_call=_tok_per_s),
    TimingMetric(
        name="peak_bytes",
        unit="bytes",
        direction="lower",
        version="1",
        level="peak",
        per_call=lambda timing: timing.peak_bytes,
        why=lambda timing: timing.peak_reason,
    ),
)


def measure_timings(timings: Sequence[Timing]) -> list[Measurement]:
    """Every metric of TIMING_METRICS, in its order, for the timed calls of ONE cell; no calls, no measurements.

    Measurement.n counts the prompts that gave a value. Raises StoreError for rows of several cells.
    """
    if not timings:
        return []
    cells = sorted({timing.cell for timing in timings})
    if len(cells) > 1:
        raise StoreError(f"timings of {len(cells)} cells measured as one: {', '.join(cells)}; allowed: one cell")
    prompts: dict[str, list[Timing]] = {}
    for timing in sorted(timings, key=lambda t: (t.prompt_id, t.round)):
        prompts.setdefault(timing.prompt_id, []).append(timing)
    return [_measure_one(metric, list(prompts.values())) for metric in TIMING_METRICS]


def _measure_one(metric: TimingMetric, prompts: Sequence[Sequence[Timing]]) -> Measurement:
    first = prompts[0][0]
    readings = [[value for call in rounds if (value := metric.per_call(call)) is not None] for rounds in prompts]
    readings = [values for values in readings if values]
    reasons = (reason for rounds in prompts for call in rounds if (reason := metric.why(call)))
    value, interval, reason = None, no_interval("no value"), None
    if not readings:
        reason = next(reasons, "not measured")
    elif not all(math.isfinite(reading) for values in readings for reading in values):
        reason = "a timed call gave a number that is not finite"
    else:
        value, interval = _over_prompts(metric, readings)
    return Measurement(
        cell=first.cell,
        model=first.model,
        strategy=first.strategy,
        metric=metric.name,
        value=value,
        reason=reason or interval.reason,
        unit=metric.unit,
        direction=metric.direction,
        n=0 if value is None else len(readings),
        ci_low=interval.low,
        ci_high=interval.high,
        version=metric.version,
    )


def _over_prompts(metric: TimingMetric, readings: Sequence[Sequence[float]]) -> tuple[float, Interval]:
    if metric.level == "peak":
        return float(max(max(values) for values in readings)), no_interval("the largest of all calls has no interval")
    medians = [float(median(values)) for values in readings]
    return fmean(medians), mean_interval(medians)
