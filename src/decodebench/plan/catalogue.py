"""What there is: the strategies of conf/strategy, with their numbers, sources and rules."""

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from decodebench.errors import ConfigError, allowed_names
from decodebench.plan.config import build_strategy, conf_dir
from decodebench.strategies import Strategy

_SOURCE = re.compile(r"[A-ZÀ-Ý][\w'’-]+(?:(?:, | and | )(?:[A-ZÀ-Ý][\w'’-]+|et al\.))*,? (?:19|20)\d\d\b")
"""A citation as our docstrings write it: Fan et al. 2018."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A yaml of conf/strategy. `target` names its class, `numbers` are those that it sets itself; `strategy` has the
    rules that go with every one at their defaults beside them. `said` are the sources that the yaml names, of a rule
    that has no class."""

    name: str
    target: str
    numbers: Mapping[str, Any]
    strategy: Strategy
    said: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The docstring of its class."""
        return inspect.getdoc(type(self.strategy)) or ""

    @property
    def sources(self) -> tuple[str, ...]:
        """What its yaml names, or the papers of its class, its module or a class that it builds on, the first that has
        some; none where the rule has no paper."""
        kind = type(self.strategy)
        bases = (base for base in kind.__mro__[1:] if issubclass(base, Strategy))
        named = (
            _SOURCE.findall(inspect.cleandoc(one.__doc__ or "")) for one in (kind, inspect.getmodule(kind), *bases)
        )
        return self.said or tuple(dict.fromkeys(next(filter(None, named), ())))

    @property
    def rules(self) -> dict[str, Any]:
        """The numbers that every strategy has, where its yaml does not set them."""
        names = (f.name for f in fields(Strategy))
        return {name: getattr(self.strategy, name) for name in names if name not in self.numbers}


def catalogue() -> dict[str, Entry]:
    """Every strategy that comes with decodebench, by name."""
    return {path.stem: _entry(path) for path in sorted((conf_dir() / "strategy").glob("*.yaml"))}


def entry(name: str) -> Entry:
    """The strategy of that name. Raises ConfigError where there is none."""
    names = [path.stem for path in (conf_dir() / "strategy").glob("*.yaml")]
    if name not in names:
        raise ConfigError(f"strategies {name}: {allowed_names(name, names)}")
    return _entry(conf_dir() / "strategy" / f"{name}.yaml")


def in_words(value: Any) -> str:
    """A value as a yaml has it."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_words, value)) + "]"
    if isinstance(value, str):
        return value if value.isprintable() else json.dumps(value, ensure_ascii=False)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _entry(path: Path) -> Entry:
    text = path.read_text(encoding="utf-8")
    node: Any = OmegaConf.to_container(OmegaConf.create(text))
    node.pop("defaults", None)
    numbers = {key: value for key, value in node.items() if key not in ("name", "_target_")}
    said = tuple(re.findall(r"^# Source: (.*)$", text, re.M))
    return Entry(
        name=path.stem, target=str(node["_target_"]), numbers=numbers, strategy=build_strategy(node), said=said
    )
