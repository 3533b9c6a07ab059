"""Where prompts come from: inline items, files (.txt, .jsonl, .csv, .parquet) and data sets of the hub, read as tables.

A table has column names, and rows that know where they came from ("line 3", "row 3", "item 3") for the messages of
errors. What the values mean is not decided here (prompts.py does). Every function takes `key`, the "key=value" of the
configuration that a PromptError names.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from decodebench.errors import PromptError, allowed_names, one_line


class Row(NamedTuple):
    """One prompt to be: where it stands, and its values by column."""

    where: str
    values: Mapping[str, object]


class Table(NamedTuple):
    """Column names, then rows; a row may lack a column (jsonl and inline items do)."""

    columns: list[str]
    rows: list[Row]


def inline_table(key: str, items: Sequence[Any], allowed: Sequence[str]) -> Table:
    """The items of a configuration: mappings with `allowed` keys."""
    rows = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise PromptError(f"{key}: item {number}: must be a mapping, not {item!r:.80}")
        for name in item:
            if name not in allowed:
                raise PromptError(f"{key}: item {number}: key {name}: {allowed_names(str(name), allowed)}")
        rows.append(Row(f"item {number}", item))
    return _table_of(rows)


def hub_table(
    key: str, dataset_id: str, config_name: str | None, split: str, revision: str | None, limit: int | None
) -> Table:
    """The first `limit` rows (None: all) of one split, through `datasets.load_dataset`."""
    try:
        import datasets  # an optional extra, and slow to import
    except ImportError as error:
        raise PromptError(f"{key}: needs the package datasets: pip install 'decodebench[hub]'") from error
    try:
        data = datasets.load_dataset(dataset_id, name=config_name, split=split, revision=revision)
    except ConnectionError as error:
        raise PromptError(
            f"{key}: the hub cannot be reached ({one_line(error, 200)}): connect and unset HF_HUB_OFFLINE, "
            "or save the prompts as a file and use prompts=file prompts.path=..."
        ) from error
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise PromptError(f"{key}: cannot be loaded with prompts.split={split}: {one_line(error, 200)}") from error
    n_rows = len(data) if limit is None else min(limit, len(data))
    return Table(list(data.column_names), [Row(f"row {i + 1}", data[i]) for i in range(n_rows)])


def file_table(key: str, path: Path) -> Table:
    """The rows of a file, whose suffix names its format. A .txt holds one prompt a line, in the column `text`."""
    if path.is_dir():
        raise PromptError(f"{key}: is a folder; give a file ({', '.join(FILE_SUFFIXES)})")
    if not path.is_file():
        raise PromptError(f"{key}: no such file (looked for {path.absolute()})")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise PromptError(f"{key}: unknown suffix {suffix or '(none)'}: {allowed_names(suffix, FILE_SUFFIXES)}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PromptError(f"{key}: cannot be read: {error.strerror}") from error
    if not raw.removeprefix(b"\xef\xbb\xbf").strip():
        raise PromptError(f"{key}: the file is empty")
    table = _READERS[suffix](key, raw)
    for column in table.columns:
        if table.columns.count(column) > 1:
            raise PromptError(f"{key}: two columns are named {column!r}")
    return table


def text_value(at: str, column: str, value: object) -> str:
    """A value that must be a text of whole characters; `at` is what a PromptError begins with."""
    if not isinstance(value, str):
        shown = "null or missing" if value is None else f"{type(value).__name__} {value!r:.80}"
        raise PromptError(f"{at}: {column} must be a string, it is {shown}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"{at}: {column} has half of a surrogate pair at character {error.start}") from error
    return value


def _txt_table(key: str, raw: bytes) -> Table:
    lines = _lines(_decoded(key, raw))
    return Table(["text"], [Row(f"line {number}", {"text": line}) for number, line in enumerate(lines, start=1)])


def _jsonl_table(key: str, raw: bytes) -> Table:
    rows = []
    for number, line in enumerate(_lines(_decoded(key, raw)), start=1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise PromptError(f"{key}: line {number}: not JSON: {error.msg} (column {error.colno})") from error
        except (ValueError, RecursionError) as error:  # a number, or a nesting, beyond what Python reads
            raise PromptError(f"{key}: line {number}: not readable JSON: {one_line(error, 200)}") from error
        if not isinstance(values, dict):
            raise PromptError(f'{key}: line {number}: must be a JSON object such as {{"text": "..."}}')
        rows.append(Row(f"line {number}", values))
    return _table_of(rows)


def _csv_table(key: str, raw: bytes) -> Table:
    # newline="" leaves line ends inside quoted cells as they are; a row is named by the line where it begins.
    reader = csv.reader(io.StringIO(_decoded(key, raw), newline=""), strict=True)
    header: list[str] = []
    rows = []
    line = 1
    try:
        for cells in reader:
            if line == 1:
                header = cells
            else:
                cells = cells or [""]  # a blank line is one empty cell
                if len(cells) != len(header):
                    raise PromptError(f"{key}: line {line}: {len(cells)} cells, but the header has {len(header)}")
                rows.append(Row(f"line {line}", dict(zip(header, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise PromptError(f"{key}: line {line}: not CSV: {one_line(error, 200)}") from error
    return Table(header, rows)


def _parquet_table(key: str, raw: bytes) -> Table:
    import pyarrow as pa  # slow to import, and only needed here
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(raw)).read()
    except (pa.ArrowException, OSError) as error:
        raise PromptError(f"{key}: not a readable parquet file: {one_line(error, 200)}") from error
    rows = [Row(f"row {number}", values) for number, values in enumerate(table.to_pylist(), start=1)]
    return Table(list(table.column_names), rows)


_READERS: dict[str, Callable[[str, bytes], Table]] = {
    ".txt": _txt_table,
    ".jsonl": _jsonl_table,
    ".csv": _csv_table,
    ".parquet": _parquet_table,
}
FILE_SUFFIXES = tuple(_READERS)


def _decoded(key: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PromptError(f"{key}: not UTF-8 at byte {error.start} (line {line}); save the file as UTF-8") from error


def _lines(text: str) -> list[str]:
    """Split at \\n and \\r\\n alone: splitlines() would also cut at characters that may stand inside a prompt."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _table_of(rows: list[Row]) -> Table:
    return Table(list(dict.fromkeys(str(column) for row in rows for column in row.values)), rows)
