"""Texts -> measurements of a stored run, without a model. In: a run folder. Out: its measurements, curves,
differences and ranking.

`run` takes cell after cell through the metrics; `comparing` pairs strategies by prompt.
"""

from decodebench.scoring.comparing import Arm, Arms, Pooled
from decodebench.scoring.run import ScoredRun, score_run, scored_run

__all__ = ["Arm", "Arms", "Pooled", "ScoredRun", "score_run", "scored_run"]
