"""What a check looks at, and how much it lets pass: a list of rules, from a yaml file (docs/regression.md)."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from decodebench.errors import ConfigError, allowed_names, one_line
from decodebench.regression.findings import Severity

DEFAULT_RULES = Path(__file__).parent / "rules.yaml"

RuleKind = Literal["exact", "statistical", "bound"]
Preference = Literal["higher", "lower", "both"]
"""What is better; `both`: neither, so that any change counts."""

FAILED_CELLS = "failed_cells"
"""What a bound can limit beside metrics: how many cells of a strategy failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much worse still passes: the largest of what is given. `absolute` is in the metric's unit, `relative` a part
    of the baseline's value, `noise` a number of standard deviations of the value over the baseline's seeds."""

    absolute: float | None = None
    relative: float | None = None
    noise: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `source` and `number` say where it stands.

    `strategies` and `prompts` are globs over labels, of which the first word alone also counts. `severity` is what a
    regression comes to, `cannot_tell` what too little evidence does (not of exact rules). An `optional` rule may match
    nothing. The others belong to one kind: `ties_within` (exact), `margin` and `direction` (statistical), `at_most`,
    `at_least` and `relative_to` (bound: the value is divided by that of another strategy).
    """

    kind: RuleKind
    source: str
    number: int
    metric: str | None = None
    ties_within: float | None = None
    margin: Margin | None = None
    direction: Preference | None = None
    at_most: float | None = None
    at_least: float | None = None
    relative_to: str | None = None
    strategies: tuple[str, ...] = ("*",)
    prompts: tuple[str, ...] = ("*",)
    severity: Severity = "fail"
    cannot_tell: Severity = "warn"
    optional: bool = False

    def error(self, message: str) -> ConfigError:
        """An error that says which rule it is about."""
        what = f"{self.kind} {self.metric}" if self.metric else self.kind
        return ConfigError(f"{self.source}: rule {self.number} ({what}): {message}")


_COMMON = ("kind", "strategies", "prompts", "severity", "optional")
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "exact": ("ties_within",),
    "statistical": ("metric", "margin", "direction", "cannot_tell"),
    "bound": ("metric", "at_most", "at_least", "relative_to", "cannot_tell"),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {"exact": (), "statistical": ("metric", "margin"), "bound": ("metric",)}


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """Numbers are those of YAML 1.2: PyYAML's own rules are of 1.1, where 1e-3 is a text, 010 is 8 and 1:30 is 90. The
    second of two equal keys would win silently."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, form) for tag, form in known if tag not in (_INT, _FLOAT)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"[-+]?((\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def read_rules(path: Path | None = None) -> tuple[Rule, ...]:
    """The rules of a yaml file; None: those that decodebench brings. Raises ConfigError, one line, for anything wrong
    in it, an empty file included: it would check nothing."""
    path = DEFAULT_RULES if path is None else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise ConfigError(f"{path}: cannot be read ({why}); allowed is a yaml file with a list of rules") from error
    try:
        nodes = yaml.load(text, _Loader)
    except Exception as error:  # PyYAML raises what it runs into where a value is not of its tag: `!!int x`
        raise ConfigError(f"{path}: is no yaml ({one_line(error, 200) or type(error).__name__})") from error
    return parse_rules(nodes, str(path) if path != DEFAULT_RULES else "the default rules")


def parse_rules(nodes: Any, source: str = "rules") -> tuple[Rule, ...]:
    """Rules from plain containers. Raises ConfigError."""
    if not nodes:
        raise ConfigError(f"{source}: has no rules, it would check nothing; allowed is a list of rules")
    if not isinstance(nodes, list):
        raise ConfigError(f"{source}: must be a list of rules (lines that begin with '- '), not {_shown(nodes)}")
    return tuple(_Fields(node, source, number).rule() for number, node in enumerate(nodes, start=1))


class _Fields:
    """The keys of one rule, read one by one."""

    def __init__(self, node: Any, source: str, number: int) -> None:
        self._place = f"{source}: rule {number}"
        if not isinstance(node, dict) or not all(isinstance(key, str) for key in node):
            raise ConfigError(f"{self._place}: must be keys with values, not {_shown(node)}")
        self._node: dict[str, Any] = node
        self._source, self._number = source, number

    def rule(self) -> Rule:
        """The rule, every value of it checked."""
        kind: Any = self._word("kind", get_args(RuleKind), None)
        self._check_keys(kind)
        bounds = {key: self._number_of(key) for key in ("at_most", "at_least")}
        if kind == "bound":
            self._check_bounds(**bounds)
        return Rule(
            kind=kind,
            source=self._source,
            number=self._number,
            metric=self._text("metric"),
            ties_within=self._number_of("ties_within", least=0),
            margin=self._margin(),
            direction=self._word("direction", get_args(Preference), ""),
            relative_to=self._text("relative_to"),
            strategies=self._globs("strategies"),
            prompts=self._globs("prompts"),
            severity=self._word("severity", get_args(Severity), "fail"),
            cannot_tell=self._word("cannot_tell", get_args(Severity), "warn"),
            optional=self._flag("optional"),
            **bounds,
        )

    def _check_keys(self, kind: str) -> None:
        allowed = (*_COMMON, *_OF_KIND[kind])
        for key, value in self._node.items():
            if key not in allowed:
                known = any(key in names for names in _OF_KIND.values())
                what = f"has no effect with kind={kind}" if known else "unknown key"
                raise ConfigError(f"{self._place}: {key}={_shown(value)}: {what}; {allowed_names(key, allowed)}")
        for key in _NEEDED[kind]:
            if key not in self._node:
                raise ConfigError(f"{self._place}: a rule of kind={kind} needs {key}")

    def _check_bounds(self, at_most: float | None, at_least: float | None) -> None:
        if at_most is None and at_least is None:
            raise ConfigError(f"{self._place}: a rule of kind=bound needs at_most or at_least")
        if at_most is not None and at_least is not None and at_least > at_most:
            raise ConfigError(f"{self._place}: at_least={at_least:g}: allowed is {at_most:g} (at_most) or less")

    def _word(self, key: str, allowed: Sequence[str], default: str | None) -> Any:
        """One of a few words; a default of None says that it must be there, an empty one that it may be missing."""
        value = self._node.get(key, default)
        if value is None and default is None:
            raise ConfigError(f"{self._place}: needs {key}; {allowed_names('', allowed)}")
        if value == "" == default and key not in self._node:
            return None
        if value not in allowed:
            raise ConfigError(f"{self._place}: {key}={_shown(value)}: {allowed_names(str(value), allowed)}")
        return value

    def _text(self, key: str) -> str | None:
        value = self._node.get(key)
        if key in self._node and not (isinstance(value, str) and value.strip()):
            raise ConfigError(f"{self._place}: {key}={_shown(value)}: must be a name")
        return value

    def _flag(self, key: str) -> bool:
        value = self._node.get(key, False)
        if not isinstance(value, bool):
            raise ConfigError(f"{self._place}: {key}={_shown(value)}: must be true or false")
        return value

    def _number_of(self, key: str, *, least: float = -math.inf) -> float | None:
        return _number(self._node[key], f"{self._place}: {key}", least) if key in self._node else None

    def _margin(self) -> Margin | None:
        """A number alone is absolute."""
        if "margin" not in self._node:
            return None
        given, allowed = self._node["margin"], [f.name for f in fields(Margin)]
        if not isinstance(given, dict):
            return Margin(
                absolute=_number(given, f"{self._place}: margin", 0, " (or absolute, relative, noise below it)")
            )
        if not given:
            raise ConfigError(f"{self._place}: margin is empty; {allowed_names('', allowed)}")
        for key in given:
            if key not in allowed:
                raise ConfigError(
                    f"{self._place}: margin.{key}={_shown(given[key])}: {allowed_names(str(key), allowed)}"
                )
        return Margin(**{key: _number(value, f"{self._place}: margin.{key}", 0) for key, value in given.items()})

    def _globs(self, key: str) -> tuple[str, ...]:
        """One glob, or a list of them."""
        value = self._node.get(key, "*")
        globs = value if isinstance(value, list) else [value]
        if not globs or not all(isinstance(glob, str) and glob for glob in globs):
            raise ConfigError(f"{self._place}: {key}={_shown(value)}: must be a label (* for any) or a list of them")
        return tuple(globs)


def _number(value: Any, place: str, least: float, more: str = "") -> float:
    largest = sys.float_info.max  # a whole number of yaml may be larger
    if type(value) not in (int, float) or not max(least, -largest) <= value <= largest:
        what = "a number" if least == -math.inf else f"a number of {least:g} or more"
        raise ConfigError(f"{place}={_shown(value)}: must be {what}{more}")
    return float(value)


def _shown(value: Any) -> str:
    """A value of any kind in one short line."""
    text = " ".join(("null" if value is None else str(value)).split())
    return text if len(text) <= 60 else text[:59] + "…"
