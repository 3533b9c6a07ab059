"""Records <-> parquet, with a schema made from the record's own fields, and files that are never half-written."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from decodebench.errors import StoreError, one_line

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
    """Write records as parquet, whole or not at all; those of a cell are a row group, where they are in a row."""
    names = [f.name for f in dataclasses.fields(kind)]
    columns = schema(kind)

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, columns) as writer:
            for _, group in groupby(records, key=lambda each: getattr(each, "cell", None)):
                rows = [{name: getattr(each, name) for name in names} for each in group]
                writer.write_table(pa.Table.from_pylist(rows, schema=columns))

    write_whole(path, write)


def read_records(path: Path, kind: type[T], *, optional: bool = False) -> list[T]:
    """Read records back; of an `optional` file that is not there, none. Columns that the record lacks are left alone.

    Raises StoreError for a file that is missing, cut off, or another table.
    """
    with _opened(path, kind, optional) as file:
        return [] if file is None else _records(file.read(_columns(path, kind, file)), kind)


def read_cell(path: Path, kind: type[T], cell: str, *, optional: bool = False) -> list[T]:
    """The records of one cell, without reading the others where each has row groups of its own; as `read_records`."""
    with _opened(path, kind, optional) as file:
        if file is None:
            return []
        columns = _columns(path, kind, file)
        found: list[T] = []
        for group in range(file.num_row_groups):
            if cell in set(file.read_row_group(group, ["cell"])["cell"].to_pylist()):
                table = file.read_row_group(group, columns)
                found += _records(table.filter(pc.field("cell") == cell), kind)
        return found


def cells_of(path: Path, kind: type) -> list[str]:
    """The cells that a table of these records has, in its order. Raises what `read_records` raises."""
    with _opened(path, kind, optional=False) as file:
        _columns(path, kind, file)
        return list(dict.fromkeys(file.read(["cell"])["cell"].to_pylist()))


@contextmanager
def _opened(path: Path, kind: type, optional: bool) -> Iterator[Any]:
    """The file of a table, None for an optional one that is not there."""
    if not path.exists():
        if not optional:
            raise StoreError(
                f"{path}: there is no such file; run the command of the manifest again to complete the run"
            )
        yield None
        return
    try:
        # ParquetFile, not read_table: that one takes a folder named `a=b` for a partition column.
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{path}: cannot be read as {kind.__name__} records, is it cut off? ({one_line(error, 200)})"
        ) from error


def _columns(path: Path, kind: type, file: Any) -> list[str]:
    """The columns of the record that the file has. Raises StoreError where one is missing that must be there."""
    fields, stored = dataclasses.fields(kind), set(file.schema_arrow.names)
    absent = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in stored]
    if absent:
        raise StoreError(f"{path}: has no column {', '.join(absent)}; see docs/run_folder.md")
    return [f.name for f in fields if f.name in stored]


def _records(table: Any, kind: type[T]) -> list[T]:
    return [record(kind, row) for row in table.to_pylist()]


def record(kind: type[T], row: Mapping[str, Any]) -> T:
    """A record from plain values (lists become tuples). Raises TypeError where fields are missing or unknown."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


def write_csv(path: Path, kind: type, records: Iterable[Any]) -> None:
    """Write records as CSV, whole or not at all; None is an empty field."""
    names = [f.name for f in dataclasses.fields(kind)]
    # As objects: a whole number stays one beside a missing value. A tuple becomes its parts.
    rows = [[_in_csv(getattr(r, name)) for name in names] for r in records]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    write_whole(path, lambda temporary: frame.to_csv(temporary, index=False))


def _in_csv(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, tuple) else value


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
        raise StoreError(f"{path}: cannot be written ({error.strerror or one_line(error, 200)})") from error
