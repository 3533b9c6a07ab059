"""The settings that a choice tries: the default of each family, then points of a Sobol sequence over its ranges.

conf/search/<family>.yaml has the ranges. Every family gets equally many settings: one that was tuned longer would look
better for it (arXiv 2506.13681).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import yaml

from decodebench.errors import ConfigError, allowed_names
from decodebench.plan.catalogue import entry
from decodebench.plan.config import ChooseConfig, build_strategy, conf_dir
from decodebench.strategies import Strategy

_DIGITS = 3
"""Significant digits of a tried number: a setting is to be read and typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What one number may be: from `low` to `high`, evenly or on a log scale, whole numbers or any; or `choices`."""

    key: str
    low: float = 0.0
    high: float = 1.0
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def at(self, u: float) -> Any:
        """The value at `u` in [0, 1), so that equal parts of the unit interval are equal parts of the scale."""
        if self.choices:
            return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]
        # each whole number has the part of the scale up to the next one
        low, high = self.low, self.high + 1 if self.whole else self.high
        value = low * (high / low) ** u if self.scale == "log" else low + u * (high - low)
        if self.whole:
            return min(math.floor(value), int(self.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must be allowed for all of them to be."""
        return self.choices or (self.at(0.0), int(self.high) if self.whole else self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting of a family: the node of a strategy as conf/strategy has it. `default`: that of the family."""

    family: str
    default: bool
    node: Mapping[str, Any]


def families() -> tuple[str, ...]:
    """The strategies that have ranges in conf/search, and greedy, which has one setting."""
    return ("greedy", *sorted(path.stem for path in (conf_dir() / "search").glob("*.yaml")))


def trials(config: ChooseConfig, rules: Mapping[str, Any], seed: int) -> tuple[Trial, ...]:
    """The settings of all families, family by family, the default first. `rules` are the numbers that every strategy
    has, as the run gives them. The same for the same seed.

    A family whose ranges have fewer different settings gets these. Raises ConfigError for an unknown family, and for a
    range that is wrong or leaves the strategy's own domain.
    """
    found: list[Trial] = []
    known = [*families(), *(config.search or ())]
    for family in config.families or ():
        if family not in known:
            raise ConfigError(f"choose.families={family}: {allowed_names(family, known)}")
        ranges = _ranges(family, config.search)
        found += _of_family(family, ranges, config.trials, rules, seed)
    if len(found) < 2:
        raise ConfigError(
            f"choose.families={config.families}: all settings are equal, there is nothing to choose; allowed are two "
            "families or more, or choose.trials of 2 or more"
        )
    return tuple(found)


def _of_family(family: str, ranges: Sequence[Range], count: int, rules: Mapping[str, Any], seed: int) -> list[Trial]:
    """The default of a family, and different points of its ranges up to `count` settings."""
    known = entry(family)
    told = {name: rules[name] for name in (f.name for f in fields(Strategy)) if name in rules}
    default = {**told, "name": family, "_target_": known.target, **known.numbers}
    _check(family, ranges, default)
    nodes = [default]
    for point in _points(len(ranges), count, seed) if ranges else ():
        node = default | {one.key: one.at(u) for one, u in zip(ranges, point, strict=True)}
        if len(nodes) < count and node not in nodes:
            nodes.append(node)
    return [Trial(family=family, default=number == 0, node=node) for number, node in enumerate(nodes)]


def _points(dimensions: int, count: int, seed: int) -> list[list[float]]:
    """Points of a scrambled Sobol sequence (Owen 1998, "Scrambling Sobol and Niederreiter-Xing points"), four times as
    many as asked for, since whole numbers and choices make some of them equal. The first 2^k are balanced."""
    from scipy.stats import qmc

    sobol = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    points: list[list[float]] = sobol.random_base2(math.ceil(math.log2(4 * count))).tolist()
    return points


def _ranges(family: str, search: Mapping[str, Any] | None) -> tuple[Range, ...]:
    """The ranges of `choose.search` where it has some of this family, else those of its file."""
    path = conf_dir() / "search" / f"{family}.yaml"
    if search and family in search:
        where, nodes = f"choose.search.{family}", search[family]
    else:
        where, nodes = f"conf/search/{family}.yaml", yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}
    if not isinstance(nodes, Mapping):
        raise ConfigError(f"{where}={nodes!r:.80}: allowed are ranges by key, as in {{top_p: {{low: 0.5, high: 1}}}}")
    return tuple(_range(where, str(key), node) for key, node in nodes.items())


def _range(where: str, key: str, node: Any) -> Range:
    allowed = "allowed is {low: 0.5, high: 1.0}, with scale: log, or a list of choices"
    if isinstance(node, list) and node:
        return Range(key=key, choices=tuple(node))
    if not isinstance(node, Mapping) or not {"low", "high"} <= set(node) <= {"low", "high", "scale"}:
        raise ConfigError(f"{where}.{key}={node!r:.80}: {allowed}")
    low, high, scale = node["low"], node["high"], node.get("scale", "linear")
    numbers = all(type(end) in (int, float) and math.isfinite(end) for end in (low, high))
    if not numbers or not low < high or scale not in ("linear", "log") or (scale == "log" and low <= 0):
        raise ConfigError(f"{where}.{key}={dict(node)}: {allowed}; low below high, and above 0 on a log scale")
    return Range(key=key, low=low, high=high, scale=scale, whole=type(low) is int and type(high) is int)


def _check(family: str, ranges: Sequence[Range], default: dict[str, Any]) -> None:
    """Raise ConfigError for a number that the family lacks, and for an end of a range that it does not allow."""
    for at in range(max((len(one.ends) for one in ranges), default=0)):
        node = default | {one.key: one.ends[min(at, len(one.ends) - 1)] for one in ranges}
        try:
            build_strategy(node)
        except ConfigError as error:
            raise ConfigError(f"choose.families={family}: a range leaves what is allowed: {error}") from error
