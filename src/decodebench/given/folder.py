"""Checked lines of a file -> the records and the manifest of a run folder."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from decodebench.errors import PromptError, StoreError
from decodebench.given.lines import Columns, Line, prompts_of, read_lines
from decodebench.prompts import prompts_sha256
from decodebench.records import HUMAN, SCHEMA_VERSION, Generation, Prompt, StoredPrompt
from decodebench.store import git_commit, locked, machine, read_manifest, versions, write_json, write_records

MODEL = "given"
"""The name of the model of such texts: it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a file holds: its texts and references as records, cell by cell; `cells` are entries of a manifest."""

    path: Path
    sha256: str
    columns: Mapping[str, str]
    prompts: tuple[Prompt, ...]
    cells: tuple[Mapping[str, Any], ...]
    references: tuple[Mapping[str, Any], ...]
    texts: tuple[Generation, ...]
    reference_texts: tuple[Generation, ...]

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies that wrote the texts, and that of the human references where there are some."""
        return tuple(str(cell["strategy"]) for cell in (*self.cells, *self.references))


def read(path: Path, columns: Columns) -> Given:
    """Read and check a file whole. Raises PromptError, one line, for what cannot be read or used, with its place."""
    names, lines = read_lines(path, columns)
    prompts = prompts_of(str(path), lines)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def cell(strategy: str) -> dict[str, Any]:
        told = json.dumps([sha256, names, strategy], sort_keys=True)
        id_ = hashlib.sha256(told.encode()).hexdigest()[:12]
        return {"id": id_, "model": MODEL, "prompts": path.stem, "strategy": strategy}

    cells = {strategy: cell(strategy) for strategy in dict.fromkeys(line.strategy for line in lines)}
    human = cell(HUMAN)
    with_reference = [prompt for prompt in prompts.values() if prompt.reference is not None]
    return Given(
        path=path,
        sha256=sha256,
        columns=names,
        prompts=tuple(prompts.values()),
        cells=tuple(cells.values()),
        references=(human,) if with_reference else (),
        texts=tuple(_texts(str(path), lines, cells, prompts)),
        reference_texts=tuple(_generation(human, p, 0, p.reference) for p in with_reference if p.reference is not None),
    )


def write(given: Given, run_dir: Path, metrics: Mapping[str, Any], command: str) -> None:
    """Write the run folder of a file: its manifest, with the configuration `metrics`, its texts and its references.

    Raises StoreError where the folder holds anything but a run of the same file.
    """
    path = run_dir / "manifest.json"
    with locked(run_dir):
        earlier = _earlier(given, run_dir)
        created = earlier.get("created") or datetime.now(UTC).isoformat(timespec="seconds")
        manifest = _manifest(given, run_dir.name, metrics) | {"created": created, "command": command}
        manifest |= {key: earlier[key] for key in ("scorer", "unread") if key in earlier}  # readings stay, too
        write_json(path, manifest | {"status": "running"})  # first: what is cut off here can be written again
        rows = [StoredPrompt.of(given.path.stem, prompt) for prompt in given.prompts]
        write_records(run_dir / "prompts.parquet", StoredPrompt, rows)
        write_records(run_dir / "generations.parquet", Generation, given.texts)
        if given.reference_texts:
            write_records(run_dir / "references.parquet", Generation, given.reference_texts)
        write_json(path, manifest)


def _earlier(given: Given, run_dir: Path) -> Mapping[str, Any]:
    """The manifest of a run of the same file and columns; empty where the folder is new. Refuses all others."""
    other = f"--name={run_dir.name}: {run_dir}"
    if run_dir.exists() and not run_dir.is_dir():
        raise StoreError(f"{other} is a file; allowed is another --name")
    if not run_dir.exists() or not any(run_dir.iterdir()):
        return {}
    if not (run_dir / "manifest.json").exists():
        raise StoreError(f"{other} has files but no manifest.json; allowed is another --name, or an empty folder")
    stored = read_manifest(run_dir)
    if _ids((*stored["cells"], *stored.get("references", ()))) != _ids((*given.cells, *given.references)):
        raise StoreError(
            f"{other} holds another run, or one of other content than {given.path}; allowed is another --name, "
            f"or delete {run_dir}"
        )
    return stored


def _ids(cells: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(cell["id"]) for cell in cells}


def _texts(
    key: str, lines: Sequence[Line], cells: Mapping[str, Mapping[str, Any]], prompts: Mapping[str, Prompt]
) -> list[Generation]:
    """The texts in the order of cells, prompts and samples. Samples without a number are counted."""
    place: dict[tuple[str, str, int], Line] = {}
    counted: dict[tuple[str, str], int] = {}
    for line in lines:
        group = (line.strategy, line.prompt_id)
        sample = counted.get(group, 0) if line.sample is None else line.sample
        counted[group] = sample + 1
        first = place.setdefault((*group, sample), line)
        if first is not line:
            raise PromptError(
                f"{key}: {first.where} and {line.where}: strategy {line.strategy!r} has two texts for the prompt "
                f"{line.prompt_id!r}, sample {sample}; allowed is one"
            )
    order = {strategy: n for n, strategy in enumerate(cells)}
    rank = {prompt_id: n for n, prompt_id in enumerate(prompts)}
    keys = sorted(place, key=lambda k: (order[k[0]], rank[k[1]], k[2]))
    return [_generation(cells[k[0]], prompts[k[1]], k[2], place[k].text) for k in keys]


def _generation(cell: Mapping[str, Any], prompt: Prompt, sample: int, text: str) -> Generation:
    return Generation(
        cell=cell["id"],
        model=cell["model"],
        strategy=cell["strategy"],
        seed=0,
        prompt_id=prompt.id,
        sample=sample,
        prompt=prompt.text,
        text=text,
        token_ids=(),
        token_logprobs=(),
        finish_reason="end",
        delivered_tokens=0,
        computed_tokens=0,
    )


def _manifest(given: Given, name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a finished run: nothing was decoded, so there is no count, no memory and no time."""
    stem = given.path.stem

    def config(strategy: str) -> dict[str, Any]:
        return {
            "model": {"name": MODEL},
            "prompts": {"name": stem, "template": None},
            "strategy": {"name": strategy},
            "metrics": dict(metrics),
        }

    cells = [{**cell, "seed": 0, "config": config(cell["strategy"]), "generation_config": None} for cell in given.cells]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "status": "complete",
        "created": "",
        "command": "",
        "seed": [0],
        "git_commit": git_commit(),
        "versions": versions(),
        "machine": machine(),
        "source": {"file": given.path.name, "sha256": given.sha256, "columns": dict(given.columns)},
        "models": {MODEL: {"source": given.path.name}},
        "prompts": {stem: {"sha256": prompts_sha256(given.prompts), "count": len(given.prompts), "template": None}},
        "cells": cells,
        "references": list(given.references),
        "scorer": None,
        "unread": [],
        "failed": [],
        "counts": {},
        "seconds": {},
    }
