"""How a text is judged against its prompt's references. In: a `TaskConfig` and texts with their prompts. Out: for each
text the answer that was taken from it, and how good that is; pure functions, but for judges that are not ours.

`config` checks the configuration; `extraction` leaves out the thinking and takes the answer; `normalization` makes two
spellings of it the same; `units` are what overlaps are counted in. Judges: `matching` (right or wrong), `numbers`,
`choices`, `overlap` (chrF, BLEU, ROUGE-L, F1), `foreign` (a user's function, a module of evaluate). `judging` asks them.
"""

from decodebench.tasks.config import TaskConfig
from decodebench.tasks.judging import Item, Judged, JudgedSet, check_task, direction, judge, judge_set, unit

__all__ = [
    "Item",
    "Judged",
    "JudgedSet",
    "TaskConfig",
    "check_task",
    "direction",
    "judge",
    "judge_set",
    "unit",
]
