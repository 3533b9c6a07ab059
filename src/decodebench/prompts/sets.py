"""Prompt sets: one configuration of conf/prompts -> checked prompts, in the set's order.

Texts are kept exactly as given: no trimming, no Unicode normalisation (docs/data.md says what that means).
"""

import hashlib
import json
import logging
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from decodebench.errors import ConfigError, PromptError, allowed_names
from decodebench.prompts.formats import Row, Table
from decodebench.prompts.passages import CORPORA, corpus_table
from decodebench.prompts.tables import FILE_SUFFIXES, file_table, hub_table, inline_table, label_value, text_value
from decodebench.records import Prompt

_FIELDS_OF_SOURCE = {
    "inline": ("items",),
    "file": ("path",),
    "hub": ("id", "split", "revision", "config_name"),
    "corpus": ("corpus", "first_year", "last_year", "prompt_words", "reference_words"),
}
_STRINGS = ("name", "id_column", "text_column", "reference_column")
_STRINGS_OR_NULL = ("path", "id", "split", "revision", "config_name", "corpus", "language", "template", "date")
_COUNTS = ("prompt_words", "reference_words", "limit")
_YEARS = ("first_year", "last_year")
log = logging.getLogger(__name__)

DEFAULT_DATE = "2024-07-26"
"""Today, for chat templates that ask: a fixed day, so that tomorrow's prompts are today's. It is the day that Llama 3's
templates write where there is no clock."""
_MANY_IDS = 20  # an error lists all the ids of a set up to this size


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptsConfig:
    """One file of conf/prompts. Each key up to `reference_words` belongs to one source (`_FIELDS_OF_SOURCE`).

    A corpus is a text that prompts are cut from, with what follows them as references (passages.py): speeches from
    `first_year` to `last_year` (None: as far as they go), at least so many words of prompt and reference.
    `ids` keeps only these prompts (in the set's order), and `limit` only the first so many of what is left. `template`
    is carried for the stage that renders prompts, and `date` (YYYY-MM-DD) is today for a chat template that asks
    (None: DEFAULT_DATE). Raises ConfigError for a value of the wrong kind, or without effect.
    """

    name: str
    source: Literal["inline", "file", "hub", "corpus"]
    items: list[dict[str, Any]] | None = None
    path: str | None = None
    id: str | None = None
    split: str | None = None
    revision: str | None = None
    config_name: str | None = None
    corpus: str | None = None
    first_year: int | None = None
    last_year: int | None = None
    prompt_words: int | None = None
    reference_words: int | None = None
    id_column: str = "id"
    text_column: str = "text"
    reference_column: str = "reference"
    language: str | None = None
    template: str | None = None
    date: str | None = None
    ids: list[str] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.source not in _FIELDS_OF_SOURCE:
            raise ConfigError(f"prompts.source={self.source}: {allowed_names(str(self.source), _FIELDS_OF_SOURCE)}")
        for key in (*_STRINGS, *_STRINGS_OR_NULL):
            value = getattr(self, key)
            if not isinstance(value, str) and (value is not None or key in _STRINGS):
                raise ConfigError(f"prompts.{key}={value!r}: must be a string (in quotes where it looks like a number)")
        for key in ("items", "ids"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, list) or not value):
                raise ConfigError(f"prompts.{key}={value!r}: must be a list with at least one entry, or null")
        for key in (*_COUNTS, *_YEARS):
            value = getattr(self, key)
            if value is not None and (type(value) is not int or value < 1):
                null = "" if key.endswith("words") else ", or null for all"
                raise ConfigError(f"prompts.{key}={value!r}: must be a whole number of at least 1{null}")
        if self.date is not None:
            _check_date(self.date, self.template)
        if self.first_year is not None and self.last_year is not None and self.first_year > self.last_year:
            raise ConfigError(f"prompts.first_year={self.first_year}: is after prompts.last_year={self.last_year}")
        for source, keys in _FIELDS_OF_SOURCE.items():
            for key in keys:
                if source != self.source and getattr(self, key) is not None:
                    raise ConfigError(
                        f"prompts.{key}={getattr(self, key)!r:.80}: has no effect with prompts={self.name} "
                        f"(its source is {self.source}); it belongs to the source {source}"
                    )


def load_prompts(config: PromptsConfig) -> tuple[Prompt, ...]:
    """Read the prompts of a set; where it has no ids, they are the positions: "0001", "0002", ...

    Raises PromptError (one line: key, value, line of the file) for what cannot be read or used, and ConfigError where
    `items`, `path`, `id`, `split` or a key of a corpus must be given and is not.
    """
    key, table = _read(config)
    if not table.rows:
        raise PromptError(f"{key}: has no prompts")
    _check_columns(key, table, config)
    prompts: dict[str, Prompt] = {}
    place_of: dict[str, str] = {}
    for position, row in enumerate(table.rows, start=1):
        prompt = _prompt(f"{key}: {row.where}", row, position, table, config)
        first = prompts.setdefault(prompt.id, prompt)
        place = place_of.setdefault(prompt.id, row.where)
        for field in fields(Prompt):
            if getattr(first, field.name) != getattr(prompt, field.name):
                raise PromptError(
                    f"{key}: {place} and {row.where} have the same id {prompt.id!r}, and another "
                    f"{field.name.removesuffix('s')}; allowed is an id for each prompt"
                )
    if repeated := len(table.rows) - len(prompts):
        log.info("%s: %d rows say again what another one says; such a prompt is there once", key, repeated)
    return tuple(_selected(list(prompts.values()), config.ids)[: config.limit])


def _check_date(day: str, template: str | None) -> None:
    """Raise ConfigError for what is no day, or a day that no chat template is told."""
    if not _is_day(day):
        raise ConfigError(f"prompts.date={day}: allowed is a day as YYYY-MM-DD, or null ({DEFAULT_DATE})")
    if template != "chat":
        raise ConfigError(f"prompts.date={day}: has no effect without prompts.template=chat; allowed is null")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text  # it also reads weeks
    except ValueError:
        return False


def told_date(prompts: Mapping[str, Any]) -> str | None:
    """The day that a chat template is told, by the resolved `prompts` group of a run; None without such a template."""
    return (prompts.get("date") or DEFAULT_DATE) if prompts.get("template") == "chat" else None


def check_template(template: str | None) -> None:
    """Raise ConfigError unless `template` is None, "chat", or a format string with {text} once and no other field."""
    if template is None or template == "chat":
        return
    allowed = "allowed: null, chat, or a text with {text} in it once (other braces doubled)"
    try:
        fields = [field[1:] for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise ConfigError(f"prompts.template={template!r}: {error}; {allowed}") from error
    if fields != [("text", "", None)]:
        raise ConfigError(f"prompts.template={template!r}: {allowed}")


def prompts_sha256(prompts: Sequence[Prompt]) -> str:
    """Hex SHA-256 of ids, texts and references in their order: of what is decoded and compared, not of labels."""
    content = [
        {
            "id": prompt.id,
            "text": prompt.text,
            # one of them is told as itself, as it was when a prompt could have but one
            "reference": list(prompt.references) if len(prompt.references) > 1 else prompt.reference,
        }
        for prompt in prompts
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(config: PromptsConfig) -> tuple[str, Table]:
    """The table, and the key=value that its errors name."""
    if config.source == "inline":
        items = _given(config, "items", "a list of prompts")
        return "prompts.items", inline_table("prompts.items", items, ("id", "text", "reference", "language", "tags"))
    if config.source == "file":
        path = _given(config, "path", f"a file ({', '.join(FILE_SUFFIXES)}), for example prompts.path=prompts.jsonl")
        key = f"prompts.path={path}"
        return key, file_table(key, Path(path).expanduser())
    if config.source == "corpus":
        corpus = _given(config, "corpus", f"one of {', '.join(CORPORA)}")
        words = [_given(config, name, "how many words") for name in ("prompt_words", "reference_words")]
        key = f"prompts.corpus={corpus}"
        return key, corpus_table(key, corpus, config.first_year, config.last_year, *words)
    dataset_id = _given(config, "id", "the id of a data set, for example prompts.id=owner/name")
    split = _given(config, "split", "a split of the data set, for example prompts.split=train")
    key = f"prompts.id={dataset_id}"
    limit = config.limit if config.ids is None else None  # a data set may be far larger than what is asked for
    return key, hub_table(key, dataset_id, config.config_name, split, config.revision, limit)


def _given(config: PromptsConfig, key: str, what: str) -> Any:
    value = getattr(config, key)
    if value is None:
        raise ConfigError(f"prompts.{key}=null: prompts={config.name} must be given {what}")
    return value


def _check_columns(key: str, table: Table, config: PromptsConfig) -> None:
    """The text must be there; id and reference only where the configuration names a column of its own."""
    for setting, optional in (("text_column", None), ("id_column", "id"), ("reference_column", "reference")):
        column = getattr(config, setting)
        if column not in table.columns and column != optional:
            raise PromptError(
                f"{key}: prompts.{setting}={column}: no such column; {allowed_names(column, table.columns)}"
            )


def _prompt(at: str, row: Row, position: int, table: Table, config: PromptsConfig) -> Prompt:
    """One row as a prompt; `at` is what an error begins with."""
    values = row.values
    text = text_value(at, config.text_column, values.get(config.text_column))
    if not text.strip():
        raise PromptError(f"{at}: empty prompt")
    if config.id_column in table.columns:
        id_ = label_value(at, config.id_column, values.get(config.id_column))
    else:
        id_ = f"{position:04d}"
    reference = values.get(config.reference_column)
    labels = values if config.source == "inline" else {}
    language, tags = labels.get("language"), labels.get("tags") or []
    if not isinstance(tags, list):
        raise PromptError(f"{at}: tags must be a list of strings, not {tags!r:.80}")
    return Prompt(
        id=id_,
        text=text,
        # CSV has no null, so an empty cell is a missing reference; the other formats follow.
        references=() if reference in (None, "") else (text_value(at, config.reference_column, reference),),
        language=config.language if language is None else text_value(at, "language", language),
        tags=tuple(text_value(at, "tags", tag) for tag in tags),
    )


def _selected(prompts: list[Prompt], ids: list[str] | None) -> list[Prompt]:
    if ids is None:
        return prompts
    known = [prompt.id for prompt in prompts]
    wanted = {str(id_) for id_ in ids}
    for id_ in sorted(wanted.difference(known)):
        shown = known if len(known) <= _MANY_IDS else [*known[:3], *get_close_matches(id_, known[3:]), "..."]
        raise PromptError(f"prompts.ids={id_}: none of the {len(known)} prompts; {allowed_names(id_, shown)}")
    return [prompt for prompt in prompts if prompt.id in wanted]
