"""Settings measured on two halves of the prompts -> a choice: each family's best by one half, what is said by the
other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from decodebench.choosing.bounds import Bound, check_bounds, meeting
from decodebench.choosing.choice import Choice, Contender, Family, Halves
from decodebench.choosing.half import Half, sign
from decodebench.choosing.split import Split
from decodebench.errors import ConfigError
from decodebench.records import Direction
from decodebench.stats import Comparison, best_of, chance_of_best, compare

ALIKE = 1.05
"""Costs up to so many times the smallest one are as cheap: lengths of samples move them by a few percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A setting that competes; `default`: that of its family."""

    strategy: str
    family: str
    default: bool


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What the prompts that choose say: the settings that have a value and meet the bounds, by family, the best of each
    and its default. `rounds`: how far each setting came in a race."""

    by: str
    direction: Direction
    values: Mapping[str, float]
    rounds: Mapping[str, int]
    families: Mapping[str, Sequence[str]]
    best: Mapping[str, str]
    default: Mapping[str, str]
    left_out: Mapping[str, str]

    @property
    def winner(self) -> str:
        """The best of all."""
        return self.first(self.best.values())

    @property
    def contenders(self) -> tuple[str, ...]:
        """What the other half looks at: the best and the default of each family."""
        both = (one for family in self.best for one in (self.default[family], self.best[family]))
        return tuple(dict.fromkeys(both))

    def first(self, strategies: Iterable[str]) -> str:
        """The best of some; of equal ones the earlier. What left a race early is behind what stayed."""
        return _first(strategies, self.values, self.rounds, self.direction)


def select(tried: Sequence[Tried], half: Half, by: str, bounds: Sequence[Bound] = ()) -> Selected:
    """Take the best setting of each family on the prompts of `half`.

    A family none of whose settings meets the bounds is left out, and what has no value. Raises ConfigError for a metric
    that cannot be chosen by, and where less than two settings are left.
    """
    direction = half.direction(by)
    check_bounds(bounds, half)
    left_out: dict[str, str] = {}
    values: dict[str, float] = {}
    for one in tried:
        found, value = half.rows(one.strategy, by), half.value(one.strategy, by)
        if isinstance(found, str) or value is None:
            left_out[one.strategy] = f"{by} {found if isinstance(found, str) else 'has no value'}"
        else:
            values[one.strategy] = value
    if not values:
        raise ConfigError(f"choose.by={by}: no setting has a value ({next(iter(left_out.values()))})")
    eligible = meeting(list(values), bounds, half) if bounds else list(values)
    left_out |= {strategy: "does not meet choose.require" for strategy in values if strategy not in eligible}
    families: dict[str, list[str]] = {}
    for one in tried:
        if one.strategy in eligible:
            families.setdefault(one.family, []).append(one.strategy)
    defaults = {one.family: one.strategy for one in reversed(tried) if one.default and one.strategy in values}
    rounds = half.in_rounds
    best = {family: _first(members, values, rounds, direction) for family, members in families.items()}
    if len(values) < 2:
        raise ConfigError(
            f"choose.by={by}: one setting is left, there is nothing to choose; allowed are two or more with a value"
        )
    return Selected(
        by=by,
        direction=direction,
        values=values,
        rounds=rounds,
        families=families,
        best=best,
        default={family: defaults.get(family, best[family]) for family in best},
        left_out=left_out,
    )


def _first(
    strategies: Iterable[str], values: Mapping[str, float], rounds: Mapping[str, int], direction: Direction
) -> str:
    return max(strategies, key=lambda one: (rounds.get(one, 0), sign(direction) * values[one]))


def confirm(
    selected: Selected,
    chosen_on: Half,
    half: Half,
    split: Split,
    *,
    keep: str,
    cost: str,
    bounds: Sequence[Bound] = (),
) -> Choice:
    """Say what the other half says of the contenders, and recommend one of them.

    `keep` is the default that stays where no difference can be shown. What cannot be told from the best (paired by
    prompt, Holm) is tied; the cheapest of these by `cost` is recommended, of equally cheap ones (`ALIKE`) the best on
    the prompts that chose.
    """
    by, direction = selected.by, selected.direction
    names = [one for one in selected.contenders if not isinstance(half.rows(one, by), str)]
    lost = {one: f"{by} {half.rows(one, by)} (to confirm)" for one in selected.contenders if one not in names}
    if not names:
        raise ConfigError(f"choose.by={by}: no setting has a value to confirm ({next(iter(lost.values()))})")
    meets = set(meeting(names, bounds, half)) if bounds else set(names)
    lead = selected.first(one for one in names if one in meets)
    found = _against(lead, names, half, selected)
    better = [one for one, each in found.items() if each.verdict == "better" and one in meets]
    if better:  # the other half knows better: rare, and not a matter of luck
        lead = max(better, key=lambda one: sign(direction) * (half.value(one, by) or 0.0))
        found = _against(lead, names, half, selected)
    costs = {one: half.value(one, cost) for one in names}
    contenders = _contenders(names, found, half, selected, costs, meets)
    tied = tuple(one.strategy for one in contenders if one.meets and one.verdict != "worse")
    families = _families(selected, chosen_on, contenders)
    nothing_shown = set(tied) == set(names) and keep in names and len(names) > 1
    recommended = keep if nothing_shown else _cheapest(tied, lead, costs, selected)
    needed = _needed(lead, keep, half, selected) if nothing_shown and lead != keep else None
    choice = Choice(
        sentence="",
        recommended=recommended,
        cell="",
        winner=selected.winner,
        tied=tied,
        by=by,
        unit=_unit(half, names[0], by),
        direction=direction,
        cost=cost,
        split=Halves(kind=split.kind, select=split.select, confirm=split.confirm, limits=split.limits),
        families=families,
        contenders=contenders,
        require=tuple(bound.text for bound in bounds),
        left_out={**selected.left_out, **lost},
        prompts_needed=needed,
    )
    return choice.said(keep, lead, nothing_shown=nothing_shown)


def _cheapest(tied: Sequence[str], lead: str, costs: Mapping[str, float | None], selected: Selected) -> str:
    known = [cost for one in tied if (cost := costs[one]) is not None]
    cheap = [one for one in tied if (cost := costs[one]) is not None and cost <= ALIKE * min(known)] or list(tied)
    return lead if lead in cheap else selected.first(cheap)


def _against(lead: str, names: Sequence[str], half: Half, selected: Selected) -> dict[str, Comparison]:
    others = [one for one in names if one != lead]
    pairs = [half.paired(one, lead, selected.by) for one in others]
    return dict(zip(others, compare(pairs, selected.direction), strict=True))


def _contenders(
    names: Sequence[str],
    found: Mapping[str, Comparison],
    half: Half,
    selected: Selected,
    costs: Mapping[str, float | None],
    meets: set[str],
) -> tuple[Contender, ...]:
    rows, clusters = half.together(names, selected.by)
    chances = chance_of_best(rows, clusters, higher=selected.direction == "higher")
    family_of = {one: family for family, one in (*selected.best.items(), *selected.default.items())}
    intervals = half.intervals(names, selected.by)
    contenders = []
    for one, chance, interval in zip(names, chances.tolist(), intervals, strict=True):
        each, value = found.get(one), half.value(one, selected.by)
        assert value is not None, "contenders have values"
        contenders.append(
            Contender(
                strategy=one,
                family=family_of[one],
                default=_is_default(one, selected),
                value=value,
                ci_low=interval.low,
                ci_high=interval.high,
                difference=None if each is None else each.value,
                p_holm=None if each is None else each.p_holm,
                verdict="indistinguishable" if each is None else each.verdict,
                chance_of_best=chance,
                cost=costs[one],
                meets=one in meets,
            )
        )
    return tuple(contenders)


def _families(selected: Selected, chosen_on: Half, contenders: Sequence[Contender]) -> dict[str, Family]:
    """Each family that has a value to confirm. Its curve is over the prompts that all settings of these saw."""
    confirmed = {one.strategy: one for one in contenders}
    families = {name: of for name, of in selected.families.items() if selected.best[name] in confirmed}
    rows, clusters = chosen_on.together([one for members in families.values() for one in members], selected.by)
    each = iter(rows)
    curves = best_of(
        [[next(each) for _ in members] for members in families.values()],
        clusters,
        higher=selected.direction == "higher",
    )
    found = {}
    for (family, members), curve in zip(families.items(), curves, strict=True):
        best = selected.best[family]
        value = confirmed[best].value
        found[family] = Family(
            best=best,
            default=selected.default[family],
            trials=len(members),
            select=selected.values[best],
            confirm=value,
            confirm_low=confirmed[best].ci_low,
            confirm_high=confirmed[best].ci_high,
            optimism=sign(selected.direction) * (selected.values[best] - value),
            curve=tuple(curve.values_N.tolist()),
            curve_low=None if curve.low_N is None else tuple(curve.low_N.tolist()),
            curve_high=None if curve.high_N is None else tuple(curve.high_N.tolist()),
        )
    return found


def _needed(lead: str, keep: str, half: Half, selected: Selected) -> int | None:
    """How many prompts would show, four times out of five, a difference as large as the one seen between these two;
    None where the default is not behind, or nothing is known of the spread."""
    (found,) = compare([half.paired(lead, keep, selected.by)], selected.direction)
    if found.value is None or found.detectable is None or sign(selected.direction) * found.value <= 0:
        return None
    return math.ceil(found.n * (found.detectable / found.value) ** 2)


def _is_default(strategy: str, selected: Selected) -> bool:
    return strategy in selected.default.values()


def _unit(half: Half, strategy: str, metric: str) -> str:
    pooled = half.arms[strategy].pooled(metric)
    return "1" if pooled is None else pooled.unit
