"""strategies.step."""

from decodebench.strategies.step.draws import Draws, row_words, stream_key
from decodebench.strategies.step.scores import BLOCK, Scores, top_by_value_then_id
from decodebench.strategies.step.view import EMPTY, ModelFacts, Moves, State, View
from decodebench.strategies.step.waits import Questions, among, handed_over, true_or_all, upload

__all__ = [
    "BLOCK",
    "EMPTY",
    "Draws",
    "ModelFacts",
    "Moves",
    "Questions",
    "Scores",
    "State",
    "View",
    "among",
    "handed_over",
    "row_words",
    "stream_key",
    "top_by_value_then_id",
    "true_or_all",
    "upload",
]
