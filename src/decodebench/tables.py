"""Records <-> parquet, with a schema made from the record's own fields, and files that are never half-written."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from decodebench.errors import StoreError

T = TypeVar("T")

_ARROW: dict[Any, Any] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    tuple[int, ...]: pa.list_(pa.int64()),
    tuple[float, ...]: pa.list_(pa.float64()),
    tuple[str, ...]: pa.list_(pa.string()),
}


def schema(kind: type) -> pa.Schema:
    """The parquet columns of a record type, in the order of its fields."""
    hints = typing.get_type_hints(kind)
    return pa.schema([(f.name, _arrow(hints[f.name])) for f in dataclasses.fields(kind)])


def _arrow(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return pa.string()
    if origin in (types.UnionType, typing.Union):
        return _arrow(next(a for a in arguments if a is not types.NoneType))
    return _ARROW[hint]


def write_records(path: Path, kind: type, records: Iterable[Any]) -> None:
    """Write records as parquet, whole or not at all."""
    names = [f.name for f in dataclasses.fields(kind)]
    rows = [{name: getattr(record, name) for name in names} for record in records]
    table = pa.Table.from_pylist(rows, schema=schema(kind))
    write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read_records(path: Path, kind: type[T], *, optional: bool = False) -> list[T]:
    """Read records back; of an `optional` file that is not there, none. Columns that the record lacks are left alone.

    Raises StoreError for a file that is missing, cut off, or another table.
    """
    if not path.exists():
        if optional:
            return []
        raise StoreError(f"{path}: there is no such file; run the command of the manifest again to complete the run")
    try:
        # ParquetFile, not read_table: that one takes a folder named `a=b` for a partition column.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{path}: cannot be read as {kind.__name__} records, is it cut off? ({_one_line(error)})"
        ) from error
    columns = dataclasses.fields(kind)  # type: ignore[arg-type]
    stored = set(table.column_names)
    absent = [f.name for f in columns if f.default is dataclasses.MISSING and f.name not in stored]
    if absent:
        raise StoreError(f"{path}: has no column {', '.join(absent)}; see docs/run_folder.md")
    rows = table.select([f.name for f in columns if f.name in stored]).to_pylist()
    return [record(kind, row) for row in rows]


def record(kind: type[T], row: Mapping[str, Any]) -> T:
    """A record from plain values (lists become tuples). Raises TypeError where fields are missing or unknown."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


def write_csv(path: Path, kind: type, records: Iterable[Any]) -> None:
    """Write records as CSV, whole or not at all; None is an empty field."""
    names = [f.name for f in dataclasses.fields(kind)]
    frame = pd.DataFrame([[getattr(r, name) for name in names] for r in records], columns=names)
    write_whole(path, lambda temporary: frame.to_csv(temporary, index=False))


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary sibling, then put it in place. Raises StoreError where the disk refuses."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error.strerror or _one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
