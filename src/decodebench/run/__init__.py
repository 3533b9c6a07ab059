"""A whole run: a plan carried out stage by stage in one folder."""

from decodebench.run.flow import RunFailedError, execute
from decodebench.run.rerunning import rerun

__all__ = ["RunFailedError", "execute", "rerun"]
