"""A run from its plan to its report: load each model once, decode its cells together, time them, score, render."""

import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from decodebench.cells import Job, Plan, strategy_labels
from decodebench.decoding import Prepared, decode_cells, prepare
from decodebench.deploy import generation_config_fields
from decodebench.engine import Forward, choose_rows
from decodebench.errors import DecodebenchError
from decodebench.latency import TimedCall, measure_latency
from decodebench.models import LoadedModel, load, loads, vocabulary
from decodebench.records import SCHEMA_VERSION, Counts, FailedCell, Timing
from decodebench.score import score_run
from decodebench.store import RunStore, locked

log = logging.getLogger(__name__)

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


class RunFailedError(DecodebenchError):
    """Some cells of a finished run could not be decoded; the others are in its report."""

    exit_code = 1


@dataclass(kw_only=True)
class Progress:
    """What a run has to say of itself while it goes on; it becomes the manifest."""

    models: dict[str, Any] = field(default_factory=dict)
    generation_configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, FailedCell] = field(default_factory=dict)
    first_error: DecodebenchError | None = None
    counts: Counts = field(default_factory=Counts)
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


def execute(plan: Plan, *, adds: bool = False, echo: Callable[[str], None] = print) -> Path:
    """Decode, time, score and report a plan; returns the run folder.

    `adds` is for launchers that hand over one cell after the other: cells already stored are kept beside the plan's.
    Raises the error itself where no cell could be started (nothing is written then), RunFailedError where some failed.
    """
    from decodebench.report import render

    progress = Progress()
    with locked(plan.run_dir):
        store = RunStore(plan.run_dir)
        if not adds:
            store.refuse_foreign(job.cell.id for job in plan.jobs)
        try:
            timings = _decode_and_time(plan, store, progress)
            _finish(plan, store, progress, timings)
        finally:
            store.close()
        with progress.timed("score"):
            score_run(plan.run_dir, unit=plan.metrics.unit)
        report = render(plan.run_dir)
    echo(report.table)
    echo(f"\nreport: {report.html}")
    if progress.failed:
        raise RunFailedError(
            f"{len(progress.failed)} of {len(plan.jobs)} cells failed; the reasons are in {report.html}"
        )
    return plan.run_dir


def _decode_and_time(plan: Plan, store: RunStore, progress: Progress) -> list[Timing]:
    """Every model in turn: load, check, decode, time."""
    timings: list[Timing] = []
    by_model: dict[str, list[Job]] = {}
    for job in plan.jobs:
        by_model.setdefault(repr(job.model), []).append(job)
    for jobs in by_model.values():
        try:
            with progress.timed("load"):
                loaded = load(jobs[0].model, announce=log.info)
                store.refuse_other_weights(loaded.name, loaded.fingerprint, loaded.dtype)
                forward = choose_rows(loaded.model, loaded.device, vocabulary(loaded.model))
        except DecodebenchError as error:
            for job in jobs:
                progress.fail(job.cell.id, error)
            continue
        prepared = _prepare(jobs, loaded, progress)
        if not prepared:
            continue
        if forward.path != "cached":
            log.warning("%s is decoded without a cache, slowly: %s", loaded.name, forward.reason)
        progress.models[loaded.name] = _model_entry(loaded, forward, jobs[0])
        store.begin(_manifest(plan, store, progress, "running"))
        with progress.timed("decode"):
            counts = decode_cells(
                prepared,
                loaded,
                forward,
                max_rows=plan.engine.max_rows,
                store=store,
                failure=progress.fail,
            )
        progress.counts = _sum(progress.counts, counts)
        with progress.timed("latency"):
            timings += _time(plan, prepared, loaded, store, progress)
    if progress.first_error is not None and not progress.models:
        raise progress.first_error
    return timings


def _prepare(jobs: Sequence[Job], loaded: LoadedModel, progress: Progress) -> list[Prepared]:
    prepared = []
    for job in jobs:
        try:
            prepared.append(prepare(job, loaded))
        except DecodebenchError as error:
            progress.fail(job.cell.id, error)
        else:
            progress.generation_configs[job.cell.id] = prepared[-1].generation_config
    return prepared


def _time(
    plan: Plan, prepared: Sequence[Prepared], loaded: LoadedModel, store: RunStore, progress: Progress
) -> list[Timing]:
    """The timed pass over the cells of one model; rows that the folder already has are kept if they are complete."""
    config = plan.latency
    cells = [p for p in prepared if p.job.cell.id not in progress.failed]
    if config.rounds == 0 or not cells:
        return []
    calls = []
    for one in cells:
        strategy = one.job.strategy
        fields_ = generation_config_fields(
            strategy, eos_ids=(), pad_id=loaded.pad_id, limit=config.new_tokens, min_new_tokens=0
        )
        prompts = dict.fromkeys((r.prompt_id, r.prompt_ids) for r in one.requests)
        for prompt_id, prompt_ids in list(prompts)[: config.prompts]:
            calls.append(
                TimedCall(
                    cell=one.job.cell.id,
                    model=one.job.cell.model,
                    strategy=one.job.cell.strategy,
                    prompt_id=prompt_id,
                    prompt_ids=prompt_ids,
                    fields=fields_,
                )
            )
    wanted = {(c.cell, c.prompt_id, r) for c in calls for r in range(config.rounds)}
    stored = [t for t in store.timings if (t.cell, t.prompt_id, t.round) in wanted]
    if len(stored) == len(wanted) and all(t.new_tokens == config.new_tokens for t in stored):
        return stored
    with tqdm(total=len(calls) * (config.warmups + config.rounds), unit="call", desc="timing", disable=None) as bar:
        return measure_latency(loaded, calls, config, tick=lambda: bool(bar.update()))


def _finish(plan: Plan, store: RunStore, progress: Progress, timings: Sequence[Timing]) -> None:
    """Turn the journal into the tables, in the order of the manifest, and close the manifest."""
    manifest = _manifest(plan, store, progress, "failed" if progress.failed else "complete")
    labels = {cell["id"]: cell["strategy"] for cell in manifest["cells"]}
    order = {cell: n for n, cell in enumerate(labels)}
    place = {(j.cell.id, p.id): n for j in plan.jobs for n, p in enumerate(j.prompts)}
    kept = [_relabelled(g, labels) for g in store.generations.values() if g.cell in order]
    kept.sort(key=lambda g: (order[g.cell], place.get((g.cell, g.prompt_id), 0), g.sample))
    timed = {t.cell for t in timings}
    others = [t for t in store.timings if t.cell not in timed and t.cell in order and plan.latency.rounds]
    all_timings = sorted((_relabelled(t, labels) for t in (*others, *timings)), key=lambda t: (order[t.cell], t.round))
    store.finish(kept, all_timings)
    store.write_manifest(manifest)


def _relabelled(record: Any, labels: Mapping[str, str]) -> Any:
    """The record with today's label of its cell: a larger grid may need more numbers in it."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return type(record)(**values | {"strategy": labels[record.cell]})


def _manifest(plan: Plan, store: RunStore, progress: Progress, status: str) -> dict[str, Any]:
    """All that is needed to repeat the run."""
    earlier = dict(store.manifest)
    cells = {c["id"]: c for c in earlier.get("cells", ())}
    for job in plan.jobs:
        known = progress.generation_configs.get(job.cell.id) or cells.get(job.cell.id, {}).get("generation_config")
        cells[job.cell.id] = asdict(job.cell) | {"generation_config": known}
    labels = strategy_labels({cell: entry["config"]["strategy"] for cell, entry in cells.items()})
    planned = {job.cell.id for job in plan.jobs}
    failed = [f for f in earlier.get("failed", ()) if f["cell"] not in planned]
    sets = {j.cell.prompts: _prompts_entry(j) for j in plan.jobs}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.name,
        "status": status,
        "created": earlier.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m decodebench", *sys.argv[1:]]),
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
        "models": earlier.get("models", {}) | progress.models,
        "prompts": earlier.get("prompts", {}) | sets,
        "cells": [entry | {"strategy": labels[cell]} for cell, entry in cells.items()],
        "failed": failed + [asdict(f) for f in progress.failed.values()],
        "counts": asdict(progress.counts),
        "model_loads": list(loads()),
        "seconds": {what: round(seconds, 3) for what, seconds in progress.seconds.items()},
    }


def _model_entry(loaded: LoadedModel, forward: Forward, job: Job) -> dict[str, Any]:
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
        "config": asdict(job.model),
    }


def _prompts_entry(job: Job) -> dict[str, Any]:
    return {"sha256": job.prompts_sha256, "count": len(job.prompts), "template": job.template}


def _sum(a: Counts, b: Counts) -> Counts:
    names = [f.name for f in fields(Counts)]
    return Counts(**{name: getattr(a, name) + getattr(b, name) for name in names})


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
