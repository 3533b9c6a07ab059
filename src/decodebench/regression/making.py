"""A stored run -> its baseline: texts, the rows of every metric by prompt, and what both were made with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import stdev
from typing import Any

from decodebench.errors import StoreError
from decodebench.metrics import Metric, chosen
from decodebench.records import Generation, StoredPrompt
from decodebench.regression.baseline import (
    Baseline,
    BaselineArm,
    BaselineMetric,
    BaselineText,
    significant,
)
from decodebench.scoring import Arm, Arms, ScoredRun, scored_run
from decodebench.store import other_model, read_cell, read_manifest, read_records

MARGIN_DIGITS = 3
"""A margin is only held against the size of a noise."""

_OF_THE_RUN = ("created", "command", "git_commit", "versions", "machine")
_OF_A_MODEL = (
    *("source", "fingerprint", "dtype", "device", "exactness"),
    *("resolved_config", "tokenizer", "chat_template", "eos_ids"),
)
Entries = list[Mapping[str, Any]]


def make_baseline(run_dir: Path, *, whole: bool = True, **changes: Any) -> Baseline:
    """What a check needs of a stored run. Its metrics are computed anew; nothing is written, and no model is read.

    Kept of the metrics are those with a row for each prompt; not those of leading units and the distances from human
    references. Raises StoreError for a run of texts that were made elsewhere and, unless `whole` is false, for one that
    is not finished, or in which a cell failed or could not be read; else such cells are left out. `changes` are keys of
    MetricsConfig that are to be otherwise than the run's configuration says.
    """
    manifest = read_manifest(run_dir)
    _refuse(run_dir, manifest, whole)
    scored = scored_run(run_dir, **changes)
    prompts: dict[str, dict[str, str]] = {}
    fed: dict[tuple[str, str], dict[str, str]] = {}
    arms = []
    for (model, prompt_set, strategy), entries in _by_arm(manifest).items():
        texts: dict[int, dict[str, list[Generation]]] = {}
        for entry in entries:
            for text in read_cell(run_dir / "generations.parquet", Generation, entry["id"]):
                texts.setdefault(entry["seed"], {}).setdefault(text.prompt_id, []).append(text)
                prompts.setdefault(prompt_set, {})[text.prompt_id] = sha256(text.prompt)
                if text.prompt_ids_sha256 is not None:
                    fed.setdefault((model, prompt_set), {})[text.prompt_id] = text.prompt_ids_sha256
        if not texts:
            continue  # of a run that need not be whole
        arms.append(
            BaselineArm(
                model=model,
                prompts=prompt_set,
                strategy=strategy,
                is_search=_comes_again(entries[0], texts),
                config=entries[0]["config"],
                texts={seed: {id_: _kept(found) for id_, found in of.items()} for seed, of in texts.items()},
                metrics=_metrics(scored.arms.sets[model, prompt_set][strategy], scored),
            )
        )
    clusters: dict[str, dict[str, str]] = {}
    for row in read_records(run_dir / "prompts.parquet", StoredPrompt, optional=True):
        if row.cluster is not None and row.prompt_id in prompts.get(row.prompts, {}):
            clusters.setdefault(row.prompts, {})[row.prompt_id] = row.cluster
    return Baseline(made=_made(manifest, scored), prompts=prompts, arms=tuple(arms), fed=fed, clusters=clusters)


def with_noise(baseline: Baseline, seeds_dir: Path) -> Baseline:
    """The same with the noise of a run of its own configuration with other seeds: of each metric of each arm that this
    run has, the standard deviation of the value of one seed (None where a seed has no value).

    Raises StoreError where cells of it failed, or where its model was another one.
    """
    manifest = read_manifest(seeds_dir)
    for failed in manifest["failed"]:
        raise StoreError(f"seed noise: a cell with another seed failed: {failed['error']}")
    scored = scored_run(seeds_dir)
    drawn = {_told(entries[0]["config"]): (names, entries[0]) for names, entries in _by_arm(manifest).items()}
    arms = []
    for arm in baseline.arms:
        names, entry = drawn.get(_told(arm.config), (None, {}))
        if names is None:
            arms.append(arm)
            continue
        _refuse_other_model(arm.model, baseline.made["models"][arm.model], manifest["models"][entry["model"]])
        seeds = _arm(scored.arms, names)
        metrics = {name: replace(metric, noise=_noise(seeds, name)) for name, metric in arm.metrics.items()}
        arms.append(replace(arm, metrics=metrics))
    return replace(baseline, made={**baseline.made, "noise_seeds": list(manifest["seed"])}, arms=tuple(arms))


def run_key(configs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """A short name for a run of these configurations with these seeds: a stopped one goes on only with its own."""
    return sha256(json.dumps([configs, list(seeds)], sort_keys=True, default=str))[:8]


def sha256(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse(run_dir: Path, manifest: Mapping[str, Any], whole: bool) -> None:
    """Raise StoreError for a run that no baseline can be made of."""
    if "source" in manifest:
        raise StoreError(
            f"{run_dir}: its texts were made elsewhere ({manifest['source'].get('file')}) and have no tokens; allowed "
            "is a run that decodebench decoded"
        )
    if not manifest["cells"]:
        raise StoreError(f"{run_dir}: has no cells; a baseline is made of a run that has texts")
    if not whole:
        return
    strategies = {cell["id"]: cell["strategy"] for cell in manifest["cells"]}
    again = "; run its command again, or without this cell"
    for failed in manifest["failed"]:
        name = strategies.get(failed["cell"], failed["cell"])
        raise StoreError(f"{run_dir}: the cell {name} failed ({failed['error']}); a baseline must be whole{again}")
    for unread in manifest.get("unread") or ():
        raise StoreError(f"{run_dir}: not all texts could be read again ({unread['error']}); a baseline must be whole")
    if manifest.get("status", "complete") != "complete":
        raise StoreError(f"{run_dir}: is not finished (status {manifest['status']}); run its command again first")


def _by_arm(manifest: Mapping[str, Any]) -> dict[tuple[str, str, str], Entries]:
    """The cells that did not fail, all seeds of an arm together, in the manifest's order."""
    failed = {entry["cell"] for entry in manifest["failed"]}
    found: dict[tuple[str, str, str], Entries] = {}
    for entry in manifest["cells"]:
        if entry["id"] not in failed:
            found.setdefault((entry["model"], entry["prompts"], entry["strategy"]), []).append(entry)
    return found


def _comes_again(entry: Mapping[str, Any], texts: Mapping[int, Mapping[str, list[Generation]]]) -> bool:
    """Whether another seed would give the same texts; a beam search that draws its beams is a search, but samples."""
    draws = (entry.get("generation_config") or {}).get("do_sample", False)
    return not draws and any(text.is_search for of in texts.values() for found in of.values() for text in found)


def _kept(texts: list[Generation]) -> tuple[BaselineText, ...]:
    return tuple(
        BaselineText(
            sample=text.sample,
            token_ids=text.token_ids,
            text=text.text,
            sha256=sha256(text.text),
            finish_reason=text.finish_reason,
            score=None if text.score is None else significant(text.score),
            margins=None
            if text.token_margins is None
            else tuple(significant(margin, MARGIN_DIGITS) for margin in text.token_margins),
        )
        for text in sorted(texts, key=lambda each: each.sample)
    )


def _metrics(arm: Arm, scored: ScoredRun) -> dict[str, BaselineMetric]:
    """The metrics of the tables that are made of rows by prompt, pooled over the seeds."""
    by_prompt = {metric.name for metric in chosen(scored.config) if isinstance(metric, Metric)}
    found = {}
    for name, each in arm.seeds[0].items():
        of_task = isinstance(each.metric, Metric) and each.metric.group == "task"
        pooled = arm.pooled(name) if of_task or each.metric.name in by_prompt else None
        if pooled is not None:
            found[name] = BaselineMetric(
                version=pooled.version,
                unit=pooled.unit,
                direction=pooled.direction,
                value=None if pooled.value is None else significant(pooled.value),
                reason=pooled.reason,
                rows={id_: tuple(map(significant, map(float, row_K))) for id_, row_K in pooled.rows.items()},
            )
    return found


def _made(manifest: Mapping[str, Any], scored: ScoredRun) -> dict[str, Any]:
    """What the run was made with, as far as a check lists what changed."""
    models = {
        label: {key: entry[key] for key in _OF_A_MODEL if key in entry} for label, entry in manifest["models"].items()
    }
    return {
        "run": manifest.get("name"),
        **{key: manifest.get(key) for key in _OF_THE_RUN},
        "models": models,
        "second_models": manifest.get("second_models") or {},
        "second_identities": manifest.get("second_identities") or {},
        "scorer": manifest.get("scorer"),
        "metrics": asdict(scored.config),
        "task": (manifest.get("task") or {}).get("config"),
    }


def _told(config: Mapping[str, Any]) -> str:
    """What tells the arms of two runs of one configuration: labels depend on what else a run has."""
    return json.dumps([config[key] for key in ("model", "prompts", "strategy")], sort_keys=True, default=str)


def _arm(arms: Arms, names: tuple[str, str, str]) -> Arm:
    model, prompts, strategy = names
    return arms.sets[model, prompts][strategy]


def _noise(arm: Arm, name: str) -> float | None:
    values = [seed[name].value for seed in arm.seeds if name in seed]
    known = [value for value in values if value is not None]
    return significant(stdev(known)) if 1 < len(known) == len(arm.seeds) else None


def _refuse_other_model(label: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if other := other_model(then, now):
        raise StoreError(
            f"seed noise: model={label} has other {other.parts} now ({other.changes}) than when the run was made; make "
            "the run again first"
        )
