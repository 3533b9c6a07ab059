"""The timed pass: what one user waits for a strategy, alone, through `model.generate`."""

from decodebench.latency.calls import timed_calls
from decodebench.latency.timing import TimedCall, measure_latency

__all__ = ["TimedCall", "measure_latency", "timed_calls"]
