"""A whole run. In: a plan. Out: its folder, from the manifest to the report.

`flow` names the stages in order; `stages` are those that decode, time and read; `underway` is what each is given,
`progress` what each tells; `manifest` what a run says of itself; `rerunning` makes a plan of stored configurations.
"""

from decodebench.run.flow import RunFailedError, execute
from decodebench.run.rerunning import rerun

__all__ = ["RunFailedError", "execute", "rerun"]
