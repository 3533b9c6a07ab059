"""generations -> judgements: what the task of a run says of each of its texts, and how that is told to the metrics.

Judgements are made anew from the stored texts and prompts, all of them each time; human references are not judged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from decodebench.errors import StoreError
from decodebench.metrics import Corpus, Judging
from decodebench.records import CellWarning, Generation, Judgement, Prompt, StoredPrompt
from decodebench.store import (
    cells_of,
    read_cell,
    read_manifest,
    read_records,
    write_csv,
    write_json,
    write_records,
)
from decodebench.tasks import Item, TaskConfig, check_task, direction, judge, judge_set, unit

_TABLE, _CSV = "judgements.parquet", "judgements.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A row of judgements.csv, which is for reading: a judgement beside what it is about."""

    cell: str
    model: str
    prompts: str
    strategy: str
    seed: int
    prompt_id: str
    sample: int
    value: float | None
    answer: str | None
    references: tuple[str, ...]
    prompt: str
    text: str
    reason: str | None


def judge_run(run_dir: Path, config: TaskConfig) -> None:
    """Judge the texts of a run folder: leaves judgements.parquet, judgements.csv and the key `task` of the manifest.
    With task=none it leaves none of them.

    Raises ConfigError where its prompts cannot be judged so, StoreError for a folder that lacks its prompts.
    """
    manifest = read_manifest(run_dir)
    if config.name == "none":
        _leave(run_dir, manifest, None)
        return
    prompts = _prompts(run_dir, manifest)
    for of_set in prompts.values():
        check_task(config, list(of_set.values()))
    path = run_dir / "generations.parquet"
    stored = cells_of(path, Generation)
    judgements: list[Judgement] = []
    whole: dict[str, Any] = {}
    rows: list[_Read] = []
    for entry in manifest["cells"]:
        if entry["id"] not in stored:
            continue
        texts = read_cell(path, Generation, entry["id"])
        items = [_item(run_dir, text, prompts.get(entry["prompts"], {})) for text in texts]
        judged = judge(config, items)
        found = [
            Judgement(cell=text.cell, prompt_id=text.prompt_id, sample=text.sample, **asdict(each))
            for text, each in zip(texts, judged, strict=True)
        ]
        counted = [n for n, text in enumerate(texts) if not text.is_search or text.sample == 0]
        if together := judge_set(config, [items[n] for n in counted], [judged[n] for n in counted]):
            whole[entry["id"]] = asdict(together)
        judgements += found
        rows += [_read(entry, *each) for each in zip(texts, items, found, strict=True)]
    write_records(run_dir / _TABLE, Judgement, judgements)
    write_csv(run_dir / _CSV, _Read, rows)
    _leave(run_dir, manifest, _told(config) | {"whole": whole, "error": None})


def leave_unjudged(run_dir: Path, config: TaskConfig, error: str) -> None:
    """The folder of a run whose texts could not be judged: the task's metrics have no value, for this reason."""
    _leave(run_dir, read_manifest(run_dir), _told(config) | {"whole": {}, "error": error})


def _leave(run_dir: Path, manifest: Mapping[str, Any], task: Mapping[str, Any] | None) -> None:
    """Put the task into the manifest; without judgements there are no files of them."""
    if task is None or task["error"] is not None:
        for name in (_TABLE, _CSV):
            (run_dir / name).unlink(missing_ok=True)
    told = {key: value for key, value in manifest.items() if key != "task"}
    if task is not None or "task" in manifest:
        write_json(run_dir / "manifest.json", told if task is None else {**told, "task": task})


def _told(config: TaskConfig) -> dict[str, Any]:
    """What the manifest says of a task: its keys that are not as they are by default, and what tells its rule apart
    from others."""
    keys = {f.name: getattr(config, f.name) for f in fields(config)}
    rule = {key: value for key, value in keys.items() if key != "k"}
    digest = hashlib.sha256(json.dumps(rule, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
    return {"config": keys, "rule": digest[:8], "direction": direction(config), "unit": unit(config)}


def _prompts(run_dir: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Prompt]]:
    """The prompts of each set, by id."""
    if manifest["cells"] and not (run_dir / "prompts.parquet").exists():
        raise StoreError(
            f"{run_dir}: has no prompts.parquet, it was made before runs kept their references; run its command again"
        )
    found: dict[str, dict[str, Prompt]] = {}
    for row in read_records(run_dir / "prompts.parquet", StoredPrompt, optional=True):
        found.setdefault(row.prompts, {})[row.prompt_id] = row.prompt
    return found


def _item(run_dir: Path, text: Generation, prompts: Mapping[str, Prompt]) -> Item:
    if text.prompt_id not in prompts:
        raise StoreError(f"{run_dir}/prompts.parquet: lacks the prompt {text.prompt_id!r} of generations.parquet")
    return Item(prompt=prompts[text.prompt_id], sample=text.sample, text=text.text)


def _read(entry: Mapping[str, Any], text: Generation, item: Item, found: Judgement) -> _Read:
    return _Read(
        cell=text.cell,
        model=text.model,
        prompts=entry["prompts"],
        strategy=text.strategy,
        seed=text.seed,
        prompt_id=text.prompt_id,
        sample=text.sample,
        value=found.value,
        answer=found.answer,
        references=item.prompt.references,
        prompt=text.prompt,
        text=text.text,
        reason=found.reason,
    )


def judging_of(run_dir: Path, manifest: Mapping[str, Any]) -> Judging | None:
    """How the texts of a run were judged; None where they were not. Of the default `task.k`: one sample and the largest
    number that a prompt of the run has."""
    task = manifest.get("task")
    if task is None:
        return None
    ks = task["config"].get("k")
    if ks is None:
        judgements = read_records(run_dir / _TABLE, Judgement, optional=True)
        ks = (1, max((judgement.sample + 1 for judgement in judgements), default=1))
    ks = tuple(dict.fromkeys(ks))
    return Judging(ks=ks, rule=task["rule"], direction=task["direction"], unit=task["unit"])


def judged_whole(manifest: Mapping[str, Any], cell: str) -> float | str | None:
    """What the judge said of all texts of a cell together, or why nothing (`Corpus.judged_whole`)."""
    task = manifest.get("task") or {"error": None, "whole": {}}
    if task["error"] is not None:
        return str(task["error"])
    said = task["whole"].get(cell)
    if said is None:
        return None
    return str(said["reason"]) if said["value"] is None else float(said["value"])


def unjudged(texts: Corpus) -> list[CellWarning]:
    """A line on the texts of a cell that the judge gave no value, with the first of them."""
    of_cell = [text for of_prompt in texts.prompts.values() for text in of_prompt if text.judgement is not None]
    lacking = [text.judgement for text in of_cell if text.judgement is not None and text.judgement.value is None]
    if not lacking or texts.judged_whole is not None:
        return []
    line = (
        f"{len(lacking)} of {len(of_cell)} texts have no judgement, and are left out of the metrics of the task; the "
        f"first: {lacking[0].reason}"
    )
    return [CellWarning(warning=line, cells=(texts.first.cell,), metric="task")]
