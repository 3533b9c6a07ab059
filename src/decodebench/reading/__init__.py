"""A second pass over texts: what a model, the one that generated them or another, says of each of their tokens."""

from decodebench.reading.passes import SecondPass, by_cell, read_run
from decodebench.reading.texts import Item, prompt_tokens, read_texts, text_tokens

__all__ = ["Item", "SecondPass", "by_cell", "prompt_tokens", "read_run", "read_texts", "text_tokens"]
