"""configuration -> cells: the plan of a run. What can be known to be wrong before a model is loaded, is said here."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from decodebench.errors import ConfigError, allowed_names
from decodebench.metrics import check_rank_by
from decodebench.models import ModelConfig, ScorerConfig
from decodebench.plan.config import EngineConfig, JobConfig, LatencyConfig
from decodebench.plan.measured import refuse_too_many, refuse_unmeasured
from decodebench.prompts import PromptsConfig, load_prompts, prompts_sha256, told_date
from decodebench.records import HUMAN, Cell, Prompt
from decodebench.strategies import Strategy
from decodebench.tasks import TaskConfig, check_task

_MODEL_KEYS = ("source", "id", "revision", "path", "dtype", "tokenizer", "pad_to_eos")
_TELLING_KEYS: Mapping[str, Sequence[str] | None] = {
    "model": (*_MODEL_KEYS, "mask_unused"),
    "prompts": (
        *("source", "path", "id", "split", "revision", "config_name"),
        *("corpus", "first_year", "last_year", "prompt_words", "reference_words", "ids", "limit", "template", "date"),
    ),
    "strategy": None,  # all of them
}
_SERVED = "served_"
"""What an engine does by itself is a row of its own, also where it does what another strategy does."""
_COUNT = "num_return_sequences"
_ONE_PER_RUN = ("name", "results", "metrics", "scorer", "task", "choose", "latency", "engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A cell with what it takes to decode it."""

    cell: Cell
    strategy: Strategy
    model: ModelConfig
    prompts: tuple[Prompt, ...]
    prompts_sha256: str
    template: str | None
    date: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run: its folder, its cells in the order of the grid, and what is the same for all of them."""

    name: str
    run_dir: Path
    jobs: tuple[Job, ...]
    scorer: ScorerConfig
    task: TaskConfig
    latency: LatencyConfig
    engine: EngineConfig

    def by_model(self) -> list[list[Job]]:
        """The cells that share a model, in the order in which the grid names the models."""
        groups: dict[str, list[Job]] = {}
        for job in self.jobs:
            groups.setdefault(repr(job.model), []).append(job)
        return list(groups.values())


def plan(configs: Sequence[JobConfig]) -> Plan:
    """The plan of a grid. A cell that the grid names twice is decoded once.

    Raises ConfigError where a key that holds for the whole run is swept, and what reading the prompts raises.
    """
    if not configs:
        raise ConfigError("-m: a sweep gives no value; allowed are one or more for each key")
    first = configs[0]
    for key in _ONE_PER_RUN:
        values = {str(getattr(config, key)) for config in configs}
        if len(values) > 1:
            raise ConfigError(f"{key}: cannot be swept, it holds for the whole run; allowed is one value")
    check_rank_by(first.metrics)
    sets: dict[str, tuple[tuple[Prompt, ...], str]] = {}
    jobs: dict[str, Job] = {}
    for config in configs:
        key = repr(config.prompts)
        if key not in sets:
            prompts = load_prompts(config.prompts)
            check_task(config.task, prompts)
            sets[key] = (prompts, prompts_sha256(prompts))
        job = _job(config, *sets[key])
        _refuse_two_counts(jobs.setdefault(job.cell.id, job), job)
    cells = [(job.strategy, job.prompts) for job in jobs.values()]
    refuse_too_many(first.task, [strategy for strategy, _ in cells])
    refuse_unmeasured(first.metrics, first.scorer, first.task, first.latency, cells)
    labels = cell_labels({cell: job.cell.config for cell, job in jobs.items()})
    strategies = [*dict.fromkeys(label["strategy"] for label in labels.values()), HUMAN]
    if first.metrics.against not in (None, *strategies):
        raise ConfigError(
            f"metrics.against={first.metrics.against}: {allowed_names(str(first.metrics.against), strategies)}"
        )
    return Plan(
        name=first.name,
        run_dir=Path(first.results) / first.name,
        jobs=tuple(_labelled(job, **labels[cell]) for cell, job in jobs.items()),
        scorer=first.scorer,
        task=first.task,
        latency=first.latency,
        engine=first.engine,
    )


def _job(config: JobConfig, prompts: tuple[Prompt, ...], sha256: str) -> Job:
    model: ModelConfig = config.model
    prompt_set: PromptsConfig = config.prompts
    changes_tokens = {
        "model": model_told(model),
        "prompts": sha256,
        "strategy": _rule_told(config.strategy, config.resolved["strategy"]),
        "seed": config.seed,
        **_around(config.resolved["prompts"]),
    }
    cell = Cell(
        id=_hash(changes_tokens),
        model=model.name,
        prompts=prompt_set.name,
        strategy=config.strategy_name,
        seed=config.seed,
        config={k: v for k, v in config.resolved.items() if k not in ("name", "results")},
    )
    return Job(
        cell=cell,
        strategy=config.strategy,
        model=model,
        prompts=prompts,
        prompts_sha256=sha256,
        template=prompt_set.template,
        date=told_date(config.resolved["prompts"]),
    )


def _refuse_two_counts(one: Job, other: Job) -> None:
    """Raise ConfigError where two cells differ in the number of their samples alone: the fewer are the first of the
    more."""
    counts = (one.strategy.samples, other.strategy.samples)
    if counts[0] != counts[1]:
        raise ConfigError(
            f"strategy.{_COUNT}={counts[0]},{counts[1]}: cannot be swept, the first samples of {other.cell.strategy} "
            "are the same ones; allowed is one value, the largest"
        )


def _rule_told(strategy: Strategy, node: Mapping[str, Any]) -> dict[str, Any]:
    """What of a strategy's yaml changes the tokens of a text. How many independent samples there are does not: one more
    is one more text. The texts of a search are ranks of one request, which their number belongs to."""
    independent = not strategy.is_search and strategy.returns == 1 and strategy.samples == node.get(_COUNT)
    served = str(node["name"]).startswith(_SERVED)
    untold = {*(() if served else ("name",)), *((_COUNT,) if independent else ())}
    untold |= {key for key in ("stop", "stop_keep") if not node.get(key)}  # so that older cells keep their ids
    return {key: value for key, value in node.items() if key not in untold}


def model_told(model: ModelConfig) -> dict[str, Any]:
    """What of a model's configuration changes tokens: which one it is, and not where it runs."""
    told = {key: getattr(model, key) for key in _MODEL_KEYS}
    # only where it is set, so that cells of before it was there keep their ids
    return told | ({"mask_unused": True} if model.mask_unused else {})


def reference_id(config: Mapping[str, Any], sha256: str) -> str:
    """The id of the references of a cell's prompts, read by its model, as a cell of their own.

    `config` is the resolved configuration of the cell, `sha256` that of its prompts.
    """
    model, prompts = config["model"], config["prompts"]
    told = {"model": {key: model.get(key) for key in _MODEL_KEYS}, "prompts": sha256}
    return f"{HUMAN}-{_hash(told | _around(prompts))}"


def _around(prompts: Mapping[str, Any]) -> dict[str, Any]:
    """What is put around the texts of a prompt set; of a date only where there is one."""
    day = told_date(prompts)
    return {"template": prompts.get("template")} | ({} if day is None else {"date": day})


def _hash(told: Mapping[str, Any]) -> str:
    canonical = json.dumps(told, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _labelled(job: Job, *, model: str, prompts: str, strategy: str) -> Job:
    return replace(job, cell=replace(job.cell, model=model, prompts=prompts, strategy=strategy))


def cell_labels(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Cell id -> its `model`, `prompts` and `strategy`, each by name, with what tells it from its namesakes in the run.

    `configs` are the cells' resolved configurations. Two cells with the same strategy (other model, prompts or seed)
    have the same label for it.
    """
    return {
        cell: {
            noun: _label(config[noun], [other[noun] for other in configs.values()], keys)
            for noun, keys in _TELLING_KEYS.items()
        }
        for cell, config in configs.items()
    }


def _label(node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], keys: Sequence[str] | None) -> str:
    namesakes = [other for other in nodes if other["name"] == node["name"]]
    telling = [k for k in keys or node if any(other.get(k) != node.get(k) for other in namesakes)]
    return " ".join([str(node["name"]), *(f"{k}={_short(node.get(k))}" for k in telling)])


def _short(value: Any) -> str:
    """A value on one line, as the command line would say it."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_entry, value)) + "]"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return " ".join(text.split())


def _entry(value: Any) -> str:
    """An entry of a list; a text whose white space one line would lose is quoted."""
    shown = _short(value)
    return shown if not isinstance(value, str) or shown == value else json.dumps(value, ensure_ascii=False)
