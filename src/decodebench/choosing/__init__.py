"""A grid of settings -> one that is recommended, and what is known of it. In: a run, or a plan of families. Out:
choice.json in the run's folder.

`split` halves the prompts, `half` is what was measured on one of them; `decide` chooses by the one and says what the
other says, within `bounds`; `race` drops settings on the way; `choice` is what comes of it. `stored` chooses in a
stored run, `flow` makes one.
"""

from decodebench.choosing.bounds import Bound, read_bounds
from decodebench.choosing.choice import Choice
from decodebench.choosing.decide import Selected, Tried, confirm, select
from decodebench.choosing.flow import carry_out
from decodebench.choosing.half import Half
from decodebench.choosing.race import rounds_of, still_in
from decodebench.choosing.split import Split, split_prompts
from decodebench.choosing.stored import choose_stored, configured

__all__ = [
    "Bound",
    "Choice",
    "Half",
    "Selected",
    "Split",
    "Tried",
    "carry_out",
    "choose_stored",
    "configured",
    "confirm",
    "read_bounds",
    "rounds_of",
    "select",
    "split_prompts",
    "still_in",
]
