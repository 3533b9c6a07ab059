"""Texts made elsewhere. In: a file of texts. Out: a run folder, scored and rendered as any other run (docs/data.md).

A row is one text: the columns `prompt_id` and `text`, and where they are there `reference`, `strategy`, `sample` and
`prompt`. Each strategy becomes a cell. The texts have no tokens and no log-probs. `lines` reads, `folder` writes.
"""

from decodebench.given.folder import Given, read, write
from decodebench.given.lines import Columns, is_table

__all__ = ["Columns", "Given", "is_table", "read", "write"]
