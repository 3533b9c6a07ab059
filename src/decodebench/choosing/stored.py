"""A choice among the strategies of a stored run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decodebench.choosing.bounds import read_bounds
from decodebench.choosing.choice import Choice
from decodebench.choosing.decide import Tried, confirm, select
from decodebench.choosing.half import Half
from decodebench.choosing.split import Split, split_prompts
from decodebench.errors import ConfigError
from decodebench.plan import ChooseConfig, catalogue
from decodebench.records import HUMAN
from decodebench.scoring import Arms, scored_run
from decodebench.store import read_manifest, write_json

SELECT, CONFIRM = " (select)", " (confirm)"
"""What the name of a prompt set ends in of which a half was decoded on its own."""
BY = "task"
"""What is chosen by where nothing else is said."""


def choose_stored(run_dir: Path, config: ChooseConfig) -> Choice:
    """Choose among the strategies of a run, and keep the choice as choice.json in its folder.

    A family is a strategy of conf/strategy, each of its settings in the run a trial. A run that was made for choosing
    has its halves as prompt sets of their own; the prompts of any other are split here. Raises ConfigError for a run of
    several models or prompt sets, and what choosing raises.
    """
    manifest = read_manifest(run_dir)
    selecting, confirming, split = halves(scored_run(run_dir).arms, config)
    tried = trials_of(manifest)
    if len(tried) < 2:
        raise ConfigError(f"{run_dir}: has one setting, there is nothing to choose; allowed are two or more")
    bounds = read_bounds(config.require)
    selected = select(tried, selecting, config.by or BY, bounds)
    keep = next(one.strategy for one in tried if one.default)
    choice = confirm(selected, selecting, confirming, split, keep=keep, cost=config.cost, bounds=bounds)
    write_json(run_dir / "choice.json", choice.as_json())
    return choice


def trials_of(manifest: Mapping[str, Any]) -> list[Tried]:
    """The settings that a run has, in its order; the default of a family is that of conf/strategy, or its first one."""
    known = catalogue()
    numbers: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for entry in manifest["cells"]:
        node = entry["config"].get("strategy") or {}
        numbers.setdefault(str(entry["strategy"]), (str(node.get("name")), node))
    defaults: dict[str, str] = {}
    for strategy, (family, node) in numbers.items():
        said = known[family].numbers if family in known else {}
        is_default = bool(said) and all(node.get(key) == value for key, value in said.items())
        if is_default or family not in defaults:
            defaults[family] = strategy
    return [
        Tried(strategy=strategy, family=family, default=defaults[family] == strategy)
        for strategy, (family, _) in numbers.items()
    ]


def halves(arms: Arms, config: ChooseConfig) -> tuple[Half, Half, Split]:
    """The two halves of a run's prompts, with what was measured on each."""
    models = {model for model, _ in arms.sets}
    sets = {prompts for _, prompts in arms.sets}
    names = {prompts.removesuffix(SELECT).removesuffix(CONFIRM) for prompts in sets}
    for what, found in (("models", models), ("prompt sets", names)):
        if len(found) > 1:
            raise ConfigError(f"choose: the run has {len(found)} {what} ({', '.join(sorted(found))}); allowed is one")
    (model,), (name,) = models, names
    if sets == {name + SELECT, name + CONFIRM}:
        selecting, confirming = (_half(arms, model, name + side) for side in (SELECT, CONFIRM))
        split = Split(kind="half", select=selecting.prompts, confirm=confirming.prompts)
        return selecting, confirming, split
    whole = _half(arms, model, next(iter(sets)))
    split = split_prompts({prompt: whole.clusters.get(prompt, prompt) for prompt in whole.prompts}, config.split)
    selecting, confirming = (
        Half(arms=whole.arms, prompts=prompts, clusters=whole.clusters) for prompts in (split.select, split.confirm)
    )
    return selecting, confirming, split


def _half(arms: Arms, model: str, prompts: str) -> Half:
    """All prompts of a set: those of which any strategy has a row in any metric."""
    of_set = {strategy: arm for strategy, arm in arms.sets[model, prompts].items() if strategy != HUMAN}
    pooled = (found for arm in of_set.values() for name in arm.names() if (found := arm.pooled(name)) is not None)
    ids = dict.fromkeys(prompt for found in pooled for prompt in found.rows)
    return Half(arms=of_set, prompts=tuple(ids), clusters=arms.clusters[model, prompts])
