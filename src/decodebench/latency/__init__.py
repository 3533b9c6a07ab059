"""The timed pass: what one user waits, through `model.generate`. In: cells ready to decode. Out: `Timing`s.

`calls` is what is timed of a cell, `timing` the interleaved rounds and the clock.
"""

from decodebench.latency.calls import timed_calls
from decodebench.latency.timing import TimedCall, measure_latency

__all__ = ["TimedCall", "measure_latency", "timed_calls"]
