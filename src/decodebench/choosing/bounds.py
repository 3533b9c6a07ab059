"""Bounds that a setting must meet: `empty_share<=0.01`, or beside another strategy, `e2e_s<=2*greedy`."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decodebench.choosing.half import Half
from decodebench.errors import ConfigError, allowed_names

_FORM = re.compile(
    r"\s*(?P<metric>[^\s<>=]+)\s*(?P<sign><=|>=|<|>)\s*(?:(?P<factor>[^\s*]+)\s*\*\s*)?(?P<limit>[^\s<>=].*?)\s*"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One bound: `metric` `sign` `limit`, or `factor` times what the strategy `beside` has."""

    text: str
    metric: str
    sign: str
    limit: float
    beside: str | None = None

    def missed_by(self, strategy: str, half: Half) -> float:
        """How far a strategy is from meeting it, as a part of the limit: 0 where it does, infinite without a value."""
        value, limit = half.value(strategy, self.metric), self.limit
        if self.beside is not None:
            other = half.value(self.beside, self.metric)
            limit = math.nan if other is None else limit * other
        if value is None or math.isnan(limit):
            return math.inf
        if _SIGNS[self.sign](value, limit):
            return 0.0
        return abs(value - limit) / max(abs(limit), 1e-9) + 1e-12


def read_bounds(texts: Sequence[str] | None) -> tuple[Bound, ...]:
    """The bounds of `choose.require`. Raises ConfigError for what is none."""
    return tuple(_bound(text) for text in texts or ())


def _bound(text: str) -> Bound:
    found = _FORM.fullmatch(text)
    wrong = ConfigError(
        f"choose.require={text}: allowed is a metric, <=, >=, < or >, and a number or a strategy, as in "
        "empty_share<=0.01 or e2e_s<=2*greedy"
    )
    if found is None:
        raise wrong
    number = _number(found["factor"] or found["limit"])
    beside = found["limit"] if found["factor"] or number is None else None
    if found["factor"] and number is None:
        raise wrong
    return Bound(
        text=text,
        metric=found["metric"],
        sign=found["sign"],
        limit=1.0 if number is None else number,
        beside=beside,
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check_bounds(bounds: Sequence[Bound], half: Half) -> None:
    """Raise ConfigError for a bound on a metric or beside a strategy that this run does not have."""
    metrics = list(dict.fromkeys(name for arm in half.arms.values() for name in arm.names()))
    for bound in bounds:
        if bound.metric not in metrics:
            raise ConfigError(f"choose.require={bound.text}: {bound.metric}: {allowed_names(bound.metric, metrics)}")
        if bound.beside is not None and bound.beside not in half.arms:
            raise ConfigError(f"choose.require={bound.text}: {allowed_names(bound.beside, list(half.arms))}")


def meeting(strategies: Sequence[str], bounds: Sequence[Bound], half: Half) -> list[str]:
    """The strategies that meet all bounds. Raises ConfigError where none does, naming the closest."""
    missed = {strategy: [(bound.missed_by(strategy, half), bound) for bound in bounds] for strategy in strategies}
    found = [strategy for strategy, each in missed.items() if all(by == 0 for by, _ in each)]
    if found:
        return found
    closest = min(missed, key=lambda strategy: max(by for by, _ in missed[strategy]))
    _, bound = max(missed[closest], key=lambda pair: pair[0])
    has = half.value(closest, bound.metric)
    raise ConfigError(
        f"choose.require={bound.text}: no setting meets it; the closest is {closest}, with {bound.metric} "
        f"{'of no value' if has is None else f'{has:.3g}'}"
    )
