"""A second pass over texts: what a model, the one that generated them or another, says of each of their tokens."""

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
