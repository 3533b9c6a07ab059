"""How far a choice can be trusted: what the winner of many settings is said to be worth, and what it is worth.

Simulated settings on simulated prompts, 3 samples each, right or wrong. Prompts differ in difficulty, settings in what
they can do with each prompt; what a setting is worth is its mean over all prompts there are. The naive choice takes the
best mean over all prompts and reports it; ours is `decodebench.choosing`, on the same prompts. In points (1 point is
0.01), with the simulation error (95%). Then races (choose.race): how often the truly best setting (of equal ones a
certain one) leaves, how many texts are saved, how often the race ends with another winner than all texts would have,
and by how much that one is truly worse.

    python benchmarks/choosing.py [--repetitions 2000] [--jobs 2] [--quick] [--json FILE]
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from decodebench.choosing import Half, Tried, confirm, rounds_of, select, split_prompts, still_in
from decodebench.metrics import Scored
from decodebench.scoring import Arm
from decodebench.stats import Array

FAMILIES, TRIALS, SAMPLES = 5, 6, 3
WORTH = 0.5
PROMPTS = (128, 40, 256)
BETTER = (0.05, 0.1, 0.2)
SPREADS = (0.2, 0.4, 0.6)
RACED = (128,)


@dataclass(frozen=True)
class Task:
    """What `task` is, for made values."""

    name: str = "task"
    direction: str = "higher"
    version: str = "1"
    level: str = "text"


@dataclass
class Tally:
    """Values of a figure over repetitions."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def error(self) -> float:
        return 1.96 * float(np.std(self.values, ddof=1)) / math.sqrt(len(self.values)) if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        return f"{100 * self.mean:6.2f} ±{100 * self.error:.2f}"


def draw(rng: np.random.Generator, prompts: int, worth_T: Array) -> Array:
    """The mean over samples of each of T settings on each of P prompts, `[T, P]`: a difficulty of the prompt and what
    the setting can do with it, both of mean 0 over prompts, on the scale of probabilities."""
    difficulty_P = rng.choice([-0.35, 0.35], prompts)
    own_TP = rng.choice([-0.1, 0.1], (len(worth_T), prompts))
    chance_TP = np.clip(worth_T[:, None] + difficulty_P + own_TP, 0, 1)
    return rng.binomial(SAMPLES, chance_TP) / SAMPLES


def true_worth(worth: float) -> float:
    """The mean of `draw` over all prompts there are: probabilities beyond 0 and 1 are cut off."""
    return float(np.mean([min(max(worth + a + b, 0), 1) for a in (-0.35, 0.35) for b in (-0.1, 0.1)]))


def arms_of(value_TP: Array, names: Sequence[str], ids: Sequence[str]) -> dict[str, Arm]:
    """Settings with these values of `task`. Every one costs the same."""
    return {
        name: Arm(
            strategy=name,
            seeds=[
                {
                    "task": Scored(
                        metric=Task(),  # type: ignore[arg-type]
                        name="task",
                        unit="1",
                        value=float(value_P.mean()),
                        prompt_ids=tuple(ids),
                        rows_PK=value_P[:, None],
                    )
                }
            ],
        )
        for name, value_P in zip(names, value_TP, strict=True)
    }


def halves(value_TP: Array, names: Sequence[str]) -> tuple[Half, Half, Any]:
    """The two halves of these prompts."""
    ids = [f"p{n}" for n in range(value_TP.shape[1])]
    arms, split = arms_of(value_TP, names, ids), split_prompts({id_: id_ for id_ in ids})
    return (
        Half(arms=arms, prompts=split.select, clusters={}),
        Half(arms=arms, prompts=split.confirm, clusters={}),
        split,
    )


def settings() -> list[Tried]:
    return [
        Tried(strategy=f"f{family} t{trial}", family=f"f{family}", default=trial == 0)
        for family in range(FAMILIES)
        for trial in range(TRIALS)
    ]


def simulate(prompts: int, better: float, repetitions: int) -> dict[str, Tally]:
    """One setting, the last trial of a family drawn anew each time, is better by so much than all others."""
    rng = np.random.default_rng([prompts, round(1000 * better)])
    tried = settings()
    names = [one.strategy for one in tried]
    tallies = {name: Tally() for name in ("naive", "ours", "optimism", "covers", "better", "worse", "nothing")}
    for _ in range(repetitions):
        worth_T = np.full(len(tried), WORTH)
        best = TRIALS * int(rng.integers(FAMILIES)) + TRIALS - 1
        worth_T[best] += better
        truth = {name: true_worth(worth) for name, worth in zip(names, worth_T, strict=True)}
        value_TP = draw(rng, prompts, worth_T)
        means_T = value_TP.mean(axis=1)
        naive = names[int(np.argmax(means_T))]
        tallies["naive"].add(float(means_T.max()) - truth[naive])
        selecting, confirming, split = halves(value_TP, names)
        chosen = confirm(
            select(tried, selecting, "task"), selecting, confirming, split, keep=names[0], cost="computed_tokens"
        )
        one = next(each for each in chosen.contenders if each.strategy == chosen.recommended)
        tallies["ours"].add(one.value - truth[one.strategy])
        for family in chosen.families.values():
            tallies["optimism"].add(family.select - truth[family.best])
            if family.confirm_low is not None and family.confirm_high is not None:
                tallies["covers"].add(family.confirm_low <= truth[family.best] <= family.confirm_high)
        shown = not chosen.sentence.startswith("No difference")
        tallies["better"].add(chosen.recommended == names[best])
        tallies["worse"].add(shown and truth[chosen.recommended] < max(truth.values()))
        tallies["nothing"].add(not shown)
    return tallies


def race(worth_T: Array, prompts: int, repetitions: int) -> dict[str, Tally]:
    """Races over so many prompts that choose, all of them decoded for comparison as well."""
    rng = np.random.default_rng([prompts, *(round(1000 * worth) for worth in worth_T)])
    names = [one.strategy for one in settings()]
    truth = {name: true_worth(worth) for name, worth in zip(names, worth_T, strict=True)}
    best = names[int(np.argmax(worth_T))]
    ids = [f"p{n}" for n in range(prompts)]
    rounds = rounds_of({id_: id_ for id_ in ids})
    tallies = {name: Tally() for name in ("lost", "saved", "other", "worse by")}
    for _ in range(repetitions):
        value_TP = draw(rng, prompts, worth_T)
        arms = arms_of(value_TP, names, ids)
        going, seen, decoded = names, (), 0
        for number, part in enumerate(rounds, start=1):
            seen += part
            decoded += len(going) * len(part)
            if number < len(rounds):
                half = Half(arms=arms, prompts=seen, clusters={})
                going = still_in(going, half, "task", prompts=prompts, looks=len(rounds) - 1)
        means = dict(zip(names, value_TP.mean(axis=1).tolist(), strict=True))
        whole, raced = (max(of, key=lambda name: means[name]) for of in (names, going))
        tallies["lost"].add(best not in going)
        tallies["saved"].add(1 - decoded / (len(names) * prompts))
        tallies["other"].add(raced != whole)
        tallies["worse by"].add(truth[whole] - truth[raced])
    return tallies


def choices(prompts: Sequence[int]) -> dict[str, tuple[int, float]]:
    """What is given to `simulate`, by what the row is called."""
    found = {f"{n} prompts, all equal": (n, 0.0) for n in prompts}
    return found | {f"{prompts[-1]} prompts, one better by {by:g}": (prompts[-1], by) for by in BETTER}


def races(prompts: Sequence[int]) -> dict[str, tuple[Array, int]]:
    """What is given to `race`, by what the row is called."""
    count = FAMILIES * TRIALS
    worths = {"all equal": np.full(count, WORTH)}
    worths |= {f"one better by {by:g}": WORTH + by * (np.arange(count) == 0) for by in BETTER}
    worths |= {f"spread over {by:g}": WORTH + np.linspace(by / 2, -by / 2, count) for by in SPREADS}
    return {f"{n} prompts to choose by, {label}": (worth_T, n) for n in prompts for label, worth_T in worths.items()}


HEADS = {
    "naive": "naive overstates",
    "ours": "ours overstates",
    "optimism": "select overstates",
    "covers": "confirm covers",
    "better": "best taken",
    "worse": "other taken",
    "nothing": "none shown",
    "lost": "best lost",
    "saved": "texts saved",
    "other": "other winner",
    "worse by": "worse by",
}


def tell(label: str, tallies: Mapping[str, Tally]) -> None:
    """Print a row as soon as it is known."""
    print(
        f"{label}: " + "; ".join(f"{HEADS[name]} {str(tally).strip()}" for name, tally in tallies.items()), flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="few repetitions, few prompts")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    repetitions = 20 if options.quick else options.repetitions
    first = slice(1 if options.quick else None)
    print(f"{FAMILIES} families x {TRIALS} settings, {SAMPLES} samples, {repetitions} repetitions; points, percent")
    found: dict[str, dict[str, Tally]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        todo = [(race, races(RACED[first])), (simulate, choices(PROMPTS[first]))]
        rows = {label: pool.submit(each, *given, repetitions) for each, of in todo for label, given in of.items()}
        for label, row in rows.items():
            found[label] = row.result()
            tell(label, found[label])
    if options.json:
        figures = {
            label: {name: {"mean": tally.mean, "error": tally.error} for name, tally in tallies.items()}
            for label, tallies in found.items()
        }
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
