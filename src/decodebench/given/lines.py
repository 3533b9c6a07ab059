"""A file of texts -> checked lines: which column holds what, and what each row says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from decodebench.errors import PromptError, allowed_names
from decodebench.prompts import Row, Table, file_table, label_value, text_value
from decodebench.records import HUMAN, Prompt

SUFFIXES = (".csv", ".json", ".jsonl", ".parquet", ".tsv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column holds what; None: the column of the field's own name (`prompt_id` for `id`), where it is there."""

    id: str | None = None
    text: str | None = None
    reference: str | None = None
    strategy: str | None = None
    prompt: str | None = None
    sample: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row that was checked; `sample` is None where the file does not number them."""

    where: str
    prompt_id: str
    text: str
    reference: str | None
    strategy: str
    prompt: str | None
    sample: int | None


def read_lines(path: Path, columns: Columns) -> tuple[dict[str, str], list[Line]]:
    """The column of each field that the file has, and its rows. Raises PromptError, one line, naming the place."""
    key = str(path)
    if path.suffix.lower() not in SUFFIXES:
        raise PromptError(f"{key}: unknown suffix {path.suffix or '(none)'}: {allowed_names(path.suffix, SUFFIXES)}")
    if (path.parent / "manifest.json").exists():
        raise PromptError(
            f"{key}: is a table of a run, whose cells it does not tell apart; score the folder {path.parent}"
        )
    table = file_table(key, path)
    if not table.rows:
        raise PromptError(f"{key}: has no texts")
    names = _column_names(key, table, columns)
    return names, [_line(f"{key}: {row.where}", row, names, path.stem) for row in table.rows]


def prompts_of(key: str, lines: Sequence[Line]) -> dict[str, Prompt]:
    """The prompts by id, in the order of the file. Raises PromptError where two rows say different things of one."""
    found: dict[str, dict[str, Line]] = {}
    for line in lines:
        said = found.setdefault(line.prompt_id, {})
        for field in ("prompt", "reference"):
            if getattr(line, field) is None:
                continue
            first = said.setdefault(field, line)
            if getattr(first, field) != getattr(line, field):
                raise PromptError(
                    f"{key}: {first.where} and {line.where}: two {field} texts for the prompt {line.prompt_id!r}; "
                    "allowed is one"
                )
    return {
        id_: Prompt(
            id=id_,
            text=(said["prompt"].prompt or "") if "prompt" in said else "",
            references=(said["reference"].reference or "",) if "reference" in said else (),
        )
        for id_, said in found.items()
    }


def _column_names(key: str, table: Table, columns: Columns) -> dict[str, str]:
    """The column of each field that the file has. A column that an option names is not another field's by default."""
    named = {name: column for name, column in asdict(columns).items() if column is not None}
    for name, column in named.items():
        if column not in table.columns:
            raise PromptError(
                f"{key}: --{name}-column={column}: no such column; {allowed_names(column, table.columns)}"
            )
        if other := next((o for o, c in named.items() if c == column and o != name), None):
            raise PromptError(f"{key}: --{name}-column={column}: is that of --{other}-column; allowed is one for each")
    defaults = {f.name: "prompt_id" if f.name == "id" else f.name for f in fields(Columns)}
    free = set(table.columns) - set(named.values())
    found = named | {name: column for name, column in defaults.items() if name not in named and column in free}
    for name in ("id", "text"):
        if name not in found:
            raise PromptError(
                f"{key}: has no column {defaults[name]!r}; --{name}-column names it, "
                f"{allowed_names(defaults[name], free)}"
            )
    return {name: found[name] for name in defaults if name in found}


def _line(at: str, row: Row, names: Mapping[str, str], stem: str) -> Line:
    """One row, checked; `at` is what an error begins with."""
    values = {name: row.values.get(column) for name, column in names.items()}
    strategy = label_value(at, names["strategy"], values["strategy"]) if "strategy" in names else stem
    if strategy == HUMAN:
        raise PromptError(f"{at}: strategy {HUMAN!r} is that of the references; allowed is any other name")
    return Line(
        where=row.where,
        prompt_id=label_value(at, names["id"], values["id"]),
        text=text_value(at, names["text"], values["text"]),
        reference=_or_none(at, names.get("reference"), values.get("reference")),
        strategy=strategy,
        prompt=_or_none(at, names.get("prompt"), values.get("prompt")),
        sample=_number(at, names["sample"], values["sample"]) if "sample" in names else None,
    )


def _or_none(at: str, column: str | None, value: object) -> str | None:
    """A text that may be missing; CSV has no null, so an empty one is missing."""
    return None if column is None or value is None else text_value(at, column, value) or None


def _number(at: str, column: str, value: object) -> int:
    """The number of a sample, from 0; CSV has digits, and a column with gaps makes 7.0 of 7."""
    found = re.fullmatch(r"([0-9]{1,9})(\.0)?", str(value)) if isinstance(value, str | float) else None
    number = int(found[1]) if found else value
    if type(number) is not int or not 0 <= number < 10**9:
        raise PromptError(f"{at}: {column}={value!r:.80}: allowed is a whole number, 0 or more")
    return number
