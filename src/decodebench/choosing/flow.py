"""A choice from its families to choice.json: every setting on one half of the prompts, the best ones on the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from decodebench.choosing.bounds import Bound, read_bounds
from decodebench.choosing.decide import select
from decodebench.choosing.race import rounds_of, still_in
from decodebench.choosing.split import CONFIRM, SELECT, Split, named, side_of, split_prompts
from decodebench.choosing.stored import BY, choose_among, selecting_half, trials_of
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
    clusters = prompt_clusters(load_prompts(config.prompts))
    split = split_prompts(clusters, choose.split)
    settings = trials(choose, config.resolved["strategy"], config.seed)
    failed: list[RunFailedError] = []
    jobs, run_dir = _to_select(config, split, clusters, [trial.node for trial in settings], bounds, failed)
    if split.kind == "half":
        manifest = read_manifest(run_dir)
        selecting = selecting_half(scored_run(run_dir).arms)
        selected = select(trials_of(manifest), selecting, choose.by or BY, bounds)
        nodes, name = _nodes(manifest), named(config.prompts.name, CONFIRM)
        # contenders of another choice by the same name stay beside these
        confirming = [_job(config, nodes[one], name, split.confirm) for one in selected.contenders]
        _execute(jobs + confirming, failed, [name])
    scored = scored_run(run_dir)
    keep(run_dir, scored)
    choose_among(run_dir, scored.arms, choose)
    report = render(run_dir)
    echo(report.table)
    echo(f"\nreport: {report.html}")
    if failed:
        raise failed[-1]
    return run_dir


def _to_select(
    config: JobConfig,
    split: Split,
    clusters: Mapping[str, str],
    settings: Sequence[Mapping[str, Any]],
    bounds: Sequence[Bound],
    failed: list[RunFailedError],
) -> tuple[list[JobConfig], Path]:
    """Decode the settings on the prompts that choose, in a race round by round. What was decoded, and where it is."""
    by = config.choose.by or BY
    if split.kind == "none":
        jobs = [_job(config, node) for node in settings]
        return jobs, _execute(jobs, failed)
    rounds = rounds_of({id_: clusters[id_] for id_ in split.select}) if config.choose.race else (split.select,)
    names = [named(config.prompts.name, SELECT, n if config.choose.race else None) for n in range(1, len(rounds) + 1)]
    jobs = []
    for number, (name, prompts) in enumerate(zip(names, rounds, strict=True), start=1):
        jobs += [_job(config, node, name, prompts) for node in settings]
        run_dir = _execute(jobs, failed, [*names[number:], named(config.prompts.name, CONFIRM)])
        if number < len(rounds):
            selecting, nodes = selecting_half(scored_run(run_dir).arms), _nodes(read_manifest(run_dir))
            going = [one for one in nodes if selecting.in_rounds.get(one) == number]
            going = still_in(going, selecting, by, prompts=len(split.select), looks=len(rounds) - 1, bounds=bounds)
            settings = [nodes[one] for one in going]
    return jobs, run_dir


def _nodes(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each strategy's configuration."""
    return {entry["strategy"]: entry["config"]["strategy"] for entry in manifest["cells"]}


def _check_by(config: JobConfig) -> None:
    """Raise ConfigError where there is nothing to choose by, or what is to be chosen by cannot be."""
    if config.choose.by is None and config.task.name == "none":
        raise ConfigError(
            "choose.by=null: there is no task to choose by; allowed are a task, as in task=exact_match, or a metric, "
            "as in choose.by=diversity"
        )
    check_rank_by(replace(config.metrics, rank_by=[config.choose.by or BY]), "choose.by")


def _execute(jobs: Sequence[JobConfig], failed: list[RunFailedError], later: Sequence[str] = ()) -> Path:
    """Decode and score these cells. Cells that fail compete no more; that some did is told at the end. `later` are the
    prompt sets whose turn comes after these: where a choice goes on, the folder may have some of them."""
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
    goes_on = bool(stored) and all(cell["id"] in ids or cell["prompts"] in later for cell in stored)
    try:
        return execute(todo, adds=goes_on, reports=False)
    except RunFailedError as error:
        failed.append(error)
        return todo.run_dir


def _job(config: JobConfig, node: Mapping[str, Any], name: str | None = None, ids: Sequence[str] = ()) -> JobConfig:
    """A setting on the prompts of a side, as a set of this name; or on all of them. What confirms has a seed of its
    own, so that no luck is carried over."""
    prompts, seed = dict(config.resolved["prompts"]), config.seed
    if name is not None:
        prompts |= {"name": name, "ids": list(ids), "limit": None}
        seed += side_of(name) == CONFIRM
    return resolved_job({**config.resolved, "prompts": prompts, "strategy": dict(node), "seed": seed})
