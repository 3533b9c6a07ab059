"""Tables read cell by cell: from row groups of their own, from old files with one, and from what is no such table."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decodebench.errors import StoreError
from decodebench.records import Difference, Generation
from decodebench.store.tables import cells_of, read_cell, read_records, schema, write_records
from metrics_data import generation

A = [generation([1, 2], cell="a", prompt_id=f"p{at}", text=f"가 {at}") for at in range(3)]
B = [generation([3], cell="b", prompt_id=f"p{at}") for at in range(2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "generations.parquet"


def old(path: Path, texts: list[Generation], *, without: tuple[str, ...] = ()) -> Path:
    """The file as it was written before: one row group for all, and without newer columns."""
    kept = [field for field in schema(Generation) if field.name not in without]
    rows = [{name: value for name, value in asdict(text).items() if name not in without} for text in texts]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kept)), path)
    return path


def groups(path: Path) -> list[int]:
    file = pq.ParquetFile(path)
    return [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]


def test_each_cell_is_a_row_group(path: Path) -> None:
    write_records(path, Generation, [*A, *B])
    assert groups(path) == [3, 2]
    assert (read_cell(path, Generation, "a"), read_cell(path, Generation, "b")) == (A, B)
    assert read_cell(path, Generation, "c") == []
    assert cells_of(path, Generation) == ["a", "b"]
    assert read_records(path, Generation) == [*A, *B]


def test_texts_of_a_cell_that_are_not_in_a_row(path: Path) -> None:
    write_records(path, Generation, (A[0], B[0], A[1], A[2], B[1]))
    assert groups(path) == [1, 1, 2, 1]
    assert (read_cell(path, Generation, "a"), read_cell(path, Generation, "b")) == (A, B)
    assert cells_of(path, Generation) == ["a", "b"]


def test_an_old_file_has_one_group_for_all(path: Path) -> None:
    old(path, [B[0], *A, B[1]], without=("is_search", "accepted_tokens"))
    assert groups(path) == [5]
    assert (read_cell(path, Generation, "a"), read_cell(path, Generation, "b")) == (A, B)
    assert cells_of(path, Generation) == ["b", "a"]


def test_other_columns_are_left_alone(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([asdict(A[0]) | {"note": "new"}]), path)
    assert read_cell(path, Generation, "a") == A[:1]


def test_a_table_without_rows(path: Path) -> None:
    write_records(path, Generation, [])
    assert groups(path) == []
    assert read_cell(path, Generation, "a") == cells_of(path, Generation) == read_records(path, Generation) == []
    assert pq.read_schema(path).names == schema(Generation).names


def test_records_of_no_cell_are_one_group(tmp_path: Path) -> None:
    path = tmp_path / "differences.parquet"
    each = Difference(
        model="m", prompts="p", strategy="b", against="a", metric="x", value=None, reason="why", unit="1",
        direction="none", n=0, ci_low=None, ci_high=None, p=None, p_holm=None, comparisons=0, detectable=None,
        verdict="cannot tell", version="1",
    )  # fmt: skip
    write_records(path, Difference, [each, each])
    assert groups(path) == [2]
    assert read_records(path, Difference) == [each, each]


def test_a_file_that_is_not_there(path: Path) -> None:
    assert read_cell(path, Generation, "a", optional=True) == []
    for read in (lambda: read_cell(path, Generation, "a"), lambda: cells_of(path, Generation)):
        with pytest.raises(StoreError, match="there is no such file; run the command of the manifest again"):
            read()


@pytest.mark.parametrize("optional", [False, True])
def test_a_file_that_is_no_such_table(path: Path, optional: bool) -> None:
    def readings():
        yield lambda: read_cell(path, Generation, "a", optional=optional)
        yield lambda: read_records(path, Generation, optional=optional)
        yield lambda: cells_of(path, Generation)

    old(path, A)
    path.write_bytes(path.read_bytes()[:-30])
    for read in readings():
        with pytest.raises(StoreError, match=r"cannot be read as Generation records, is it cut off\?") as error:
            read()
        assert "\n" not in str(error.value)
    old(path, A, without=("cell", "text"))
    for read in readings():
        with pytest.raises(StoreError, match=r"has no column cell, text; see docs/run_folder.md"):
            read()
