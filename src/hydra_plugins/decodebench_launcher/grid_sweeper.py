"""A sweeper for unions of grids: each strategy brings its own numbers, without a cross product of nonsense.

Hydra's basic sweeper makes one product of all lists. Here `hydra.sweeper.grids` may hold several products, one after
the other; what the command line says holds for each of them. All jobs are checked before the first one starts (the
packed launcher does so itself), and no file is written here. It builds on a class that Hydra keeps internal, hence
hydra-core<1.4.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus


@dataclass
class GridSweeperConf:
    """hydra/sweeper=grids"""

    _target_: str = "hydra_plugins.decodebench_launcher.grid_sweeper.GridSweeper"
    _convert_: str = "all"  # grids as plain lists and dictionaries
    params: dict[str, str] | None = None
    grids: list[dict[str, Any]] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="grids", node=GridSweeperConf, provider="decodebench")


class GridSweeper(BasicSweeper):
    """The union of the products in `grids`."""

    def __init__(self, params: dict[str, str] | None = None, grids: list[dict[str, Any]] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.grids: list[dict[str, Any]] = grids or [{}]

    def sweep(self, arguments: list[str]) -> Any:
        if self.config is None or self.launcher is None or self.hydra_context is None:
            raise RuntimeError("GridSweeper.sweep was called before setup")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        jobs: list[Sequence[str]] = []
        # A name that is the time would be another one for each job: it is made once, for all of them.
        once = [] if any(word.startswith("name=") for word in arguments) else [f"name='{self.config.name}'"]
        for grid in self.grids:
            words = [*once, *self._parse_config(), *starmap(_override, grid.items()), *arguments]
            overrides = parser.parse_overrides(words)
            self._refuse_empty(overrides)
            (product,) = self.split_arguments(overrides, None)
            jobs += [job for job in product if job not in jobs]
        if not getattr(self.launcher, "checks_jobs", False):
            self._check(jobs)
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        failed = [done for done in returns if done.status == JobStatus.FAILED]
        if failed:
            raise failed[-1]._return_value  # `return_value` would print the overrides, too
        return [returns]

    def _refuse_empty(self, overrides: Sequence[Override]) -> None:
        """Raise ConfigError for a glob or a range that gives no value."""
        from decodebench.errors import ConfigError, allowed_names

        for override in overrides:
            if override.is_discrete_sweep() and not any(True for _ in override.sweep_iterator()):
                key = override.key_or_group
                names = self.hydra_context.config_loader.get_group_options(key) if self.hydra_context else []
                word = str(override.input_line).removeprefix("++")
                others = allowed_names(word.partition("(")[2], names) if names else "allowed are one or more"
                raise ConfigError(f"{word}: gives no value; {others}")

    def _check(self, jobs: Sequence[Sequence[str]]) -> None:
        """Compose and check every job, and refuse a run folder that holds other cells."""
        from decodebench.plan import job_config, plan
        from decodebench.store import RunStore

        if self.config is None or self.hydra_context is None:
            raise RuntimeError("GridSweeper checks jobs after setup")
        loader, config = self.hydra_context.config_loader, self.config
        grid = plan([job_config(loader.load_sweep_config(config, list(job))) for job in jobs])
        RunStore(grid.run_dir).refuse_foreign(job.cell.id for job in grid.jobs)


def _override(key: str, value: Any) -> str:
    """An entry of a grid as the command line would say it: a text as it is, and of a list each value."""
    values = [json.dumps(one, ensure_ascii=False) for one in (value if isinstance(value, list) else [value])]
    return f"{'++' if '.' in key else ''}{key}={value if isinstance(value, str) else ','.join(values)}"
