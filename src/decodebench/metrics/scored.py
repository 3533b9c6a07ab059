"""What was measured of a cell in one metric, before it is a record."""

from dataclasses import dataclass
from typing import Protocol

from decodebench.records import Direction, Generation, Measurement, Timing
from decodebench.stats import Array, Finish, Interval, Subsampled, identity, no_interval


class ScoredMetric(Protocol):
    """What every kind of metric has: of texts, of a whole set, of timed calls."""

    @property
    def name(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def version(self) -> str: ...
    @property
    def level(self) -> str: ...


NO_VALUE = no_interval("no value")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A metric of one cell: its value or the reason why there is none, and what its differences are made of.

    `wrong`: there is none because a number was not finite, and not because there was nothing to count. `name` is the
    metric's, with the unit that it was counted in; `n` the number of prompts that gave a value.
    `prompt_ids` have a row of `rows_PK` each; a value of a whole set has `subsets` of them instead.
    """

    metric: ScoredMetric
    name: str
    unit: str
    value: float | None = None
    reason: str | None = None
    wrong: bool = False
    n: int = 0
    interval: Interval = NO_VALUE
    prompt_ids: tuple[str, ...] = ()
    rows_PK: Array | None = None
    subsets: Subsampled | None = None

    @property
    def finish(self) -> Finish:
        """What makes the value of the means of the rows."""
        return getattr(self.metric, "finish", identity)

    def measurement(self, first: Generation | Timing) -> Measurement:
        """The record, for the cell of this text or timed call."""
        return Measurement(
            cell=first.cell,
            model=first.model,
            strategy=first.strategy,
            metric=self.name,
            value=self.value,
            reason=self.reason or self.interval.reason,
            unit=self.unit,
            direction=self.metric.direction,
            n=self.n,
            ci_low=self.interval.low,
            ci_high=self.interval.high,
            version=self.metric.version,
        )
