"""Prompt sets. In: a `prompts` group of the configuration. Out: checked `Prompt`s, with ids, texts and references.

`sets` checks and selects; `tables` finds what is to be read, a file or a data set of the hub; `formats` makes a table
of a file's bytes (UTF-8 with or without a BOM; text, JSON, parquet), `separated` of csv; `passages` cuts speeches and
laws into prompts and their own continuations.
"""

from decodebench.prompts.formats import Row, Table
from decodebench.prompts.sets import (
    DEFAULT_DATE,
    PromptsConfig,
    check_template,
    load_prompts,
    prompts_sha256,
    told_date,
)
from decodebench.prompts.tables import file_table, label_value, text_value

__all__ = [
    "DEFAULT_DATE",
    "PromptsConfig",
    "Row",
    "Table",
    "check_template",
    "file_table",
    "label_value",
    "load_prompts",
    "prompts_sha256",
    "text_value",
    "told_date",
]
