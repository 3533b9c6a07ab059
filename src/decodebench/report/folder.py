"""A run folder as the report reads it: a manifest and tables of records (docs/run_folder.md)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from decodebench.errors import StoreError
from decodebench.records import SCHEMA_VERSION, Generation, Measurement, Timing

RecordT = TypeVar("RecordT", Generation, Measurement, Timing)
CELL_KEYS = ("id", "model", "prompts", "strategy", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder holds. `timings` is empty where the run has no latency.parquet."""

    path: Path
    manifest: Mapping[str, Any]
    generations: tuple[Generation, ...]
    measurements: tuple[Measurement, ...]
    timings: tuple[Timing, ...]

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
    if not run_dir.is_dir():
        raise StoreError(f"run={run_dir}: there is no such folder; allowed: a folder with manifest.json")
    manifest = read_manifest(run_dir / "manifest.json")
    failed = {str(each["cell"]) for each in manifest.get("failed") or ()}
    cells = {str(cell["id"]) for cell in manifest["cells"]}
    may_lack = cells <= failed
    run = Run(
        path=run_dir,
        manifest=manifest,
        generations=read_records(run_dir / "generations.parquet", Generation, optional=may_lack),
        measurements=read_records(run_dir / "measurements.parquet", Measurement, optional=may_lack),
        timings=read_records(run_dir / "latency.parquet", Timing, optional=True),
    )
    _check_cells("generations.parquet", (each.cell for each in run.generations), cells)
    _check_cells("measurements.parquet", (each.cell for each in run.measurements), cells)
    return run


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest, once it is known to be of a version this code reads and to name its cells."""
    try:
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{path}: there is no manifest; allowed: the folder of a finished run") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({_one_line(error)})") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise StoreError(f"{path}: schema_version={version!r}; this decodebench reads 1 to {SCHEMA_VERSION}")
    for key, wanted in (("cells", CELL_KEYS), ("failed", ("cell", "error"))):
        for entry in manifest.setdefault(key, []) or ():
            absent = [name for name in wanted if name not in entry]
            if absent:
                raise StoreError(f"{path}: an entry of {key} has no {', '.join(absent)}")
    return dict(manifest)


def read_records(path: Path, kind: type[RecordT], *, optional: bool) -> tuple[RecordT, ...]:
    """The rows of a parquet file as records. Columns the record does not have are left for newer readers."""
    if not path.exists():
        if optional:
            return ()
        raise StoreError(f"{path}: there is no such file; run the command of the manifest again to complete the run")
    try:
        # ParquetFile, not read_table: that one takes a folder named `a=b` for a partition column.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read as parquet, is it cut off? ({_one_line(error)})") from error
    stored = set(table.column_names)
    absent = [each.name for each in fields(kind) if each.default is MISSING and each.name not in stored]
    if absent:
        raise StoreError(f"{path}: has no column {', '.join(absent)}; see docs/run_folder.md")
    rows = table.select([each.name for each in fields(kind) if each.name in stored]).to_pylist()
    return tuple(kind(**{name: _frozen(value) for name, value in row.items()}) for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_cells(name: str, used: Iterable[str], known: set[str]) -> None:
    strangers = sorted(set(used) - known)
    if strangers:
        raise StoreError(f"{name}: cell {strangers[0]!r} is not in manifest.json ({len(strangers)} such cells)")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
