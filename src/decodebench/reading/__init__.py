"""A second pass over texts. In: stored texts and a scorer. Out: readings.parquet, what it says of each token.

`texts` is the teacher-forced pass, `passes` which model reads which cells of a run, `files` what is kept on the way.
"""

from decodebench.reading.passes import Readings, by_cell, finish_readings, read_other, read_own, read_run
from decodebench.reading.texts import Item, prompt_tokens, read_texts, text_tokens

__all__ = [
    "Item",
    "Readings",
    "by_cell",
    "finish_readings",
    "prompt_tokens",
    "read_other",
    "read_own",
    "read_run",
    "read_texts",
    "text_tokens",
]
