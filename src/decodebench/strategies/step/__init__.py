"""What a strategy sees and answers at one step. In: the engine's logits and texts. Out: a `View`, answered by `Moves`.

`view` is both of them, and says where a text ends; `scores` are logits with their sums and largest values, each
computed once; `draws` random numbers computed from (seed, prompt, sample, step, token); `waits` questions to a device
without waiting for it.
"""

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
