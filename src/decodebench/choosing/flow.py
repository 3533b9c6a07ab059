"""A choice from its families to choice.json: every setting on one half of the prompts, the best ones on the other."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from decodebench.choosing.bounds import read_bounds
from decodebench.choosing.choice import Choice
from decodebench.choosing.decide import Tried, select
from decodebench.choosing.split import Split, split_prompts
from decodebench.choosing.stored import BY, CONFIRM, SELECT, choose_stored, halves, trials_of
from decodebench.errors import ConfigError
from decodebench.plan import JobConfig, Trial, plan, resolved_job, trials
from decodebench.prompts import load_prompts
from decodebench.report import render
from decodebench.run import RunFailedError, execute
from decodebench.scoring import scored_run
from decodebench.stats import joined
from decodebench.store import RunStore, read_manifest

log = logging.getLogger(__name__)


def carry_out(configs: Sequence[JobConfig], *, adds: bool = False, echo: Callable[[str], None] = print) -> Path:
    """Do what a launch asks for: decode its grid, or choose among families. Returns the run folder; raises what
    `run.execute` and choosing raise."""
    if not any(config.choose.families for config in configs):
        return execute(plan(configs), adds=adds, echo=echo)
    if adds:
        raise ConfigError("choose.families: needs a launcher that sees all cells; allowed is hydra/launcher=packed")
    if len(configs) > 1:
        raise ConfigError("choose.families: nothing else can be swept; allowed are one model, prompt set and seed")
    return _choose(configs[0], echo)
