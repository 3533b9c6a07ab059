"""A choice among the strategies of a stored run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from decodebench.choosing.bounds import read_bounds
from decodebench.choosing.choice import Choice, Race
from decodebench.choosing.decide import Tried, confirm, select
from decodebench.choosing.half import Half
from decodebench.choosing.split import CONFIRM, SELECT, Split, side_of, split_prompts
from decodebench.errors import ConfigError
from decodebench.plan import ChooseConfig, catalogue
from decodebench.records import HUMAN
from decodebench.scoring import Arm, Arms, scored_run
from decodebench.store import read_manifest, write_json

BY = "task"
"""What is chosen by where nothing else is said."""


def choose_stored(run_dir: Path, config: ChooseConfig) -> Choice:
    """Choose among the strategies of a run, and keep the choice as choice.json in its folder.

    A family is a strategy of conf/strategy, each of its settings in the run a trial. A run that was made for choosing
    has its halves as prompt sets of their own; the prompts of any other are split here. Raises ConfigError for a run of
    several models or prompt sets, and what choosing raises.
    """
    return choose_among(run_dir, scored_run(run_dir).arms, config)


def choose_among(run_dir: Path, arms: Arms, config: ChooseConfig) -> Choice:
    """The same, given what was scored of the run."""
    manifest = read_manifest(run_dir)
    selecting, confirming, split = halves(arms, config)
    tried = trials_of(manifest)
    if len(tried) < 2:
        raise ConfigError(f"{run_dir}: has one setting, there is nothing to choose; allowed are two or more")
    bounds = read_bounds(config.require)
    selected = select(tried, selecting, config.by or BY, bounds)
    keep = next(one.strategy for one in tried if one.default)
    choice = confirm(selected, selecting, confirming, split, keep=keep, cost=config.cost, bounds=bounds)
    cells = [cell for cell in manifest["cells"] if cell["strategy"] == choice.recommended]
    # the one that confirmed, where there are several
    choice = replace(choice, cell=str(cells[-1]["id"]), race=_race(manifest, tried, selecting))
    write_json(run_dir / "choice.json", choice.as_json())
    return choice


def _race(manifest: Mapping[str, Any], tried: Sequence[Tried], selecting: Half) -> Race | None:
    """Who left a race when, and what was not decoded for that; None where every setting was in all rounds."""
    count = len(selecting.rounds)
    if count < 2:
        return None
    nodes = {cell["strategy"]: cell["config"]["strategy"] for cell in manifest["cells"]}
    decoded = saved = 0
    dropped = {}
    for one in (each.strategy for each in tried):
        samples = int(nodes[one].get("num_return_sequences") or 1)
        prompts = [len(part) for part in selecting.rounds]
        stayed = selecting.in_rounds.get(one, 0)
        decoded += samples * sum(prompts[:stayed])
        saved += samples * sum(prompts[stayed:])
        if stayed < count:
            dropped[one] = sum(prompts[:stayed])
    return Race(rounds=tuple(map(len, selecting.rounds)), dropped=dropped, texts=decoded, texts_saved=saved)


def configured(run_dir: Path, **changes: Any) -> ChooseConfig:
    """How a run is chosen from: as its configuration says, but for these keys (None: as it says). Keys that are not
    ours are left alone."""
    known = {field.name for field in fields(ChooseConfig)}
    told = {key: value for cell in read_manifest(run_dir)["cells"][:1] for key, value in _choose(cell).items()}
    given = {key: value for key, value in changes.items() if value is not None}
    return ChooseConfig(**({key: value for key, value in told.items() if key in known} | given))


def _choose(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = cell["config"].get("choose") or {}
    return found


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
    """The two halves of a run's prompts, with what was measured on each. Raises ConfigError for a run of several models
    or prompt sets."""
    if any(side_of(prompts) for _, prompts in arms.sets):
        selecting, confirming = selecting_half(arms), _of_one(arms, CONFIRM)
        return selecting, confirming, Split(kind="half", select=selecting.prompts, confirm=confirming.prompts)
    whole = _of_one(arms, None)
    split = split_prompts({prompt: whole.clusters.get(prompt, prompt) for prompt in whole.prompts}, config.split)
    selecting, confirming = (replace(whole, prompts=prompts) for prompts in (split.select, split.confirm))
    return selecting, confirming, split


def selecting_half(arms: Arms) -> Half:
    """What was measured on the prompts that choose: of a race the rounds together."""
    each = [_half(arms, names) for names in arms.sets if side_of(names[1]) == SELECT]
    strategies = dict.fromkeys(strategy for half in each for strategy in half.arms)
    return Half(
        arms={
            one: Arm(strategy=one, seeds=[seed for half in each if one in half.arms for seed in half.arms[one].seeds])
            for one in strategies
        },
        prompts=tuple(prompt for half in each for prompt in half.prompts),
        clusters={prompt: of for half in each for prompt, of in half.clusters.items()},
        rounds=tuple(half.prompts for half in each),
        in_rounds={one: sum(one in half.arms for half in each) for one in strategies},
    )


def _of_one(arms: Arms, side: str | None) -> Half:
    """What was measured on the one prompt set of this side. Raises ConfigError unless there is one, of one model."""
    found = [names for names in arms.sets if side_of(names[1]) == side]
    if len(found) != 1:
        said = ", ".join(" · ".join(names) for names in found) or f"none to {side}"
        raise ConfigError(f"choose: {len(found)} pairs of model and prompt set ({said:.200}); allowed is one")
    return _half(arms, found[0])


def _half(arms: Arms, names: tuple[str, str]) -> Half:
    """What was measured on a prompt set: its prompts are those that any metric has a row of."""
    of_set = {strategy: arm for strategy, arm in arms.sets[names].items() if strategy != HUMAN}
    pooled = (each for arm in of_set.values() for name in arm.names() if (each := arm.pooled(name)) is not None)
    prompts = dict.fromkeys(prompt for each in pooled for prompt in each.rows)
    return Half(arms=of_set, prompts=tuple(prompts), clusters=arms.clusters[names])
