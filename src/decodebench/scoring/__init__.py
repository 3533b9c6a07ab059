"""Texts -> measurements of a stored run, without a model. In: a run folder. Out: its judgements, measurements, curves,
differences and ranking.

`judging` asks the task what it says of each text; `run` takes cell after cell through the metrics; `comparing` pairs
strategies by prompt.
"""

from decodebench.scoring.comparing import Arm, Arms, Pooled
from decodebench.scoring.judging import judge_run, leave_unjudged
from decodebench.scoring.run import ScoredRun, keep, prompt_clusters, score_run, scored_run

__all__ = [
    "Arm",
    "Arms",
    "Pooled",
    "ScoredRun",
    "judge_run",
    "keep",
    "leave_unjudged",
    "prompt_clusters",
    "score_run",
    "scored_run",
]
