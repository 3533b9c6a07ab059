"""Stored configurations -> a run of them: what a baseline was made of, decoded again today, or with other seeds."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decodebench.errors import ConfigError, StoreError
from decodebench.plan import GROUPS, plan, resolved_job
from decodebench.run.flow import RunFailedError, execute

log = logging.getLogger(__name__)

_UNTIMED = {"name": "skip", "warmups": 0, "rounds": 0, "prompts": 0, "new_tokens": 0}
"""conf/latency/skip.yaml"""


def rerun(
    configs: Sequence[Mapping[str, Any]],
    *,
    results: str,
    name: str,
    seeds: Sequence[int] | None,
    timed: bool = False,
    goes_on: bool = False,
) -> Path:
    """Decode and score the cells of resolved configurations (`Cell.config`) as a run; returns its folder.

    `seeds` instead of those of the configurations, each with every other number of them once. The timed pass is left
    out unless `timed`. A folder that is there already would be a run of another day: an error, unless it `goes_on`
    with one that was stopped. A group that configurations of an older decodebench lack is as it is by default.

    Cells that fail do not raise: the manifest names them. Raises what launching raises, one line each: ConfigError,
    PromptError, ModelError where nothing could be decoded, StoreError.
    """
    if not configs:
        raise ConfigError("no stored configurations: there is nothing to run again")
    run_dir = Path(results) / name
    if not goes_on and run_dir.exists():
        raise StoreError(
            f"{run_dir}: is there already, and its texts would not be decoded again; allowed is a new name"
        )
    jobs = [
        resolved_job(_again(config, timed) | {"name": name, "results": results}) for config in _cells(configs, seeds)
    ]
    try:
        return execute(plan(jobs), echo=log.info)
    except RunFailedError as error:
        log.warning("%s", error)
        return run_dir


def _cells(configs: Sequence[Mapping[str, Any]], seeds: Sequence[int] | None) -> list[dict[str, Any]]:
    """The configurations with their own seeds, or each that differs in more than its seed with all the others."""
    if seeds is None:
        return [dict(config) for config in configs]
    without = [{key: value for key, value in config.items() if key != "seed"} for config in configs]
    distinct = {json.dumps(config, sort_keys=True, default=str): config for config in without}
    return [config | {"seed": seed} for config in distinct.values() for seed in seeds]


def _again(config: Mapping[str, Any], timed: bool) -> dict[str, Any]:
    groups = {group: config.get(group, {}) for group in GROUPS}
    return {**groups, **config} | ({} if timed else {"latency": dict(_UNTIMED)})
