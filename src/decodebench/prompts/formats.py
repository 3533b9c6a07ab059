"""The formats of a prompt file, by its suffix: bytes -> a table.

A table has column names, and rows that know where they came from ("line 3", "row 3", "item 3") for the messages of
errors. Every reader takes `key`, what a PromptError begins with.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from decodebench.errors import PromptError, one_line
from decodebench.prompts.separated import separated_rows


class Row(NamedTuple):
    """One prompt to be: where it stands, and its values by column."""

    where: str
    values: Mapping[str, object]


class Table(NamedTuple):
    """Column names, then rows; a row may lack a column (JSON and inline items do). `texts_only`: a cell can only be a
    text (CSV)."""

    columns: list[str]
    rows: list[Row]
    texts_only: bool = False


def table_of(rows: list[Row]) -> Table:
    """Rows that have columns of their own as a table."""
    return Table(list(dict.fromkeys(str(column) for row in rows for column in row.values)), rows)


def _txt_table(key: str, raw: bytes) -> Table:
    lines = _lines(_decoded(key, raw))
    rows = [Row(f"line {number}", {"text": line}) for number, line in enumerate(lines, start=1)]
    return Table(["text"], rows, texts_only=True)


def _json_table(key: str, raw: bytes) -> Table:
    """An object on each line, or one array of objects; which of both is told by the first sign, not by the suffix."""
    text = re.sub(r"\n\s*\Z", "", _decoded(key, raw))
    if text.lstrip().startswith("["):
        return table_of([_object(key, f"item {i}", item) for i, item in enumerate(_json(key, text, 1), start=1)])
    lines = enumerate(_lines(text), start=1)
    return table_of([_object(key, f"line {number}", _json(key, line, number)) for number, line in lines])


def _json(key: str, text: str, line: int) -> Any:
    """What the text says; it begins at that line of the file."""
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"{key}: line {line + error.lineno - 1}: not JSON: {error.msg} (column {error.colno}); "
            "allowed is an object on each line, or one array of objects"
        ) from error
    except (ValueError, RecursionError) as error:  # a number, or a nesting, beyond what Python reads; a key twice
        raise PromptError(f"{key}: line {line}: not readable JSON: {one_line(error, 200)}") from error


def _distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys differ: the second of two equal keys would win silently."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r:.80} is given twice; allowed is once")
        found[name] = value
    return found


def _object(key: str, where: str, values: object) -> Row:
    if not isinstance(values, dict):
        raise PromptError(f'{key}: {where}: must be a JSON object such as {{"text": "..."}}')
    return Row(where, values)


def _separated_table(key: str, raw: bytes, separator: str | None = None) -> Table:
    header, rows = separated_rows(key, _decoded(key, raw), separator)
    table = [Row(f"line {line}", dict(zip(header, cells, strict=True))) for line, cells in rows]
    return Table(header, table, texts_only=True)


def _parquet_table(key: str, raw: bytes) -> Table:
    import pyarrow as pa  # slow to import, and only needed here
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(raw)).read()
    except (pa.ArrowException, OSError) as error:
        raise PromptError(f"{key}: not a readable parquet file: {one_line(error, 200)}") from error
    rows = [Row(f"row {number}", values) for number, values in enumerate(table.to_pylist(), start=1)]
    return Table(list(table.column_names), rows)


READERS: dict[str, Callable[[str, bytes], Table]] = {
    ".txt": _txt_table,
    ".jsonl": _json_table,
    ".json": _json_table,
    ".csv": _separated_table,
    ".tsv": partial(_separated_table, separator="\t"),
    ".parquet": _parquet_table,
}


GZ = ".gz"
"""May follow the suffix of any format."""


def split_name(path: Path) -> tuple[str, str]:
    """The name of a file and the suffix of its format in small letters, a last .gz taken from both."""
    plain = path.with_suffix("") if path.suffix.lower() == GZ else path
    return plain.stem, plain.suffix.lower()


def unpacked(key: str, path: Path, raw: bytes) -> bytes:
    """The bytes of a file, out of gzip where its name ends in .gz."""
    if path.suffix.lower() != GZ:
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise PromptError(f"{key}: not a readable gzip file: {one_line(error, 200)}") from error


def _decoded(key: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PromptError(f"{key}: not UTF-8 at byte {error.start} (line {line}); save the file as UTF-8") from error


def _lines(text: str) -> list[str]:
    """The lines up to the last one that is not empty.

    Split at \\n and \\r\\n alone: splitlines() would also cut at characters that may stand inside a prompt.
    """
    return [line.removesuffix("\r") for line in text.rstrip("\r\n").split("\n")]
