"""prompts."""

from decodebench.prompts.sets import PromptsConfig, check_template, load_prompts, prompts_sha256
from decodebench.prompts.tables import Row, Table, file_table, text_value

__all__ = [
    "PromptsConfig",
    "Row",
    "Table",
    "check_template",
    "file_table",
    "load_prompts",
    "prompts_sha256",
    "text_value",
]
