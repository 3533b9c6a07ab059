"""decoding."""

from decodebench.decoding.decode import Memory, decode_cells, rows_that_fit, waiting
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
    "rows_that_fit",
    "waiting",
]
