"""Cells -> texts. In: a plan's cells and a loaded model. Out: generations in the run's journal.

`requests` is what only the loaded model can tell of a cell; `decode` runs what packs through the engine; `solo` the
rest, one by one through `model.generate`; `references` makes texts of human references.
"""

from decodebench.decoding.decode import Memory, decode_cells, refuse_other_prompts, rows_that_fit, waiting
from decodebench.decoding.references import reference_texts
from decodebench.decoding.requests import Prepared, prepare
from decodebench.decoding.solo import generate_call

__all__ = [
    "Memory",
    "Prepared",
    "decode_cells",
    "generate_call",
    "prepare",
    "reference_texts",
    "refuse_other_prompts",
    "rows_that_fit",
    "waiting",
]
