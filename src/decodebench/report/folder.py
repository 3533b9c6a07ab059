"""A run folder as the report reads it: a manifest and tables of records (docs/run_folder.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decodebench.errors import StoreError
from decodebench.records import (
    CurvePoint,
    Difference,
    Generation,
    Judgement,
    Measurement,
    Rank,
    StoredPrompt,
    Timing,
)
from decodebench.store import StoredChoice, read_choice, read_manifest, read_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder holds; a table that the run has no need of is empty. `references` are the human ones."""

    path: Path
    manifest: Mapping[str, Any]
    generations: tuple[Generation, ...]
    measurements: tuple[Measurement, ...]
    timings: tuple[Timing, ...]
    references: tuple[Generation, ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    differences: tuple[Difference, ...] = ()
    ranking: tuple[Rank, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    prompts: tuple[StoredPrompt, ...] = ()
    choice: StoredChoice | None = None

    @property
    def errors(self) -> dict[str, str]:
        """The error of each failed cell, by cell id."""
        failed = self.manifest.get("failed") or ()
        return {str(each["cell"]): str(each["error"] or "no reason was recorded") for each in failed}


def load(run_dir: Path) -> Run:
    """Read a run folder.

    A run whose every cell failed may lack its tables; in any other run generations and measurements must be there.
    Raises StoreError, in one line, for a folder that is missing, unreadable, newer than this code or inconsistent.
    """
    manifest = read_manifest(run_dir)
    failed = {str(each["cell"]) for each in manifest["failed"]}
    cells = {str(cell["id"]) for cell in manifest["cells"]}
    may_lack = cells <= failed
    run = Run(
        path=run_dir,
        manifest=manifest,
        generations=tuple(read_records(run_dir / "generations.parquet", Generation, optional=may_lack)),
        measurements=tuple(read_records(run_dir / "measurements.parquet", Measurement, optional=may_lack)),
        timings=tuple(read_records(run_dir / "latency.parquet", Timing, optional=True)),
        references=tuple(read_records(run_dir / "references.parquet", Generation, optional=True)),
        curves=tuple(read_records(run_dir / "curves.parquet", CurvePoint, optional=True)),
        differences=tuple(read_records(run_dir / "differences.parquet", Difference, optional=True)),
        ranking=tuple(read_records(run_dir / "ranking.parquet", Rank, optional=True)),
        judgements=tuple(read_records(run_dir / "judgements.parquet", Judgement, optional=True)),
        prompts=tuple(read_records(run_dir / "prompts.parquet", StoredPrompt, optional=True)),
        choice=read_choice(run_dir),
    )
    _check_cells("generations.parquet", (each.cell for each in run.generations), cells)
    cells |= {str(entry["id"]) for entry in manifest.get("references") or ()}
    _check_cells("references.parquet", (each.cell for each in run.references), cells)
    _check_cells("judgements.parquet", (each.cell for each in run.judgements), cells)
    _check_cells("measurements.parquet", (each.cell for each in run.measurements), cells)
    return run


def _check_cells(name: str, used: Iterable[str], known: set[str]) -> None:
    strangers = sorted(set(used) - known)
    if strangers:
        raise StoreError(f"{name}: cell {strangers[0]!r} is not in manifest.json ({len(strangers)} such cells)")
