"""run."""

from decodebench.run.launch import launch
from decodebench.run.rerunning import rerun

__all__ = ["launch", "rerun"]
