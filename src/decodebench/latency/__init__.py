"""latency."""

from decodebench.latency.timing import TimedCall, measure_latency

__all__ = ["TimedCall", "measure_latency"]
