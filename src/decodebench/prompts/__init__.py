"""Prompt sets. In: a `prompts` group of the configuration. Out: checked `Prompt`s, with ids, texts and references.

`sets` checks and selects; `tables` reads text, jsonl, csv, parquet and hub data sets; `passages` cuts speeches and
laws into prompts and their own continuations.
"""

from decodebench.prompts.sets import (
    DEFAULT_DATE,
    PromptsConfig,
    check_template,
    load_prompts,
    prompts_sha256,
    told_date,
)
from decodebench.prompts.tables import Row, Table, file_table, text_value

__all__ = [
    "DEFAULT_DATE",
    "PromptsConfig",
    "Row",
    "Table",
    "check_template",
    "file_table",
    "load_prompts",
    "prompts_sha256",
    "text_value",
    "told_date",
]
