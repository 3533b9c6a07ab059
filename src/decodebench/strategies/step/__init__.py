"""What a strategy sees and answers at one step. In: the engine's logits and texts. Out: a `View`, answered by `Moves`.

`view` is both of them, and says where a text ends: `stops` finds stop strings in tokens, `endings` says how a text
ended and what of it is text; `scores` are logits with their sums and largest values, each computed once; `draws` random
numbers computed from (seed, prompt, sample, step, token); `waits` questions to a device without waiting for it.
"""

from decodebench.strategies.step.draws import Draws, row_words, stream_key
from decodebench.strategies.step.endings import Ending, ending, text_of
from decodebench.strategies.step.scores import BLOCK, Scores, top_by_value_then_id
from decodebench.strategies.step.stops import StopStrings
from decodebench.strategies.step.view import EMPTY, ModelFacts, Moves, State, View
from decodebench.strategies.step.waits import Questions, among, handed_over, true_or_all, upload

__all__ = [
    "BLOCK",
    "EMPTY",
    "Draws",
    "Ending",
    "ModelFacts",
    "Moves",
    "Questions",
    "Scores",
    "State",
    "StopStrings",
    "View",
    "among",
    "ending",
    "handed_over",
    "row_words",
    "stream_key",
    "text_of",
    "top_by_value_then_id",
    "true_or_all",
    "upload",
]
