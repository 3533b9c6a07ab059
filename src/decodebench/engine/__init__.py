"""The packed engine: all strategies' rows in one forward pass. In: `Request`s and a model. Out: `Outcome`s.

`loop` is the loop over all strategies, `block` one strategy's rows in it. `rows` are physical rows: `cached_rows` with
their `cache`, fed by a `decode_step` that `graphs` captures as CUDA graphs, or `whole_rows` without. `probe` finds out
how a model can be run, with its `head` and early `exits`; `memory` says how many rows fit; `paired` runs a second model
beside the first. Where a text ends, strategies say (`View.ends` in strategies/step).
"""

from decodebench.engine.block import Outcome, Request
from decodebench.engine.exits import find_layers
from decodebench.engine.loop import Decoder
from decodebench.engine.memory import Room, room
from decodebench.engine.paired import make_paired
from decodebench.engine.probe import Forward, choose_rows, own_head

__all__ = [
    "Decoder",
    "Forward",
    "Outcome",
    "Request",
    "Room",
    "choose_rows",
    "find_layers",
    "make_paired",
    "own_head",
    "room",
]
