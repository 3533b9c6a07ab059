"""Text whose cells are separated by commas, semicolons, tabs or bars (.csv, .tsv) -> a header, and its rows.

`formats` makes text of a file's bytes.
"""

import csv
import io
from collections.abc import Iterator

from decodebench.errors import PromptError, one_line

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def separated_rows(key: str, text: str, separator: str | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with the number of its first line.

    Without a `separator` it is that of a first line `sep=;` as spreadsheets write it, or else the one that makes the
    most cells of the header, a comma first. Left out are columns without a name at the end, if nothing stands in them,
    and blank lines before the header and at the end. Raises PromptError, which begins with `key`, for what is no such
    text.
    """
    first, _, rest = text.partition("\n")
    declared = first.strip('\r"').lower().startswith("sep=")
    if declared:
        separator, text = first.rstrip("\r").strip('"')[4:], rest
        if separator not in _SEPARATORS:
            raise PromptError(f"{key}: line 1: {first.strip()}: allowed is {', '.join(_SEPARATORS.values())}")
    if separator is None:
        separator = max(_SEPARATORS, key=lambda each: _width(text, each))
    records = _records(key, text, separator, 1 + declared)
    header = next((cells for _, cells in records if cells), [""])
    widest = len(header)
    while len(header) > 1 and not header[-1]:
        header.pop()
    rows = list(records)
    while rows and _blank(rows[-1][1], len(header)):
        rows.pop()
    rows = [(line, cells or [""]) for line, cells in rows]  # a blank line is one empty cell
    for line, cells in rows:
        if not len(header) <= len(cells) <= widest or any(cells[len(header) :]):
            raise PromptError(
                f"{key}: line {line}: {len(cells)} cells, but the header has {len(header)}, separated by "
                f"{_SEPARATORS[separator]} (a text with one in it stands in double quotes)"
            )
    return header, [(line, cells[: len(header)]) for line, cells in rows]


def _width(text: str, separator: str) -> int:
    """How many cells the header has with that separator; 0 where it cannot be read so."""
    try:
        return len(next(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))))
    except (csv.Error, StopIteration):
        return 0


def _records(key: str, text: str, separator: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """Every record with the number of its first line, of which the text's own first is `line`."""
    # newline="" leaves line ends inside quoted cells as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = line - 1
    try:
        for cells in reader:
            yield line, cells
            line = before + reader.line_num + 1
    except csv.Error as error:
        separated = f"(cells are separated by {_SEPARATORS[separator]})"
        raise PromptError(f"{key}: line {line}: not CSV: {one_line(error, 200)} {separated}") from error


def _blank(cells: list[str], width: int) -> bool:
    """Whether a row says nothing. A pair of quotes is an empty text in a table of one column."""
    return not cells or (width > 1 and not any(cell.strip() for cell in cells))
