"""What the columns of a table say: values at a name or a path into nested ones, texts, labels and references.

`at` is what a PromptError begins with.
"""

import json
from collections.abc import Mapping, Sequence

from decodebench.errors import PromptError, allowed_names
from decodebench.prompts.formats import Table

_LARGEST_WHOLE = 2.0**53
"""From here on a float no longer tells a whole number from its neighbour."""


def value_at(values: Mapping[str, object], column: str) -> object:
    """The value of a column, or of a path into nested values: `answers.text.0` is the first of the list `text` in the
    object `answers`. A column that has the whole name goes before a path. None where there is nothing."""
    if column in values:
        return values[column]
    found: object = values
    for part in column.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, Sequence) and not isinstance(found, str) and part.isdecimal() and part.isascii():
            found = found[int(part)] if int(part) < len(found) else None
        else:
            return None
    return found


def has_column(table: Table, column: str) -> bool:
    """Whether a table has a column of this name, or in some row a value at this path."""
    return column in table.columns or any(value_at(row.values, column) is not None for row in table.rows)


def require_column(key: str, setting: str, column: str, table: Table) -> None:
    """Raise PromptError where a table has no such column; `setting` is what named it."""
    if not has_column(table, column):
        raise PromptError(f"{key}: {setting}={column}: no such column; {allowed_names(column, table.columns)}")


def text_value(at: str, column: str, value: object) -> str:
    """A value that must be a text of whole characters."""
    if not isinstance(value, str):
        shown = "null or missing" if value is None else f"{type(value).__name__} {value!r:.80}"
        raise PromptError(f"{at}: {column} must be a string, it is {shown}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"{at}: {column} has half of a surrogate pair at character {error.start}") from error
    return value


def label_value(at: str, column: str, value: object) -> str:
    """A name: a text that is not empty, or a whole number, which a column with gaps makes 7.0 of 7."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_WHOLE:
        value = int(value)
    text = text_value(at, column, str(value) if type(value) is int else value)
    if not text.strip():
        raise PromptError(f"{at}: empty {column}")
    return text


def reference_values(at: str, columns: Sequence[str], values: Mapping[str, object], table: Table) -> tuple[str, ...]:
    """The references of a row: a text or a list of texts in each of the columns, each once. What is empty or null is a
    missing one, since CSV cannot tell the two apart; a cell of CSV may hold a list as JSON."""
    found: list[str] = []
    for column in columns:
        value = value_at(values, column)
        if table.texts_only:
            value = _json_list(at, column, value)
        each = value if isinstance(value, list | tuple) else [value]
        found += [text_value(at, column, one) for one in each if one is not None and one != ""]
    return tuple(dict.fromkeys(found))


def _json_list(at: str, column: str, cell: object) -> object:
    """The list that a cell is in JSON; the cell itself where it is none."""
    if not isinstance(cell, str) or not cell.strip().startswith("["):
        return cell
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):  # a text that begins with a bracket
        return cell
    if not all(one is None or isinstance(one, str) for one in found):
        raise PromptError(
            f'{at}: {column}: the list {cell!r:.80} must hold strings alone, such as ["a", "b"]; a single text that '
            "looks like a list is written as a list of this one"
        )
    return found
