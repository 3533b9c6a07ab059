"""What a run's metrics are asked for: conf/metrics, and the flags of `score`."""

from dataclasses import dataclass
from typing import Literal, get_args

from decodebench.errors import ConfigError, allowed_names
from decodebench.metrics.texts import Unit, unit_of

Compat = Literal["simctg"]
COMPATS: tuple[str, ...] = get_args(Compat)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """How a run is scored.

    `unit` is what n-grams, loops and lengths are counted in. `leading`: every repetition metric is also measured on the
    first so many units of the texts that have them (0: not). `compat` counts n-grams as published tables did.
    `against` names the strategy that the others are compared with (None: the first of the run), `rank_by` the metrics
    of the ranking (None: those of `comparing.RANK_BY`, or RANK_BY_TASK, that were measured).
    """

    unit: Unit = "tokens"
    leading: int = 32
    compat: Compat | None = None
    against: str | None = None
    rank_by: list[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", unit_of(str(self.unit)))  # `word` is `words`, as on the command line
        if type(self.leading) is not int or self.leading < 0:
            raise ConfigError(f"metrics.leading={self.leading}: allowed is a number of {self.unit}, or 0 for none")
        if self.against is not None and not isinstance(self.against, str):
            raise ConfigError(f"metrics.against={self.against!r}: allowed is the name of a strategy, or null")
        if self.compat is not None and str(self.compat) not in COMPATS:
            raise ConfigError(f"metrics.compat={self.compat}: {allowed_names(str(self.compat), COMPATS)}, or null")
        if self.rank_by is not None and (
            not isinstance(self.rank_by, list) or not self.rank_by or not all(isinstance(n, str) for n in self.rank_by)
        ):
            raise ConfigError(
                f"metrics.rank_by={self.rank_by!r}: allowed is a list of metrics, as in [diversity,e2e_s], or null"
            )
