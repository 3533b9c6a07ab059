"""Random changes of stored files, each made by one seed: of the objects of JSON, and of tables with their types."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

NUMBERS = (-1, 0, 1, 3.5, 2**40, 1e308, float("nan"), float("inf"))
OTHERS = (None, True, "x", "", "greedy", "\u2028", [], {}, [None], ["x"], [[1]], {"a": 1}, 10**30)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside objects and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*place, key)
        yield from places(inner, (*place, key))


def changed_json(value: dict[str, Any], seed: int) -> dict[str, Any]:
    """One value gone, there twice, or something else; each top key is as likely as any other."""
    rng = random.Random(seed)
    value = copy.deepcopy(value)
    top = rng.choice([key for key in value if key != "schema_version"])
    place = rng.choice([place for place in places(value) if place[0] == top])
    around: Any = value
    for key in place[:-1]:
        around = around[key]
    kind = rng.random()
    if kind < 0.25:
        del around[place[-1]]
    elif kind < 0.3 and isinstance(around, list):
        around.append(around[place[-1]])
    else:
        around[place[-1]] = rng.choice((*NUMBERS, *OTHERS))
    return value


def changed_table(table: pa.Table, seed: int) -> pa.Table:
    """A column gone, renamed or of another type; rows gone or there twice; one value, or a whole column, else."""
    rng = random.Random(seed)
    name = rng.choice(table.column_names)
    at = table.column_names.index(name)
    kind = rng.random()
    if kind < 0.1:
        return table.drop([name])
    if kind < 0.2:
        other = rng.choice(table.column_names)
        return table.rename_columns([other if each == name else each for each in table.column_names])
    if kind < 0.3:
        types = (pa.string(), pa.float32(), pa.int8(), pa.bool_(), pa.null(), pa.list_(pa.string()), pa.binary())
        wanted = rng.choice(types)
        try:
            return table.set_column(at, name, table.column(name).cast(wanted))
        except (pa.ArrowException, ValueError):
            return table.set_column(at, name, pa.nulls(len(table), wanted))
    if kind < 0.35:
        return pa.concat_tables([table, table.slice(0, rng.randint(0, len(table)))])
    if kind < 0.4:
        return table.slice(rng.randint(0, len(table)))
    column = table.column(name).to_pylist()
    for row in [rng.randrange(len(column))] if rng.random() < 0.6 else range(len(column)):
        column[row] = _other(column, row, rng)
    for wanted in (table.schema.field(name).type, None, pa.string()):
        try:
            return table.set_column(at, name, pa.array(map(str, column) if wanted == pa.string() else column, wanted))
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            continue
    raise AssertionError("texts are always a column")


def _other(column: list[Any], row: int, rng: random.Random) -> Any:
    old = column[row]
    if isinstance(old, list) and old:
        return rng.choice([old[:-1], old + old[:1], [], None, [None] * len(old), [rng.choice(NUMBERS)] * len(old)])
    return rng.choice((*NUMBERS, *OTHERS[:6], [1], [], rng.choice(column)))


def changed_bytes(data: bytes, seed: int) -> bytes:
    """Up to four bytes are others, or the end is gone."""
    rng = random.Random(seed)
    if rng.random() < 0.2:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(changed)
