"""Prompt sets. In: a `prompts` group of the configuration. Out: checked `Prompt`s, with ids, texts and references.

`sets` checks and selects; `tables` finds what is to be read, a file or a data set of the hub; `formats` reads text,
JSON and parquet, `separated` csv; `columns` says what a row has at the name of a column; `passages` cuts speeches and
laws into prompts and their own continuations; `capitals` asks for them.
"""

from decodebench.prompts.columns import has_column, label_value, reference_values, require_column, text_value, value_at
from decodebench.prompts.formats import Row, Table, split_name
from decodebench.prompts.sets import (
    DEFAULT_DATE,
    PromptsConfig,
    check_template,
    load_prompts,
    prompts_sha256,
    told_date,
)
from decodebench.prompts.tables import check_suffix, file_table

__all__ = [
    "DEFAULT_DATE",
    "PromptsConfig",
    "Row",
    "Table",
    "check_suffix",
    "check_template",
    "file_table",
    "has_column",
    "label_value",
    "load_prompts",
    "prompts_sha256",
    "reference_values",
    "require_column",
    "split_name",
    "text_value",
    "told_date",
    "value_at",
]
