"""What a run says of itself: all that is needed to repeat it, and what it did (docs/run_folder.md, manifest.json)."""

import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

from decodebench.decoding import Memory
from decodebench.engine import Forward
from decodebench.models import Identity, LoadedModel, loads, ranges, second_identity, vocabulary
from decodebench.plan import Job, Plan, cell_labels, reference_id
from decodebench.records import HUMAN, SCHEMA_VERSION, CellWarning
from decodebench.run.progress import Progress
from decodebench.store import command_line, git_commit, machine, versions


def manifest(
    plan: Plan, progress: Progress, status: str, *, earlier: Mapping[str, Any], keeps: bool = False
) -> dict[str, Any]:
    """The manifest of a run. `earlier` is what the folder has; with `keeps`, its other cells stay beside the plan's."""
    planned = {job.cell.id: job for job in plan.jobs}
    before = {entry["id"]: entry for entry in earlier.get("cells", ())}
    cells = dict(before) if keeps else {}
    for cell, job in planned.items():
        known = progress.generation_configs.get(cell) or before.get(cell, {}).get("generation_config")
        cells[cell] = asdict(job.cell) | {"generation_config": known}
    labels = cell_labels({cell: entry["config"] for cell, entry in cells.items()})

    def section(name: str, noun: str, now: Mapping[str, Any]) -> dict[str, Any]:
        """By today's label: what is said now of the model or prompt set of each cell, else what was said before."""
        then = {cell: earlier.get(name, {}).get(entry[noun]) for cell, entry in before.items()}
        said = {cell: now.get(cell) or then.get(cell) for cell in cells}
        return {labels[cell][noun]: entry for cell, entry in said.items() if entry}

    prompts = section("prompts", "prompts", {cell: _prompts_entry(job) for cell, job in planned.items()})
    listed = [entry | labels[cell] for cell, entry in cells.items()]
    there = progress.references | {entry["id"] for entry in earlier.get("references", ())}
    second = _second_models(plan.jobs)
    failed = [f for f in earlier.get("failed", ()) if f["cell"] in cells and f["cell"] not in planned]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.name,
        "status": status,
        "created": earlier.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv[1:]),
        "seed": sorted({entry["seed"] for entry in cells.values()}),
        "git_commit": git_commit(),
        "versions": versions(),
        "machine": {
            **machine(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "models": section("models", "model", progress.models),
        "second_models": {place: one.fingerprint for place, one in second.items()} | earlier.get("second_models", {}),
        "second_identities": {place: asdict(one) for place, one in second.items()}
        | earlier.get("second_identities", {}),
        "prompts": prompts,
        "cells": listed,
        "references": [entry for entry in _references(listed, prompts) if entry["id"] in there],
        "scorer": progress.scorer or earlier.get("scorer"),
        "unread": [{"cell": cell, "error": error} for cell, error in progress.unread.items()],
        "untimed": [{"cell": cell, "error": error} for cell, error in progress.untimed.items()],
        "failed": failed + [asdict(f) for f in progress.failed.values()],
        "warnings": [asdict(w) for w in _warnings(progress, earlier.get("warnings", ()), cells.keys() - planned)],
        "counts": asdict(progress.counts),
        "model_loads": list(loads()),
        "memory": progress.memory,
        "seconds": {what: round(seconds, 3) for what, seconds in progress.seconds.items()},
    }


def memory_entry(memory: Memory) -> dict[str, Any]:
    """What the rows of a model were estimated to take before decoding, and what was measured while they did."""
    room = memory.room
    return {
        "max_rows": room.max_rows,
        "row_bytes": room.row_bytes,
        "budget_bytes": room.budget_bytes,
        "estimated_bytes": room.estimated_bytes,
        "measured_bytes": memory.measured_bytes,
        "measured_reason": memory.measured_reason,
        "halvings": memory.halvings,
    }


def model_entry(loaded: LoadedModel, forward: Forward, products: str, config: Any) -> dict[str, Any]:
    """What the manifest says of a model."""
    return {
        "source": loaded.source,
        "device": str(loaded.device),
        **asdict(loaded.identity),
        "parameters": loaded.parameters,
        "vocabulary": vocabulary(loaded.model),
        "unused_ids": list(map(list, ranges(loaded.unused_ids))),
        "licence": loaded.licence,
        "context_length": loaded.context_length,
        "pad_id": loaded.pad_id,
        "forward": forward.path,
        "forward_reason": forward.reason,
        "exactness": forward.exactness,
        "cuda_graphs": forward.graphs,
        "cuda_graphs_reason": forward.graphs_reason,
        "products": products,
        "threads": torch.get_num_threads(),
        "config": asdict(config),
    }


def _warnings(progress: Progress, earlier: Iterable[Mapping[str, Any]], beside: Collection[str]) -> list[CellWarning]:
    """What is odd: as it was said before of the cells `beside` the plan's, then what this command found."""
    found: dict[tuple[str, str | None], dict[str, None]] = {}
    for entry in earlier:
        if cells := [cell for cell in entry["cells"] if cell in beside]:
            found[entry["warning"], entry["metric"]] = dict.fromkeys(cells)
    for warning, own in progress.warnings.items():
        found.setdefault((warning, None), {}).update(own)
    return [CellWarning(warning=text, metric=metric, cells=tuple(cells)) for (text, metric), cells in found.items()]


def _second_models(jobs: Iterable[Job]) -> dict[str, Identity]:
    """The second models that cells read, by their folder or hub id."""
    places = {job.strategy.second_model for job in jobs}
    known = {place: second_identity(place) for place in places if place}
    return {place: one for place, one in known.items() if one}


def _references(cells: Iterable[Mapping[str, Any]], prompts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells that the references of these prompts are, each model's own, in the order of the cells."""
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        id_ = reference_id(cell["config"], prompts[cell["prompts"]]["sha256"])
        found[id_] = {"id": id_, "model": cell["model"], "prompts": cell["prompts"], "strategy": HUMAN}
    return list(found.values())


def _prompts_entry(job: Job) -> dict[str, Any]:
    return {"sha256": job.prompts_sha256, "count": len(job.prompts), "template": job.template, "date": job.date}
