"""The launcher that runs a whole sweep at once: cells that share a model are decoded in one packed batch.

Hydra imports every plugin at each start, so this file imports nothing heavy at its top.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class PackedLauncherConf:
    """hydra/launcher=packed"""

    _target_: str = "hydra_plugins.decodebench_launcher.packed_launcher.PackedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="packed", node=PackedLauncherConf, provider="decodebench")


class PackedLauncher(Launcher):
    """Hands all jobs of a sweep to decodebench as one run."""

    checks_jobs = True
    """All jobs are composed and checked before anything is done (see GridSweeper)."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if self.config is None or self.hydra_context is None:
            raise RuntimeError("PackedLauncher.launch was called before setup")
        from decodebench.choosing import carry_out
        from decodebench.plan import job_config

        setup_globals()
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)
        loader = self.hydra_context.config_loader
        configs = [loader.load_sweep_config(self.config, list(overrides)) for overrides in job_overrides]
        run_dir = carry_out([job_config(cfg) for cfg in configs])
        returns = []
        for overrides, cfg in zip(job_overrides, configs, strict=True):
            done = JobReturn(overrides=filter_overrides(overrides), cfg=cfg, hydra_cfg=cfg, status=JobStatus.COMPLETED)
            done.return_value = str(run_dir)
            returns.append(done)
        return returns
