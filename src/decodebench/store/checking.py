"""A table at the door: whatever wrote it, its columns are those of the record, and what must agree agrees."""

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from decodebench.errors import one_line
from decodebench.records import CurvePoint, Generation, Judgement, Reading, Timing


class WrongTableError(ValueError):
    """A table that cannot be of these records, in words that follow the name of its file."""


def require_columns(names: Iterable[str], kind: type) -> None:
    """Raise WrongTableError where a column is missing that must be there, or is there twice."""
    there = list(names)
    if absent := [f.name for f in fields(kind) if f.default is MISSING and f.name not in there]:
        raise WrongTableError(f"has no column {', '.join(absent)}; see docs/run_folder.md")
    if twice := [f.name for f in fields(kind) if there.count(f.name) > 1]:
        raise WrongTableError(f"has two columns {twice[0]}")


def checked(table: pa.Table, kind: type, columns: pa.Schema) -> pa.Table:
    """The columns that a record type has, with the types of `columns`; those that it lacks are left out.

    Numbers may be stored in fewer bits, and texts in another of arrow's ways. Raises WrongTableError where a column is
    missing or of another kind, where a value is missing or not one of those that are allowed, and where the values of
    a row contradict each other.
    """
    require_columns(table.column_names, kind)
    hints = typing.get_type_hints(kind)
    kept = {}
    for field in columns:
        if field.name in table.column_names:
            kept[field.name] = column(field, table.column(field.name), hints[field.name])
    found = pa.table(kept, schema=pa.schema([field for field in columns if field.name in kept]))
    for what, holds in _AGREE.get(kind, {}).items():
        wrong = pc.index(pc.fill_null(holds(found), False), False).as_py()
        if wrong >= 0:
            raise WrongTableError(f"row {wrong}: {what}")
    return found


def column(field: pa.Field, values: pa.ChunkedArray, hint: Any) -> pa.ChunkedArray:
    """A column with the type of `field`, for values of the type `hint` of a record; as `checked`."""
    if not _same_kind(values.type, field.type):
        raise WrongTableError(f"column {field.name} has the type {one_line(values.type, 40)}, it must be {field.type}")
    try:
        cast = values.cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise WrongTableError(f"column {field.name} is not {field.type} ({one_line(error, 100)})") from error
    optional = NoneType in typing.get_args(hint)
    if cast.null_count and not optional:
        raise WrongTableError(f"column {field.name} has {cast.null_count} missing values; allowed is none")
    if pa.types.is_list(cast.type) and (gaps := pc.list_flatten(cast).null_count):
        raise WrongTableError(f"column {field.name} has {gaps} missing values in its lists; allowed is none")
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if strangers := [value for value in pc.unique(cast).to_pylist() if value is not None and value not in allowed]:
            told = one_line(repr(strangers[0]), 60)
            raise WrongTableError(f"column {field.name} has {told}; allowed: {', '.join(allowed)}")
    return cast


def _same_kind(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast keeps what the values are: a number of other bits, a text in another of arrow's ways."""
    of = pa.types
    if of.is_null(stored):
        return True
    if of.is_dictionary(stored):
        return _same_kind(stored.value_type, wanted)
    if of.is_list(wanted):
        lists = of.is_list(stored) or of.is_large_list(stored) or of.is_fixed_size_list(stored)
        return lists and _same_kind(stored.value_type, wanted.value_type)
    if of.is_string(wanted):
        return bool(of.is_string(stored) or of.is_large_string(stored) or of.is_string_view(stored))
    if of.is_floating(wanted):
        return bool(of.is_floating(stored) or of.is_integer(stored))
    return bool(of.is_integer(stored) if of.is_integer(wanted) else stored == wanted)


Holds = Callable[[pa.Table], pa.ChunkedArray]


def _at_least(name: str, least: int) -> Holds:
    return lambda table: pc.greater_equal(table[name], least)


def _as_long(name: str, *, given: bool = False) -> Holds:
    """Whether a list is as long as token_ids; a missing one is, and an empty one of a text that was `given`."""

    def holds(table: pa.Table) -> pa.ChunkedArray:
        if name not in table.column_names:
            return pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
        length = pc.fill_null(pc.list_value_length(table[name]), -1)
        same = pc.or_(pc.equal(length, pc.list_value_length(table["token_ids"])), pc.equal(length, -1))
        if not given:
            return same
        return pc.or_(same, pc.and_(pc.equal(length, 0), pc.equal(table["finish_reason"], "end")))

    return holds


_IDS = "token_ids are not all 0 or more"


def _ids(table: pa.Table) -> pa.ChunkedArray:
    lists = table["token_ids"]
    rows = pc.list_parent_indices(lists).filter(pc.less(pc.list_flatten(lists), 0))
    wrong = set(pc.unique(rows).to_pylist())
    return pa.chunked_array([pa.array([row not in wrong for row in range(len(table))], pa.bool_())])


_AGREE: Mapping[type, Mapping[str, Holds]] = {
    Generation: {
        "sample is below 0": _at_least("sample", 0),
        "delivered_tokens is below 0": _at_least("delivered_tokens", 0),
        "computed_tokens is below 0": _at_least("computed_tokens", 0),
        _IDS: _ids,
        "token_logprobs has not one number for each of token_ids": _as_long("token_logprobs", given=True),
        "token_margins has not one number for each of token_ids": _as_long("token_margins"),
    },
    Reading: {
        "sample is below 0": _at_least("sample", 0),
        _IDS: _ids,
        "token_logprobs has not one number for each of token_ids": _as_long("token_logprobs"),
        "token_entropies has not one number for each of token_ids": _as_long("token_entropies"),
    },
    Judgement: {"sample is below 0": _at_least("sample", 0)},
    Timing: {
        "round is below 0": _at_least("round", 0),
        "e2e_s is not above 0": lambda table: pc.greater(table["e2e_s"], 0.0),
        "new_tokens is below 0": _at_least("new_tokens", 0),
    },
    CurvePoint: {
        "start is below 0": _at_least("start", 0),
        "stop is not above start": lambda table: pc.greater(table["stop"], table["start"]),
    },
}
"""What must hold of each row, in words and as a column of yes and no."""
