"""What a run is to do. In: conf/ as Hydra composed it. Out: a `Plan` of cells, or an error before a model is loaded.

`config` gives the configuration its types, `served` the numbers that a strategy leaves to the model; `cells` makes the
plan, names and labels its cells; `measured` refuses to rank by what will not be measured; `catalogue` lists the
strategies of conf/strategy, `search` the settings that a choice tries.
"""

from decodebench.plan.catalogue import Entry, catalogue, entry, in_words
from decodebench.plan.cells import Job, Plan, cell_labels, model_told, plan, reference_id
from decodebench.plan.config import (
    GROUPS,
    KEYS,
    TEXT_KEYS,
    ChooseConfig,
    EngineConfig,
    JobConfig,
    LatencyConfig,
    build_strategy,
    conf_dir,
    job_config,
    resolved_job,
    typed,
)
from decodebench.plan.measured import refuse_unmeasured
from decodebench.plan.search import Trial, families, trials

__all__ = [
    "GROUPS",
    "KEYS",
    "TEXT_KEYS",
    "ChooseConfig",
    "EngineConfig",
    "Entry",
    "Job",
    "JobConfig",
    "LatencyConfig",
    "Plan",
    "Trial",
    "build_strategy",
    "catalogue",
    "cell_labels",
    "conf_dir",
    "entry",
    "families",
    "in_words",
    "job_config",
    "model_told",
    "plan",
    "reference_id",
    "refuse_unmeasured",
    "resolved_job",
    "trials",
    "typed",
]
