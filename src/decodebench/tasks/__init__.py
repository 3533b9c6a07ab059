"""How a text is judged against its prompt's references. In: a `TaskConfig` and texts with their prompts. Out: for each
text the answer that was taken from it, and how good that is; pure functions, but for judges that are not ours.

`config` checks the configuration; `extraction` leaves out the thinking and takes the answer; `normalization` makes two
spellings of it the same; `units` are what overlaps are counted in. `judges` has the judges, made of `matching` (does it
occur), `numbers`, `choices`, `overlap` (F1, chrF, BLEU, ROUGE-L) and `foreign` (a user's function, a module of
evaluate), and says which prompts they cannot judge; `judging` asks them.
"""

from decodebench.tasks.config import TaskConfig
from decodebench.tasks.judges import check_task
from decodebench.tasks.judging import Item, Judged, JudgedSet, direction, judge, judge_set, unit

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
