"""What a run is to do. In: conf/ as Hydra composed it. Out: a `Plan` of cells, or an error before a model is loaded.

`config` gives the configuration its types; `cells` makes the plan, names and labels its cells; `measured` refuses to
rank by what will not be measured; `catalogue` lists the strategies of conf/strategy.
"""

from decodebench.plan.catalogue import Entry, catalogue, entry, in_words
from decodebench.plan.cells import Job, Plan, cell_labels, model_told, plan, reference_id
from decodebench.plan.config import (
    GROUPS,
    KEYS,
    TEXT_KEYS,
    EngineConfig,
    LatencyConfig,
    build_strategy,
    conf_dir,
    job_config,
    resolved_job,
    typed,
)

__all__ = [
    "GROUPS",
    "KEYS",
    "TEXT_KEYS",
    "EngineConfig",
    "Entry",
    "Job",
    "LatencyConfig",
    "Plan",
    "build_strategy",
    "catalogue",
    "cell_labels",
    "conf_dir",
    "entry",
    "in_words",
    "job_config",
    "model_told",
    "plan",
    "reference_id",
    "resolved_job",
    "typed",
]
