"""The strategies of a run beside each other: differences paired by prompt, and a ranking.

What is compared is an arm: a strategy on one model and prompt set, all its seeds together. Seeds are averaged within
each prompt, since the prompt is the unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from decodebench.errors import ConfigError, allowed_names
from decodebench.metrics import HUMAN_GROUP, LEADING_GROUP, Scored, read_name
from decodebench.records import HUMAN, Difference, Direction, Rank
from decodebench.stats import (
    Array,
    Estimate,
    Finish,
    Subsampled,
    compare,
    identity,
    paired,
    paired_subsamples,
    pareto_front,
    standings,
)

RANK_BY = ("diversity", "loop_share", "e2e_s")
"""What a ranking goes by where nothing else is chosen; in the run's own unit, and as far as it was measured. Of
diversity the leading-unit form, where mean lengths differ and all strategies have it."""
RANK_BY_TASK = ("task", "e2e_s")
"""The same where texts were judged: what is good for the task may well be dull."""
LENGTHS_ALIKE = 1.1
"""Mean lengths differ where the longest is more than so many times the shortest: a shorter text repeats less for being
short."""

Names = tuple[str, str]
"""A model and a prompt set: strategies are compared within one."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A metric of an arm over its seeds: rows of numbers by prompt, values on subsets of a whole set, or a reason.

    `subsets` leave out some of the prompts `of`; of a value with neither rows nor subsets (the largest of all calls,
    MAUVE) there is only the value.
    """

    name: str
    unit: str
    direction: Direction
    version: str
    value: float | None
    reason: str | None
    finish: Finish = identity
    rows: Mapping[str, Array] = field(default_factory=dict)
    subsets: Subsampled | None = None
    of: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Arm:
    """One strategy on one model and prompt set: what was scored of each of its seeds, texts and timed calls alike."""

    strategy: str
    seeds: list[dict[str, Scored]] = field(default_factory=list)
    _pooled: dict[str, Pooled | None] = field(default_factory=dict, repr=False)

    def names(self) -> tuple[str, ...]:
        """The metrics that were measured of any of its seeds."""
        return tuple(dict.fromkeys(name for seed in self.seeds for name in seed))

    def pooled(self, name: str) -> Pooled | None:
        """A metric over all seeds; None where it was not measured."""
        if name not in self._pooled:
            scored = [seed[name] for seed in self.seeds if name in seed]
            self._pooled[name] = _pool(scored) if scored else None
        return self._pooled[name]


def _pool(seeds: Sequence[Scored]) -> Pooled:
    """A metric of several seeds: rows are averaged by prompt, the others by value. A seed that has no value for want of
    anything to count (no text in a loop) is left out; one whose value cannot be known makes the whole unknown."""
    known = [seed for seed in seeds if seed.value is not None]
    first = known[0] if known else seeds[0]
    rows: dict[str, list[Array]] = {}
    for seed in known:
        if seed.rows_PK is not None:
            for prompt_id, row_K in zip(seed.prompt_ids, seed.rows_PK, strict=True):
                rows.setdefault(prompt_id, []).append(row_K)
    # In a ratio of sums a seed without an n-gram for a prompt adds nothing to either, as a sample without one does.
    adds_zeros = first.metric.level == "set"
    means = {
        prompt_id: found[0] if len(seeds) == 1 else np.sum(found, axis=0) / (len(seeds) if adds_zeros else len(found))
        for prompt_id, found in rows.items()
    }
    reason = next((seed.reason for seed in seeds if seed.value is None and seed.wrong), None)
    value = None
    if known and reason is None:
        values = [seed.value for seed in known if seed.value is not None]
        value = float(first.finish(*np.mean(list(means.values()), axis=0))) if means else float(np.mean(values))
    return Pooled(
        name=first.name,
        unit=first.unit,
        direction=first.metric.direction,
        version=first.metric.version,
        value=value,
        reason=None if value is not None else reason or seeds[0].reason,
        finish=first.finish,
        rows=means,
        subsets=_mean_subsets(seeds),
        of=first.prompt_ids,
    )


def _mean_subsets(seeds: Sequence[Scored]) -> Subsampled | None:
    """The mean over seeds of the values on each subset, where all have the same subsets of the same prompts."""
    found = [(seed.subsets, seed.prompt_ids) for seed in seeds if seed.subsets is not None]
    if len(found) < len(seeds) or len({(subsets.prompts, subsets.reason, of) for subsets, of in found}) > 1:
        return None
    first, _ = found[0]
    values_S = np.mean([subsets.values_S for subsets, _ in found], axis=0)
    return replace(first, values_S=values_S)


class Arms:
    """The arms of a run, by model and prompt set, in the order of the manifest; `clusters` has the cluster of each
    prompt of a set."""

    def __init__(self) -> None:
        self.sets: dict[Names, dict[str, Arm]] = {}
        self.clusters: dict[Names, dict[str, str]] = {}

    def add(
        self, entry: Mapping[str, Any], scored: Sequence[Scored], clusters: Mapping[str, str] | None = None
    ) -> None:
        """What was measured of the cell of this entry of the manifest; a prompt without a cluster is its own."""
        arms = self.sets.setdefault((entry["model"], entry["prompts"]), {})
        self.clusters.setdefault((entry["model"], entry["prompts"]), {}).update(clusters or {})
        arm = arms.setdefault(entry["strategy"], Arm(strategy=entry["strategy"]))
        arm.seeds.append({each.name: each for each in scored})


def differences(arms: Arms, against: str | None, *, failed: Sequence[str] = ()) -> list[Difference]:
    """Every strategy, and the references, minus the strategy `against` (None: the first of each set), metric by metric.

    Nothing is compared with a strategy that `failed`. Raises ConfigError for one that was never there.
    """
    known = dict.fromkeys([*(strategy for of_set in arms.sets.values() for strategy in of_set), *failed])
    if against is not None and against not in known:
        raise ConfigError(f"metrics.against={against}: {allowed_names(against, list(known))}")
    found: list[Difference] = []
    for (model, prompts), of_set in arms.sets.items():
        control = against or next(iter(of_set))
        others = [arm for strategy, arm in of_set.items() if strategy != control]
        if control not in of_set or not others:
            continue
        for name in of_set[control].names():
            found += _of_metric(name, model, prompts, of_set[control], others, arms.clusters[model, prompts])
    return found


def _of_metric(
    name: str, model: str, prompts: str, control: Arm, others: Sequence[Arm], clusters: Mapping[str, str]
) -> list[Difference]:
    """One metric: a family of comparisons, corrected together."""
    base = control.pooled(name)
    assert base is not None
    found = {arm.strategy: pooled for arm in others if (pooled := arm.pooled(name)) is not None}
    # References have no distance from themselves, and were not generated: that is not missing.
    measured = {strategy: pooled for strategy, pooled in found.items() if strategy != HUMAN or pooled.value is not None}
    if base.value is None and all(pooled.value is None for pooled in measured.values()):
        return []  # there is nothing to compare, and the measurements say why
    compared = compare([_estimate(pooled, base, clusters) for pooled in measured.values()], base.direction)
    return [
        Difference(
            model=model,
            prompts=prompts,
            strategy=strategy,
            against=control.strategy,
            metric=name,
            value=each.value,
            reason=each.reason,
            unit=base.unit,
            direction=base.direction,
            n=each.n,
            ci_low=each.low,
            ci_high=each.high,
            p=each.p,
            p_holm=each.p_holm,
            comparisons=each.comparisons,
            detectable=each.detectable,
            verdict=each.verdict,
            version=base.version,
        )
        for strategy, each in zip(measured, compared, strict=True)
    ]


def _estimate(one: Pooled, other: Pooled, clusters: Mapping[str, str]) -> Estimate:
    """One arm minus the other: over the prompts of both, or over the same subsets of them."""
    if one.value is None or other.value is None:
        return _untold(one.reason or other.reason or "no value")
    if one.rows and other.rows:
        shared = [prompt_id for prompt_id in one.rows if prompt_id in other.rows]
        if not shared:
            return _untold("the two have no prompt in common")
        a_PK, b_PK = (np.array([side.rows[prompt_id] for prompt_id in shared]) for side in (one, other))
        return paired(a_PK, b_PK, one.finish, [clusters.get(prompt_id, prompt_id) for prompt_id in shared])
    value = one.value - other.value
    if one.subsets is None or other.subsets is None:
        return _untold("a value of the whole set, not taken of the same parts of it", value)
    if (one.of, one.subsets.prompts) != (other.of, other.subsets.prompts):
        return _untold("the two have values of different prompts", value)
    return paired_subsamples(one.value, one.subsets, other.value, other.subsets)


def _untold(reason: str, value: float | None = None) -> Estimate:
    return Estimate(value=value, standard_error=None, n=0, df=0.0, reason=reason)


def ranking(arms: Arms, rank_by: Sequence[str] | None) -> list[Rank]:
    """The strategies of each set by the chosen metrics; human references do not compete, a set of one is not ranked.

    Raises ConfigError for a metric that was not measured, or of which neither more nor less is better.
    """
    found: list[Rank] = []
    for (model, prompts), of_set in arms.sets.items():
        competing = [arm for strategy, arm in of_set.items() if strategy != HUMAN]
        lengths = _different_lengths(competing)
        names = _chosen(competing, rank_by, leading=lengths is not None)
        if len(competing) > 1 and names:
            ranks = _ranks(model, prompts, competing, names, arms.clusters[model, prompts])
            if lengths and (favoured := [name for name in names if _favours_short(name)]):
                told = f"{lengths}: shorter texts repeat less, so that {', '.join(favoured)} favours what stops early"
                ranks = [replace(rank, reason=f"{rank.reason}; {told}" if rank.reason else told) for rank in ranks]
            found += ranks
    return found


def _different_lengths(arms: Sequence[Arm]) -> str | None:
    """How far mean lengths lie apart, in words; None where they are about the same."""
    lengths = [
        (pooled.value, arm.strategy, pooled.unit)
        for arm in arms
        for name in arm.names()
        if read_name(name).plain == "length" and (pooled := arm.pooled(name)) is not None and pooled.value is not None
    ]
    if not lengths or max(lengths)[0] <= LENGTHS_ALIKE * min(lengths)[0]:
        return None
    (short, shortest, unit), (long, longest, _) = min(lengths), max(lengths)
    return f"mean lengths differ, from {short:.3g} {unit} ({shortest}) to {long:.3g} ({longest})"


def _favours_short(name: str) -> bool:
    """Whether it is a metric of repetition of whole texts."""
    known = read_name(name)
    return getattr(known.row, "repeats", False) and known.group not in (HUMAN_GROUP, LEADING_GROUP)


def _chosen(arms: Sequence[Arm], rank_by: Sequence[str] | None, *, leading: bool) -> list[str]:
    """The metrics to rank by: those of `rank_by`, else those of RANK_BY; `leading`: diversity of leading units."""
    known = dict.fromkeys(name for arm in arms for name in arm.names())
    pooled_of = {name: pooled for name in known for arm in arms[:1] if (pooled := arm.pooled(name)) is not None}
    ranked = [name for name, pooled in pooled_of.items() if pooled.direction != "none"]
    if rank_by is None:
        by_plain = {read_name(name).plain: name for name in ranked}
        judged = any(_value(arm, "task") is not None for arm in arms)
        chosen = [by_plain[plain] for plain in (RANK_BY_TASK if judged else RANK_BY) if plain in by_plain]
        for plain, name in by_plain.items() if leading else ():
            if plain.startswith("diversity_first") and all(_value(arm, name) is not None for arm in arms):
                chosen = [name if read_name(other).plain == "diversity" else other for other in chosen]
        return [name for name in chosen if any(_value(arm, name) is not None for arm in arms)]
    for name in rank_by:
        usable = [other for other in ranked if any(_value(arm, other) is not None for arm in arms)]
        if name not in usable:
            near = get_close_matches(name, usable, n=3, cutoff=0.5) or usable[:3]
            raise ConfigError(
                f"metrics.rank_by={name}: was not measured; allowed are the {len(usable)} metrics of measurements.csv "
                f"that have a value and a direction, such as {', '.join(near)}"
            )
    return list(dict.fromkeys(rank_by))


def _value(arm: Arm, name: str) -> float | None:
    pooled = arm.pooled(name)
    return None if pooled is None else pooled.value


def _ranks(
    model: str, prompts: str, arms: Sequence[Arm], names: Sequence[str], clusters: Mapping[str, str]
) -> list[Rank]:
    pooled_AM = [[arm.pooled(name) for name in names] for arm in arms]
    directions = [next(p.direction for p in column if p is not None) for column in zip(*pooled_AM, strict=True)]
    values_AM = np.array([[np.nan if p is None or p.value is None else p.value for p in row] for row in pooled_AM])
    prompt_ids = list(dict.fromkeys(key for row in pooled_AM for p in row if p is not None for key in p.rows))
    values_PAM = np.full((len(prompt_ids), len(arms), len(names)), np.nan)
    for a, row in enumerate(pooled_AM):
        for m, pooled in enumerate(row):
            if pooled is not None:
                with np.errstate(all="ignore"):
                    for p, prompt_id in enumerate(prompt_ids):
                        if prompt_id in pooled.rows:
                            values_PAM[p, a, m] = pooled.finish(*pooled.rows[prompt_id])
    places = standings(values_PAM, directions, [clusters.get(prompt_id, prompt_id) for prompt_id in prompt_ids])
    return [
        Rank(
            model=model,
            prompts=prompts,
            strategy=arm.strategy,
            metrics=tuple(names),
            front=front,
            strength=place.strength,
            strength_low=place.strength_interval.low,
            strength_high=place.strength_interval.high,
            mean_rank=place.mean_rank,
            mean_rank_low=place.mean_rank_interval.low,
            mean_rank_high=place.mean_rank_interval.high,
            tie=place.tie,
            n=place.n,
            reason=place.reason,
        )
        for arm, front, place in zip(arms, pareto_front(values_AM, directions), places, strict=True)
    ]
