"""The packed engine: all strategies' rows in one forward pass over one resident model."""

from decodebench.engine.block import Outcome, Request
from decodebench.engine.loop import Decoder
from decodebench.engine.memory import Room, room
from decodebench.engine.paired import make_paired
from decodebench.engine.probe import Forward, choose_rows, own_head

__all__ = ["Decoder", "Forward", "Outcome", "Request", "Room", "choose_rows", "make_paired", "own_head", "room"]
