"""A sweeper for unions of grids: each strategy brings its own numbers, without a cross product of nonsense.

Hydra's basic sweeper makes one product of all lists. Here `hydra.sweeper.grids` may hold several products, one after
the other; what the command line says holds for each of them. All jobs are checked before the first one starts, and no
file is written here. It builds on a class that Hydra keeps internal, hence hydra-core<1.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


@dataclass
class GridSweeperConf:
    """hydra/sweeper=grids"""

    _target_: str = "hydra_plugins.decodebench_launcher.grid_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    grids: list[dict[str, Any]] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="grids", node=GridSweeperConf, provider="decodebench")


class GridSweeper(BasicSweeper):
    """The union of the products in `grids`."""

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        grids: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.grids: list[dict[str, Any]] = list(grids or [{}])

    def sweep(self, arguments: list[str]) -> Any:
        if self.config is None or self.launcher is None or self.hydra_context is None:
            raise RuntimeError("GridSweeper.sweep was called before setup")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        jobs: list[Sequence[str]] = []
        for grid in self.grids:
            words = [*self._parse_config(), *(f"{key}={value}" for key, value in grid.items()), *arguments]
            (product,) = self.split_arguments(parser.parse_overrides(words), None)
            jobs += [job for job in product if job not in jobs]
        self._check(jobs)
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        for done in returns:
            _ = done.return_value  # raises what the job raised
        return [returns]

    def _check(self, jobs: Sequence[Sequence[str]]) -> None:
        """Compose and check every job, whatever the launcher, and refuse a run folder that holds other cells."""
        from decodebench.cells import plan
        from decodebench.config import job_config
        from decodebench.store import RunStore

        if self.config is None or self.hydra_context is None:
            raise RuntimeError("GridSweeper checks jobs after setup")
        loader, config = self.hydra_context.config_loader, self.config
        grid = plan([job_config(loader.load_sweep_config(config, list(job))) for job in jobs])
        RunStore(grid.run_dir).refuse_foreign(job.cell.id for job in grid.jobs)
