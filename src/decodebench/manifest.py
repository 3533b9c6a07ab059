"""What a run says of itself: all that is needed to repeat it, and what it did (docs/run_folder.md, manifest.json)."""

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from decodebench.cells import Job, Plan, cell_labels
from decodebench.decoding import Memory
from decodebench.engine import Forward
from decodebench.errors import DecodebenchError
from decodebench.models import LoadedModel, loads, second_fingerprint
from decodebench.records import SCHEMA_VERSION, Counts, FailedCell

_PACKAGES = (
    "decodebench",
    "torch",
    "transformers",
    "accelerate",
    "hydra-core",
    "tokenizers",
    "numpy",
    "pandas",
    "scipy",
)


@dataclass(kw_only=True)
class Progress:
    """What a run learns while it goes on. `models`, `generation_configs` and `failed` are by cell id."""

    models: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    generation_configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, FailedCell] = field(default_factory=dict)
    first_error: DecodebenchError | None = None
    counts: Counts = field(default_factory=Counts)
    memory: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the block's seconds to `seconds[what]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start

    def fail(self, cell: str, error: DecodebenchError | str) -> None:
        """Note that a cell failed."""
        if isinstance(error, DecodebenchError) and self.first_error is None:
            self.first_error = error
        self.failed[cell] = FailedCell(cell=cell, error=str(error))


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

    failed = [f for f in earlier.get("failed", ()) if f["cell"] in cells and f["cell"] not in planned]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.name,
        "status": status,
        "created": earlier.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "decodebench", *sys.argv[1:]]),
        "seed": sorted({entry["seed"] for entry in cells.values()}),
        "git_commit": _git_commit(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "cpu": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "models": section("models", "model", progress.models),
        "second_models": _second_models(plan.jobs) | earlier.get("second_models", {}),
        "prompts": section("prompts", "prompts", {cell: _prompts_entry(job) for cell, job in planned.items()}),
        "cells": [entry | labels[cell] for cell, entry in cells.items()],
        "failed": failed + [asdict(f) for f in progress.failed.values()],
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
        "dtype": loaded.dtype,
        "fingerprint": loaded.fingerprint,
        "parameters": loaded.parameters,
        "licence": loaded.licence,
        "context_length": loaded.context_length,
        "eos_ids": list(loaded.eos_ids),
        "pad_id": loaded.pad_id,
        "forward": forward.path,
        "forward_reason": forward.reason,
        "exactness": forward.exactness,
        "products": products,
        "threads": torch.get_num_threads(),
        "config": asdict(config),
    }


def _second_models(jobs: Iterable[Job]) -> dict[str, str]:
    """The fingerprints of the second models that cells read, by their folder or hub id."""
    places = {job.strategy.second_model for job in jobs}
    known = {place: second_fingerprint(place) for place in places if place}
    return {place: print_ for place, print_ in known.items() if print_}


def _prompts_entry(job: Job) -> dict[str, Any]:
    return {"sha256": job.prompts_sha256, "count": len(job.prompts), "template": job.template}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of this checkout of decodebench; None where it is installed from a wheel."""
    here = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
