"""What an engine outside does with each of our numbers: a table of rows, and what follows from it for a strategy.

Samplers differ in two ways: in the rules that an engine has, and in the order in which it applies them. The rows say
the first. For the second every pair of rules that the engine applies the other way round is looked up: some pairs
commute, one can be rewritten, of all others the number that comes too late is not translatable.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from decodebench.deploy.engines.asked import Asked
from decodebench.errors import ConfigError

Kind = Literal["exact", "rewritten", "not translatable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What became of one number: the `rule` says how it was rewritten, or why it cannot be; `target` is the engine's
    field, None where there is none."""

    key: str
    value: Any
    kind: Kind
    rule: str
    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How an engine is told a number: its field `target` (None: it does so by itself), the value there, and the `rule`
    in words where it is another one. `refuses` says for which values the engine has nothing that does the same, and
    why; `also` are fields that go with it."""

    target: str | None
    value: Callable[[Any, Asked], Any] = lambda value, _: value
    rule: str = ""
    refuses: Callable[[Any, Asked], str | None] = lambda *_: None
    also: Callable[[Asked], Mapping[str, Any]] = lambda _: {}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine outside. `version` is the one that the table was proven against (None: read in its documentation and
    sources, not run). `neutral` has every field that the engine would otherwise fill, at the value that does nothing,
    for each kind of decoding (a kind that it lacks is absent). `order` is the order of its rules; `order_field` is the
    field in which another one can be set, `order_names` what it calls our rules there; `texts_field` is the field for
    how many texts a prompt gets. `usage` are the lines that use the settings, `files` what else is written for them."""

    name: str
    package: str
    version: str | None
    rows: Mapping[str, Row]
    lacks: Mapping[str, str]
    neutral: Mapping[str, Mapping[str, Any]]
    order: Sequence[str]
    order_field: str | None = None
    order_names: Mapping[str, str] = field(default_factory=dict)
    texts_field: str | None = None
    notes: Sequence[str] = ()
    usage: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: ()
    files: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda _: {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A strategy in an engine's terms: `settings` with every field set, and a line for each number."""

    engine: Engine
    settings: Mapping[str, Any]
    lines: tuple[Line, ...]

    @property
    def missing(self) -> tuple[Line, ...]:
        """What is not translatable."""
        return tuple(line for line in self.lines if line.kind == "not translatable")


_LAST: Kind = "not translatable"
NO_KIND = {
    "greedy": "the engine has no greedy search",
    "sampler": "the engine draws no samples",
    "search": "the engine has no beam search",
}
_COMMUTE = {frozenset(pair) for pair in (("temperature", "top_k"), ("temperature", "top_n_sigma"), ("top_k", "min_p"))}
"""Pairs of rules whose order makes no difference: a temperature keeps the order of the tokens and scales differences
and deviations alike; ranks and the distance from the likeliest do not see what lies below."""


def translate(engine: Engine, asked: Asked) -> Translation:
    """The strategy in the engine's terms. Raises ConfigError for more texts than the engine gives."""
    if asked.kind not in engine.neutral:
        line = Line(key="strategy", value=asked.kind, kind="not translatable", rule=NO_KIND[asked.kind], target=None)
        return Translation(engine=engine, settings={}, lines=(line,))
    settings = dict(engine.neutral[asked.kind])
    numbers = dict(asked.numbers)
    # of several things to say of a number that it cannot be told is the one that counts
    ordered = {line.key: line for line in sorted(_order(engine, asked), key=lambda line: line.kind == _LAST)}
    lines = []
    for key, value in numbers.items():
        found = ordered.get(key)
        if found is not None and found.kind == "not translatable":
            lines.append(found)
            continue
        line, told = _told(engine, asked, key, value, None if found is None else found.value)
        if found is not None and line.kind != "not translatable":
            line = Line(key=key, value=value, kind="rewritten", rule=found.rule, target=line.target)
        lines.append(line)
        settings |= told
    if asked.texts > 1:
        if asked.kind == "greedy" or engine.texts_field not in settings:
            who = "greedy search" if asked.kind == "greedy" else engine.name
            raise ConfigError(f"--texts={asked.texts}: {who} gives one text for each prompt; allowed is 1")
        settings[str(engine.texts_field)] = asked.texts
    if engine.order_field is not None and len(asked.order) > 1:
        names = [engine.order_names[name] for name in _whole_order(engine, asked) if name in engine.order_names]
        settings[engine.order_field] = names
        kind: Kind = "exact" if list(asked.order) == [n for n in engine.order if n in asked.order] else "rewritten"
        rule = "" if kind == "exact" else "the order is set in the target"
        lines.append(Line(key="order", value=list(asked.order), kind=kind, rule=rule, target=engine.order_field))
    return Translation(engine=engine, settings=settings, lines=tuple(lines))


def _told(engine: Engine, asked: Asked, key: str, value: Any, instead: Any) -> tuple[Line, dict[str, Any]]:
    """What becomes of a number, `instead` in its place where the order asks for that; and the fields that say it."""
    row = engine.rows.get(key)
    why = engine.lacks.get(key, "the engine has no such number") if row is None else row.refuses(value, asked)
    if row is None or why:
        return Line(key=key, value=value, kind="not translatable", rule=why or "", target=None), {}
    told = row.value(value if instead is None else instead, asked)
    kind: Kind = "rewritten" if row.rule else "exact"
    fields_ = ({} if row.target is None else {row.target: told}) | dict(row.also(asked))
    return Line(key=key, value=value, kind=kind, rule=row.rule, target=row.target), fields_


def _order(engine: Engine, asked: Asked) -> Iterator[Line]:
    """The numbers that the engine's fixed order changes; `value` is what says the same there."""
    if engine.order_field is not None:
        return
    temperature = asked.numbers.get("temperature", 1.0)
    known = [rule for rule in asked.order if rule in engine.order]
    for first, second in combinations(known, 2):
        if engine.order.index(first) < engine.order.index(second) or frozenset((first, second)) in _COMMUTE:
            continue
        if temperature == 1 and "temperature" in (first, second):
            continue
        key = _KEYS.get(second, second)
        if (first, second) == ("temperature", "min_p"):
            value = asked.numbers["min_p"] ** temperature
            rule = f"min_p ** temperature = {value:.6g}: the engine applies it before the temperature"
            yield Line(key=key, value=value, kind="rewritten", rule=rule, target=None)
        elif (first, second) == ("min_p", "temperature"):
            value = asked.numbers["min_p"] ** (1 / temperature)
            rule = f"min_p ** (1 / temperature) = {value:.6g}: the engine applies it after the temperature"
            yield Line(key="min_p", value=value, kind="rewritten", rule=rule, target=None)
        else:
            rule = f"the engine applies {second} before {first}, and its order cannot be set"
            yield Line(key=key, value=asked.numbers.get(key), kind="not translatable", rule=rule, target=None)


_KEYS = {"xtc": "xtc_probability", "mirostat": "mirostat_tau"}
"""The number that stands for a rule of several."""


def _whole_order(engine: Engine, asked: Asked) -> list[str]:
    """Our rules in our order, behind what changes scores (which the engine's order begins with)."""
    before = [name for name in engine.order if name in ("penalties", "dry")]
    return [*before, *asked.order]


def above(limit: float, what: str) -> Callable[[Any, Asked], str | None]:
    """Refuses values above a limit."""
    return lambda value, _: f"{what} allows up to {limit:g}" if value > limit else None


def only(*values: Any, why: str) -> Callable[[Any, Asked], str | None]:
    """Refuses all values but these."""
    return lambda value, _: None if value in values else why


def never(why: str) -> Callable[[Any, Asked], str | None]:
    """Refuses every value."""
    return lambda *_: why


def lacking(why: str, *names: str) -> dict[str, str]:
    """Numbers that an engine lacks for one reason."""
    return dict.fromkeys(names, why)
