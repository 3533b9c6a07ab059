"""Decoding strategies: one class for each yaml in conf/strategy."""

from decodebench.strategies.base import ModelFacts, Moves, State, Strategy, View
from decodebench.strategies.beam import Beam
from decodebench.strategies.greedy import Greedy
from decodebench.strategies.sampling import MinP, Sample, Temperature, TopK, TopP, Typical

__all__ = [
    "Beam",
    "Greedy",
    "MinP",
    "ModelFacts",
    "Moves",
    "Sample",
    "State",
    "Strategy",
    "Temperature",
    "TopK",
    "TopP",
    "Typical",
    "View",
]
