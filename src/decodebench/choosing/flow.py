"""A choice from its families to choice.json: every setting on one half of the prompts, the best ones on the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from decodebench.choosing.bounds import read_bounds
from decodebench.choosing.decide import select
from decodebench.choosing.split import Split, split_prompts
from decodebench.choosing.stored import BY, CONFIRM, SELECT, choose_among, half, trials_of
from decodebench.errors import ConfigError
from decodebench.metrics import check_rank_by
from decodebench.plan import JobConfig, plan, refuse_unmeasured, resolved_job, trials
from decodebench.prompts import load_prompts
from decodebench.report import render
from decodebench.run import RunFailedError, execute
from decodebench.scoring import keep, prompt_clusters, scored_run
from decodebench.store import RunStore, read_manifest


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


def _choose(config: JobConfig, echo: Callable[[str], None]) -> Path:
    """The stages of a choice. Each leaves what it found in the run's folder, so that a choice that was stopped goes on
    with the same settings."""
    choose, bounds = config.choose, read_bounds(config.choose.require)
    _check_by(config)
    split = split_prompts(prompt_clusters(load_prompts(config.prompts)), choose.split)
    settings = trials(choose, config.resolved["strategy"], config.seed)
    first = [_job(config, trial.node, split, SELECT) for trial in settings]
    failed: list[RunFailedError] = []
    run_dir = _execute(first, failed)
    if split.kind == "half":
        manifest = read_manifest(run_dir)
        selecting = half(scored_run(run_dir).arms, of=SELECT)
        selected = select(trials_of(manifest), selecting, choose.by or BY, bounds)
        nodes = {entry["strategy"]: entry["config"]["strategy"] for entry in manifest["cells"]}
        _execute(first + [_job(config, nodes[one], split, CONFIRM) for one in selected.contenders], failed)
    scored = scored_run(run_dir)
    keep(run_dir, scored)
    choose_among(run_dir, scored.arms, choose)
    report = render(run_dir)
    echo(report.table)
    echo(f"\nreport: {report.html}")
    if failed:
        raise failed[-1]
    return run_dir


def _check_by(config: JobConfig) -> None:
    """Raise ConfigError where there is nothing to choose by, or what is to be chosen by cannot be."""
    if config.choose.by is None and config.task.name == "none":
        raise ConfigError(
            "choose.by=null: there is no task to choose by; allowed are a task, as in task=exact_match, or a metric, "
            "as in choose.by=diversity"
        )
    check_rank_by(replace(config.metrics, rank_by=[config.choose.by or BY]), "choose.by")


def _execute(jobs: Sequence[JobConfig], failed: list[RunFailedError]) -> Path:
    """Decode and score these cells. Cells that fail compete no more; that some did is told at the end."""
    first = jobs[0]
    todo = plan(jobs)
    refuse_unmeasured(
        replace(first.metrics, rank_by=[first.choose.by or BY]),
        *(first.scorer, first.task, first.latency),
        [(job.strategy, job.prompts) for job in todo.jobs],
        "choose.by",
    )
    ids = {job.cell.id for job in todo.jobs}
    stored = RunStore(todo.run_dir).manifest.get("cells", ())
    # what confirms stays where a choice goes on, and nothing else of another grid
    goes_on = bool(stored) and all(cell["id"] in ids or cell["prompts"].endswith(CONFIRM) for cell in stored)
    try:
        return execute(todo, adds=goes_on, reports=False)
    except RunFailedError as error:
        failed.append(error)
        return todo.run_dir


def _job(config: JobConfig, node: Mapping[str, Any], split: Split, side: str) -> JobConfig:
    """A setting on one half of the prompts; what confirms has a seed of its own, so that no luck is carried over."""
    prompts = dict(config.resolved["prompts"])
    if split.kind == "half":
        ids = split.select if side == SELECT else split.confirm
        prompts |= {"name": f"{prompts['name']}{side}", "ids": list(ids), "limit": None}
    seed = config.seed + (side == CONFIRM)
    return resolved_job({**config.resolved, "prompts": prompts, "strategy": dict(node), "seed": seed})
