"""manifest.json as it is read: what each key must be (docs/run_folder.md), checked once for everybody.

Keys that are not named here are left alone. Those that every reader needs are there even where the file lacks them.
"""

import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from decodebench.errors import StoreError, one_line
from decodebench.records import SCHEMA_VERSION


class _Config(TypedDict, total=False):
    task: dict[str, Any]
    choose: dict[str, Any]
    model: dict[str, Any]
    prompts: dict[str, Any]
    strategy: dict[str, Any]
    metrics: dict[str, Any]
    scorer: dict[str, Any]
    latency: dict[str, Any]
    engine: dict[str, Any]
    seed: int


class _Cell(TypedDict):
    id: str
    model: str
    prompts: str
    strategy: str
    seed: int
    config: NotRequired[_Config]
    generation_config: NotRequired[dict[str, Any] | None]


class _Humans(TypedDict):
    id: str
    model: str
    prompts: str
    strategy: str


class _Failed(TypedDict):
    cell: str
    error: str


class _Unread(TypedDict):
    cell: str | None
    error: str


class _Model(TypedDict, total=False):
    source: str | None
    device: str
    dtype: str
    fingerprint: str
    parameters: int
    vocabulary: int
    licence: str | None
    context_length: int | None
    eos_ids: list[int]
    pad_id: int
    forward: str
    exactness: str
    config: dict[str, Any]


class _PromptSet(TypedDict):
    sha256: str
    count: NotRequired[int]
    template: NotRequired[str | None]


class _Scorer(TypedDict):
    id: str
    fingerprint: str | None
    dtype: str | None


class _Whole(TypedDict):
    value: float | None
    reason: str | None


class _Task(TypedDict):
    config: dict[str, Any]
    rule: str
    direction: str
    unit: str
    whole: dict[str, _Whole]
    error: str | None


class _Warning(TypedDict):
    warning: str
    cells: list[str]
    metric: str | None


class _Manifest(TypedDict, total=False):
    name: str
    status: str
    created: str | None
    command: str | None
    seed: list[int]
    git_commit: str | None
    versions: dict[str, str | None]
    machine: dict[str, Any]
    source: dict[str, Any]
    models: dict[str, _Model]
    second_models: dict[str, str]
    second_identities: dict[str, dict[str, Any]]
    prompts: dict[str, _PromptSet]
    cells: list[_Cell]
    references: list[_Humans]
    scorer: _Scorer | None
    task: _Task | None
    unread: list[_Unread]
    untimed: list[_Failed]
    failed: list[_Failed]
    counts: dict[str, int]
    model_loads: list[str]
    memory: dict[str, Any]
    seconds: dict[str, float]
    metrics: dict[str, Any]
    warnings: list[_Warning]
    prompt_clusters: dict[str, int]


_ALWAYS: Mapping[str, type] = {
    "models": dict,
    "prompts": dict,
    "cells": list,
    "references": list,
    "unread": list,
    "failed": list,
}
"""The keys that every reader needs, and what they are where the file lacks them: nothing."""

_INT64 = 2**63


def read_manifest(run_dir: Path) -> Mapping[str, Any]:
    """The manifest of a run, known to be of a version that this code reads, every key of it of its type.

    Raises StoreError, one line, where there is none, where it cannot be read, or where it is of another version; for a
    key of another type, and for cells that share an id, names the place.
    """
    path = run_dir / "manifest.json"
    try:
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "is no run folder (no manifest.json)" if run_dir.is_dir() else "there is no such folder"
        raise StoreError(f"{run_dir}: {what}; allowed: the folder of a run") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({one_line(error, 200)})") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise StoreError(f"{path}: schema_version={one_line(version, 40)}; this decodebench reads {SCHEMA_VERSION}")
    if wrong := misfit(manifest, _Manifest):
        raise StoreError(f"{path}: {wrong}; see docs/run_folder.md")
    whole: dict[str, Any] = {key: kind() for key, kind in _ALWAYS.items()} | manifest
    whole["cells"] = [{"config": {}} | cell for cell in whole["cells"]]
    ids = [cell["id"] for cell in (*whole["cells"], *whole["references"])]
    if len(set(ids)) < len(ids):
        twice = next(id_ for n, id_ in enumerate(ids) if id_ in ids[:n])
        raise StoreError(f"{path}: the cell {one_line(twice, 80)} is there twice")
    return whole


def misfit(value: Any, hint: Any, place: str = "") -> str | None:
    """What of a value of JSON is not of its type, `cells[2].seed is "x"; allowed is a whole number`; None: nothing.

    Types are those of JSON, TypedDicts, and `list`, `dict` and `|` of them; a number must be finite, a whole one must
    fit in 64 bits.
    """
    if hint is Any:
        return None
    if typing.get_origin(hint) is types.UnionType:
        found = [misfit(value, one, place) for one in typing.get_args(hint)]
        return None if None in found else found[0]
    if typing.is_typeddict(hint):
        return _misfit_of_keys(value, hint, place)
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is list and isinstance(value, list):
        return _first(misfit(each, inner[0], f"{place}[{n}]") for n, each in enumerate(value))
    if typing.get_origin(hint) is dict and isinstance(value, dict):
        return _first(misfit(each, inner[1], _inside(place, key)) for key, each in value.items())
    if _is(value, hint):
        return None
    told = one_line(json.dumps(value, ensure_ascii=False), 60)
    return f"{place or 'it'} is {told}; allowed is {_WORDS[typing.get_origin(hint) or hint]}"


def _misfit_of_keys(value: Any, hint: Any, place: str) -> str | None:
    if not isinstance(value, dict):
        return misfit(value, dict[str, Any], place)
    hints = typing.get_type_hints(hint)
    absent = sorted(hint.__required_keys__ - value.keys())
    if absent:
        return f"{place or 'it'} has no {', '.join(absent)}"
    return _first(misfit(each, hints[key], _inside(place, key)) for key, each in value.items() if key in hints)


_WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    types.NoneType: "null",
}


def _is(value: Any, hint: Any) -> bool:
    if hint is float:
        return type(value) in (int, float) and abs(value) < _INT64 and math.isfinite(value)
    return type(value) is hint and (hint is not int or -_INT64 <= value < _INT64)


def _inside(place: str, key: str) -> str:
    return f"{place}.{one_line(key, 40)}" if place else one_line(key, 40)


def _first(found: typing.Iterable[str | None]) -> str | None:
    return next((one for one in found if one is not None), None)
