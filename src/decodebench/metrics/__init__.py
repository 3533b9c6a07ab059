"""Metrics over stored generations and timings: pure functions, no torch, no model (docs/metrics.md).

`adapters` is not imported here: it needs the slow `evaluate`.
"""

from decodebench.metrics.quality import measure
from decodebench.metrics.table import METRICS, Metric
from decodebench.metrics.texts import UNITS, Unit
from decodebench.metrics.timings import TIMING_METRICS, TimingMetric, measure_timings

__all__ = ["METRICS", "TIMING_METRICS", "UNITS", "Metric", "TimingMetric", "Unit", "measure", "measure_timings"]
