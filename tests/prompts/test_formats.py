"""Files as other programs write them: spreadsheets, pandas, exports. Each is read, or one line says what was found."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from decodebench.errors import PromptError
from decodebench.prompts import file_table

ROWS = [{"id": "a", "text": 'x; y,\tz | "q"\n2'}, {"id": "b", "text": "둘, 셋"}]
"""A text with every separator, a quote and a line break in it."""


def rows(path: Path) -> list[dict[str, Any]]:
    return [dict(row.values) for row in file_table(str(path), path).rows]


def written(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_bytes(content.encode())
    return folder / name


def refusal(path: Path) -> str:
    with pytest.raises(PromptError) as error:
        file_table("FILE", path)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- separators -----------------------------------------------------------------------------------------------------


def separated(separator: str, **options: Any) -> str:
    stream = io.StringIO()
    pd.DataFrame(ROWS).to_csv(stream, sep=separator, index=False, **options)
    return stream.getvalue()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [0, 1], ids=["quotes where needed", "quotes everywhere"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_header_tells_the_separator(tmp_path: Path, separator: str, quoting: int, line_end: str) -> None:
    """A spreadsheet of most of Europe, writes semicolons; a pasted table has tabs."""
    content = separated(separator, quoting=quoting, lineterminator=line_end)
    assert rows(written(tmp_path, "p.csv", content)) == ROWS
    assert rows(written(tmp_path, "p.csv", "\ufeff" + content)) == ROWS


@pytest.mark.parametrize("first", ["sep={}\n", "SEP={}\r\n", '"sep={}"\n', "\ufeffsep={}\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_first_line_of_a_spreadsheet_names_the_separator(tmp_path: Path, first: str, separator: str) -> None:
    path = written(tmp_path, "p.csv", first.format(separator) + separated(separator))
    assert rows(path) == ROWS
    assert [row.where for row in file_table("", path).rows] == ["line 3", "line 5"]  # the first text fills two lines


def test_a_separator_that_is_named_is_the_one(tmp_path: Path) -> None:
    """The header alone would say a comma."""
    assert rows(written(tmp_path, "p.csv", "sep=;\nid,text,x;y\n1;2\n")) == [{"id,text,x": "1", "y": "2"}]
    assert refusal(written(tmp_path, "p.csv", "sep=::\nid::text\n")) == (
        "FILE: line 1: sep=::: allowed is a comma, a semicolon, a tab, a bar"
    )
    assert "line 1: sep=: allowed is" in refusal(written(tmp_path, "p.csv", "sep=\nid,text\n"))


def test_of_two_separators_in_the_header_the_one_with_more_columns_holds_and_the_comma_in_a_tie(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "p.csv", "id;text;a,b\n1;2;3\n")) == [{"id": "1", "text": "2", "a,b": "3"}]
    assert rows(written(tmp_path, "p.csv", "id,text;b\n1,2\n")) == [{"id": "1", "text;b": "2"}]
    assert rows(written(tmp_path, "p.csv", '"id;x",text\n1,2\n')) == [{"id;x": "1", "text": "2"}]


def test_a_tsv_has_tabs_alone(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "p.tsv", separated("\t"))) == ROWS
    assert rows(written(tmp_path, "p.tsv", "text\na,b\n")) == [{"text": "a,b"}]


def test_a_table_of_one_column_may_hold_other_separators(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "p.csv", "text\na;b\n\tc | d\n")) == [{"text": "a;b"}, {"text": "\tc | d"}]


def test_what_does_not_fit_names_the_separator_that_was_found(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "p.csv", "id;text\n1;2\n3;4;5\n")) == (
        "FILE: line 3: 3 cells, but the header has 2, separated by a semicolon "
        "(a text with one in it stands in double quotes)"
    )
    assert "1 cells, but the header has 2, separated by a tab" in refusal(written(tmp_path, "p.csv", "id\ttext\na,b\n"))
    assert "(cells are separated by a bar)" in refusal(written(tmp_path, "p.csv", 'id|text\n"a"x|b\n'))


# --- what is left over at the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\r\n\r\n", ",\n", ",\n,\n \n", '"",""\n', "\n,\n\n"])
def test_blank_rows_at_the_end_of_a_table_are_none(tmp_path: Path, end: str) -> None:
    assert rows(written(tmp_path, "p.csv", "id,text\na,b\n" + end)) == [{"id": "a", "text": "b"}]


def test_an_empty_text_in_quotes_is_a_text(tmp_path: Path) -> None:
    """pandas writes an empty text of its only column so; what it means is not for the reader to say."""
    assert rows(written(tmp_path, "p.csv", 'text\na\n""\n\n')) == [{"text": "a"}, {"text": ""}]


@pytest.mark.parametrize("start", ["\n", "\r\n\r\n", "sep=;\n\n"])
def test_blank_lines_before_the_header_are_none(tmp_path: Path, start: str) -> None:
    assert rows(written(tmp_path, "a.csv", start + "id;text\na;x, y\n")) == [{"id": "a", "text": "x, y"}]


def test_a_blank_row_in_the_middle_is_a_row(tmp_path: Path) -> None:
    assert "line 3: 1 cells" in refusal(written(tmp_path, "p.csv", "id,text\na,b\n\nc,d\n"))
    assert rows(written(tmp_path, "p.csv", "id,text\na,b\n,\nc,d\n"))[1] == {"id": "", "text": ""}


@pytest.mark.parametrize(("name", "line"), [("p.txt", "a"), ("p.jsonl", '{"text": "a"}'), ("p.csv", "text\na")])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n", "\r\n\r\n"])
def test_blank_last_lines_are_none_in_every_format_of_lines(tmp_path: Path, name: str, line: str, end: str) -> None:
    assert rows(written(tmp_path, name, line + end)) == [{"text": "a"}]


@pytest.mark.parametrize(
    "content",
    ["id,text,,\na,b,,\n", "id,text,,\na,b\n", "id,text,,\na,b,\n,,,\n", "id,text,\na,b,\n", "id;text;;\na;b;;\n"],
)
def test_columns_without_name_and_value_at_the_end_are_none(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "p.csv", content)
    assert file_table("", path).columns == ["id", "text"]
    assert rows(path) == [{"id": "a", "text": "b"}]


def test_a_value_without_a_name_is_not_dropped(tmp_path: Path) -> None:
    """It may be the rest of a text that has a comma in it and no quotes; so may an empty cell that no header has."""
    for content in ("id,text,,\na,b,c,\n", "id,text,,\na,b,,d\n", "id,text\na,Hello,\n"):
        assert "cells, but the header has 2, separated by a comma" in refusal(written(tmp_path, "p.csv", content))


def test_an_index_of_pandas_is_a_column_like_others(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "p.csv")
    assert rows(tmp_path / "p.csv") == [{"": str(i), **row} for i, row in enumerate(ROWS)]


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_under_either_suffix(tmp_path: Path, name: str, indent: int | None) -> None:
    content = json.dumps(ROWS, indent=indent)
    assert rows(written(tmp_path, name, content)) == ROWS
    path = written(tmp_path, name, f"\ufeff\n {content}\n\n")
    assert rows(path) == ROWS
    assert [row.where for row in file_table("", path).rows] == ["item 1", "item 2"]


@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
def test_lines_are_read_under_either_suffix(tmp_path: Path, name: str) -> None:
    content = "".join(json.dumps(row) + "\n" for row in ROWS)
    assert rows(written(tmp_path, name, content + "  \n")) == ROWS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{\n  "text": "a"\n}\n', "line 1: not JSON: Expecting property name enclosed in double quotes (column 2); "),
        ('[{"text": "a"},\n{"text" "b"}]', "line 2: not JSON: Expecting ':' delimiter (column 9); "),
        ('[{"text": "a"}', "line 1: not JSON: Expecting ',' delimiter (column 15); "),
        ('[{"text": "a"}]\n[{"text": "b"}]', "line 2: not JSON: Extra data (column 1); allowed is an object"),
        ('["a", "b"]', 'item 1: must be a JSON object such as {"text": "..."}'),
        ('[{"text": "a"}, null]', "item 2: must be a JSON object"),
        ('"a"\n', "line 1: must be a JSON object"),
        ("3\n", "line 1: must be a JSON object"),
        ('{"text": "a"}\n{"text": "b", "text": "c"}', "line 2: not readable JSON: the key 'text' is given twice; "),
        ('{"text": "a", "more": {"x": 1, "x": 1}}', "line 1: not readable JSON: the key 'x' is given twice; "),
        ('[{"id": 1, "text": "c", "id": 1}]', "line 1: not readable JSON: the key 'id' is given twice; allowed"),
        ('{"a\\nb": 1, "a\\u000ab": 2}', "line 1: not readable JSON: the key 'a\\nb' is given twice"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
def test_json_that_is_refused(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert refusal(written(tmp_path, name, content)).startswith(f"FILE: {expected}")
