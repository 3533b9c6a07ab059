"""Texts of a file, which this project did not generate, as a run folder: they are scored and rendered as any other run.

A row is one text: the columns `prompt_id` and `text`, and where they are there `reference`, `strategy`, `sample` and
`prompt` (docs/data.md). Each strategy becomes a cell. The texts have no tokens and no log-probabilities.
"""

from decodebench.given.folder import Given, read, write
from decodebench.given.lines import SUFFIXES, Columns

__all__ = ["SUFFIXES", "Columns", "Given", "read", "write"]
