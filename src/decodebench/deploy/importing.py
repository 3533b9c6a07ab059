"""A settings file or request of an engine outside -> the yaml of the strategy that decodes so."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from decodebench.deploy.engines import ENGINES
from decodebench.deploy.engines.reading import read_settings
from decodebench.deploy.exporting import write_once
from decodebench.errors import ConfigError, allowed_names, worded
from decodebench.strategies import Strategy

_PARAMETER = re.compile(r'^PARAMETER[ \t]+(\w+)[ \t]+("""(?:.|\n)*?"""|"[^"]*"|\S+)', re.I | re.M)
"""A text in quotes may have line breaks; there are no escapes."""
_HEAD = "defaults:\n  - /rules@_here_: default\n  - _self_\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The text of a strategy's yaml, and what a user should know of how the settings were read."""

    text: str
    notes: tuple[str, ...]


def import_settings(file: Path, engine: str, name: str, output: Path | None = None) -> Imported:
    """The yaml of the strategy `name` that decodes as the engine does with the settings in this file: JSON, and of
    Ollama a Modelfile, or a request with its `options`. It is written to `output`, if there is one.

    Raises ConfigError for an engine that is unknown, a file that is none, and what `read_settings` raises.
    """
    if engine not in ENGINES:
        more = " (of transformers: strategy=served_transformers with the model)" if engine == "transformers" else ""
        raise ConfigError(f"--from={engine}: {allowed_names(engine, ENGINES)}{more}")
    with worded(f"{file}: cannot be read"):
        text = file.read_text(encoding="utf-8")
    read = read_settings(ENGINES[engine], _settings(file, text, engine))
    done = Imported(text=_yaml(name, read.strategy), notes=read.notes)
    if output is not None:
        write_once(output, done.text)
    return done


def _settings(file: Path, text: str, engine: str) -> dict[str, Any]:
    if engine == "ollama" and not text.lstrip().startswith("{"):
        return _modelfile(file, text)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{file}: is no JSON ({error}); allowed is one object of settings") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: is no JSON object; allowed is one object of settings")
    options = found.pop("options", {}) if engine == "ollama" else {}
    return {**found, **options}


def _modelfile(file: Path, text: str) -> dict[str, Any]:
    """The PARAMETER lines of a Modelfile; a stop string has a line for each."""
    found: dict[str, Any] = {}
    for key, told in _PARAMETER.findall(text):
        quotes = 3 if told.startswith('"""') else 1
        value = told[quotes:-quotes] if told.startswith('"') else _number(told)
        if key == "stop":
            found.setdefault(key, []).append(str(value))
        else:
            found[key] = value
    if not found:
        raise ConfigError(f"{file}: has no PARAMETER line; allowed is a Modelfile with some, or a JSON object")
    return found


def _number(told: str) -> Any:
    try:
        return json.loads(told)
    except ValueError:
        return told


def _yaml(name: str, strategy: Strategy) -> str:
    """The strategy as a file of conf/strategy: its own numbers, and those of every strategy that it sets."""
    rules = {f.name: f.default for f in fields(Strategy)}
    values = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    told = {key: value for key, value in values.items() if key not in rules or value != rules[key]}
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}
    body = {"name": name, "_target_": f"decodebench.strategies.{type(strategy).__name__}", **told}
    return _HEAD + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
