"""Records <-> parquet, with a schema made from the record's own fields, and files that are never half-written."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from decodebench.errors import DiskError, StoreError, one_line
from decodebench.store.checking import WrongTableError, checked, column, require_columns

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
    columns = schema(kind)

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, columns) as writer:
            for _, group in groupby(records, key=lambda each: getattr(each, "cell", None)):
                writer.write_table(as_table(kind, group))

    write_whole(path, write)


def as_table(kind: type, records: Iterable[Any]) -> pa.Table:
    """Records as the table that parquet holds. Raises what pyarrow does for a value that its column cannot hold."""
    names = [f.name for f in dataclasses.fields(kind)]
    return pa.Table.from_pylist([{name: getattr(each, name) for name in names} for each in records], schema(kind))


def read_records(path: Path, kind: type[T], *, optional: bool = False) -> list[T]:
    """Read records back; of an `optional` file that is not there, none. Columns that the record lacks are left alone.

    Raises StoreError for a file that is missing, cut off, or another table, and for values that cannot be of these
    records (`store.checking`).
    """
    with opened(path, kind, optional=optional) as file:
        return [] if file is None else _records(checked(file.read(_columns(kind, file)), kind, schema(kind)), kind)


def read_cell(path: Path, kind: type[T], cell: str, *, optional: bool = False) -> list[T]:
    """The records of one cell, without reading the others where each has row groups of its own; as `read_records`."""
    with opened(path, kind, optional=optional) as file:
        return [] if file is None else _records(rows_of_cell(file, kind, cell), kind)


def rows_of_cell(file: Any, kind: type, cell: str) -> pa.Table:
    """The rows of one cell in the file of a table, checked; as `read_cell`."""
    columns = _columns(kind, file)
    found = [checked(schema(kind).empty_table(), kind, schema(kind)).select(columns)]
    for group in range(file.num_row_groups):
        if cell in set(file.read_row_group(group, ["cell"])["cell"].to_pylist()):
            table = checked(file.read_row_group(group, columns), kind, schema(kind))
            found.append(table.filter(pc.field("cell") == cell))
    return pa.concat_tables(found)


def cells_of(path: Path, kind: type) -> list[str]:
    """The cells that a table of these records has, in its order. Raises what `read_records` raises."""
    with opened(path, kind) as file:
        _columns(kind, file)
        cells = column(schema(kind).field("cell"), file.read(["cell"])["cell"], str)
        return list(dict.fromkeys(cells.to_pylist()))


@contextmanager
def opened(path: Path, kind: type, *, optional: bool = False) -> Iterator[Any]:
    """The file of a table, None for an optional one that is not there; what goes wrong with it becomes a StoreError."""
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
    except WrongTableError as error:
        raise StoreError(f"{path}: {error}") from error
    except (OSError, ValueError, pa.ArrowException) as error:  # a text that is not UTF-8 is a ValueError
        raise StoreError(
            f"{path}: cannot be read as {kind.__name__} records, is it cut off? ({one_line(error, 200)})"
        ) from error


def _columns(kind: type, file: Any) -> list[str]:
    """The columns of the record that the file has. Raises WrongTableError where one is missing that must be there."""
    require_columns(file.schema_arrow.names, kind)
    return [f.name for f in dataclasses.fields(kind) if f.name in file.schema_arrow.names]


def _records(table: pa.Table, kind: type[T]) -> list[T]:
    return [
        kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
        for row in table.to_pylist()
    ]


def records_of(rows: Sequence[Any], kind: type[T]) -> list[T]:
    """Records from the objects of JSON. Raises ValueError where they cannot be such records."""
    for row in rows:
        if not isinstance(row, dict):
            raise WrongTableError(f"it is no object: {one_line(row, 60)}")
        require_columns(row, kind)
    try:
        return _records(checked(pa.Table.from_pylist(list(rows), schema(kind)), kind, schema(kind)), kind)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise WrongTableError(one_line(error, 200)) from error


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
    """Let `write` fill a temporary sibling, then put it in place. Raises DiskError where the disk refuses."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror or one_line(error, 200)})") from error
    finally:
        with suppress(OSError):  # it is there only where something went wrong
            temporary.unlink()
