"""Metrics over stored generations, readings and timings: pure functions, no torch, no model (docs/metrics.md).

`adapters` is not imported here: it needs the slow `evaluate`.
"""

from decodebench.metrics.curves import measure_curves
from decodebench.metrics.kinds import AnyMetric, Metric, SetMetric
from decodebench.metrics.options import MetricsConfig
from decodebench.metrics.quality import measure, score
from decodebench.metrics.scored import Scored
from decodebench.metrics.table import METRICS
from decodebench.metrics.texts import UNITS, Unit
from decodebench.metrics.timings import TIMING_METRICS, TimingMetric, measure_timings, score_timings

__all__ = [
    "METRICS",
    "TIMING_METRICS",
    "UNITS",
    "AnyMetric",
    "Metric",
    "MetricsConfig",
    "Scored",
    "SetMetric",
    "TimingMetric",
    "Unit",
    "measure",
    "measure_curves",
    "measure_timings",
    "score",
    "score_timings",
]
