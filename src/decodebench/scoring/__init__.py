"""scoring."""

from decodebench.scoring.comparing import Arm, Arms
from decodebench.scoring.run import ScoredRun, score_run, scored_run

__all__ = ["Arm", "Arms", "ScoredRun", "score_run", "scored_run"]
