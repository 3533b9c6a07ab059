"""How often what decodebench claims is true: coverage of intervals, false alarms and power of paired differences.

Each cell is a percentage of simulated data sets with its simulation error (95%); in brackets the share of data sets
that got no interval, where there were any. Every data set is drawn from a known distribution over prompts.

    python benchmarks/coverage.py [--quick] [--simulations 4000] [--only NAME] [--json FILE]
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from decodebench.stats import (
    Array,
    Finish,
    Interval,
    clustered_share_interval,
    compare,
    identity,
    paired,
    ratio_intervals,
    share_interval,
    standings,
    subsample,
    subsample_interval,
)
from simulated_texts import SET_METRICS, counted, draw_texts

Rng = np.random.Generator
Outcome = bool | None
"""One data set: was it so? None: no interval."""
Case = Callable[[Rng, int, int], Iterator[Outcome]]
"""(random numbers, prompts, simulations) -> one outcome for each simulation."""

ARMS = 15
PROMPTS = (10, 20, 50, 200)


def covers(interval: Interval, truth: float) -> Outcome:
    """Whether the interval has the true value in it."""
    if interval.low is None or interval.high is None:
        return None
    return interval.low <= truth <= interval.high


def means(draw: Callable[[Rng, tuple[int, int]], Array], truth: float) -> Case:
    """Coverage of BCa for the mean of one number per prompt."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        data = draw(rng, (simulations, n))
        return (covers(i, truth) for i in ratio_intervals([(rows[:, None], identity) for rows in data]))

    return case


def ratio_of_sums(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
    """Repeats over n-grams: texts of 20 to 200 n-grams, a share of repeats of each text's own; mean 0.2."""
    total = rng.integers(20, 201, (simulations, n)).astype(float)
    part = total * rng.beta(1, 4, (simulations, n))
    metrics = [(np.column_stack(rows), lambda a, b: a / b) for rows in zip(part, total, strict=True)]
    return (covers(i, 0.2) for i in ratio_intervals(metrics))


def wilson(share: float) -> Case:
    """Coverage of Wilson for a share of one text per prompt."""
    return lambda rng, n, simulations: (
        covers(share_interval(int(hits), n), share) for hits in rng.binomial(n, share, simulations)
    )


def averaged_shares(share: float) -> Case:
    """Coverage for a share over 3 samples of each prompt, as metrics.quality has it: BCa, and Wilson for none or all.
    Prompts differ in how likely the event is (beta, half a success)."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        data = rng.binomial(3, rng.beta(0.5, 0.5 / share - 0.5, (simulations, n))) / 3
        intervals = ratio_intervals([(rows[:, None], identity) for rows in data])
        for rows, interval in zip(data, intervals, strict=True):
            same = rows.mean() in (0, 1)
            yield covers(share_interval(round(rows.sum()), n) if same else interval, share)

    return case


def texts_twice(clustered: bool) -> Case:
    """Coverage for a mean over 2n prompts of n texts: what two prompts of one text share has twice the spread of the
    rest. Taken as clusters, or as if they were 2n texts."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        data = np.repeat(rng.normal(5, 2, (simulations, n)), 2, axis=1) + rng.normal(0, 1, (simulations, 2 * n))
        clusters = np.repeat(np.arange(n), 2).tolist() if clustered else None
        intervals = ratio_intervals([(rows[:, None], identity) for rows in data], [clusters] * simulations)
        return (covers(i, 5.0) for i in intervals)

    return case


def shares_twice(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
    """Coverage of Wilson for a share of 0.3 over 1.5n prompts of n texts: every other one comes twice, both agree."""
    clusters = [*range(n), *range(0, n, 2)]
    for hits in rng.binomial(1, 0.3, (simulations, n)):
        yield covers(clustered_share_interval(np.concatenate([hits, hits[::2]]), clusters), 0.3)


def difference_twice(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
    """No difference over 2n prompts of n texts is claimed to be one."""
    clusters = np.repeat(np.arange(n), 2).tolist()
    for _ in range(simulations):
        a, b = (np.repeat(rng.normal(0, 2, n), 2) + rng.normal(0, 1, 2 * n) for _ in range(2))
        (found,) = compare([paired(a[:, None], b[:, None], identity, clusters)], "higher")
        yield covers(Interval(low=found.low, high=found.high), 0.0)


def unequal(rng: Rng, clusters: int) -> list[int]:
    """The cluster of each prompt: clusters of 1 prompt and more (geometric, mean 4), worth about 60% of as many equal
    ones."""
    return np.repeat(np.arange(clusters), rng.geometric(0.25, clusters)).tolist()


def shared_by(rng: Rng, of: Sequence[int], part: float) -> Array:
    """A number for each prompt, mean 0 and variance 1, of which the cluster has this part."""
    level = rng.normal(0, math.sqrt(part), max(of) + 1)
    return level[of] + rng.normal(0, math.sqrt(1 - part), len(of))


def clustered(draw: Callable[[Rng, list[int]], Array], finish: Finish, truth: float) -> Case:
    """Coverage of the bootstrap over clusters of unequal size. 20 data sets each have the same sizes, and with them the
    same resamples: that saves most of the time."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        for _ in range(simulations // 20):
            of = unequal(rng, n)
            found = ratio_intervals([(draw(rng, of), finish) for _ in range(20)], [of] * 20)
            yield from (covers(each, truth) for each in found)

    return case


def skewed(rng: Rng, of: list[int]) -> Array:
    """Exponential, half of it the cluster's; mean 1."""
    return ((rng.exponential(1, max(of) + 1)[of] + rng.exponential(1, len(of))) / 2)[:, None]


def repeats(rng: Rng, of: list[int]) -> Array:
    """Repeats over n-grams, as in `ratio_of_sums`, where each cluster has a share of its own (beta, mean 0.2)."""
    total = rng.integers(20, 201, len(of)).astype(float)
    share = np.clip(rng.beta(2, 8, max(of) + 1), 0.001, 0.999)[of]
    return np.column_stack([total * rng.beta(10 * share, 10 * (1 - share)), total])


def clustered_share(share: float) -> Case:
    """Coverage for a share of one text per prompt, where each cluster has a probability of its own (beta, a
    correlation of 0.3 between two prompts of one)."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        for _ in range(simulations):
            of, k = unequal(rng, n), (1 - 0.3) / 0.3
            likely = rng.beta(share * k, (1 - share) * k, n)[of]
            yield covers(clustered_share_interval((rng.random(len(of)) < likely).astype(float), of), share)

    return case


def clustered_difference(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
    """No difference over clusters is claimed to be one; half of the variance of the difference is between them."""
    for _ in range(simulations):
        of = unequal(rng, n)
        a, b = (shared_by(rng, of, 0.5)[:, None] for _ in range(2))
        (found,) = compare([paired(a, b, identity, of)], "higher")
        yield covers(Interval(low=found.low, high=found.high, reason=found.reason), 0.0)


def clustered_set(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
    """Coverage of subsampling where it must give what is known: for the mean of a set."""
    for _ in range(simulations):
        of = unequal(rng, n)
        values = shared_by(rng, of, 0.5)
        seen = subsample(lambda kept, values=values: float(values[kept].mean()), len(of), clusters=of)
        yield covers(subsample_interval(float(values.mean()), seen, len(of)), 0.0)


def clustered_strength(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
    """Coverage of the strength of the first of 3 strategies that are alike, over 3 metrics."""
    for _ in range(simulations):
        of = unequal(rng, n)
        values_AMP = np.array([[shared_by(rng, of, 0.5) for _ in range(3)] for _ in range(3)])
        yield covers(standings(np.moveaxis(values_AMP, 2, 0), ["higher"] * 3, of)[0].strength_interval, 0.0)


def set_metric(name: str) -> Case:
    """Coverage of subsampling for a metric of the whole set; the truth is the mean of that metric over 4,000 sets."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        metric = SET_METRICS[name]
        everything = np.arange(n)
        truth = np.mean([counted(draw_texts(rng, n), metric)(everything) for _ in range(max(200, 4 * simulations))])
        for _ in range(simulations):
            of = counted(draw_texts(rng, n), metric)
            yield covers(subsample_interval(of(everything), of, n), float(truth))

    return case


def pair_normal(rng: Rng, n: int, arms: int) -> tuple[Array, Array]:
    """Each prompt has a level of its own, which the strategies share."""
    level = rng.normal(0, 2, (1, n))
    return level + rng.normal(0, 1, (arms, n)), (level + rng.normal(0, 1, (1, n)))[0]


def pair_lognormal(rng: Rng, n: int, arms: int) -> tuple[Array, Array]:
    """Skewed values, alike under all strategies: the differences are symmetric, with long tails."""
    return rng.lognormal(0, 1, (arms, n)), rng.lognormal(0, 1, n)


def pair_skewed(rng: Rng, n: int, arms: int) -> tuple[Array, Array]:
    """Lognormal against a constant of the same mean: the differences are as skewed as they can be."""
    return rng.lognormal(0, 1, (arms, n)), np.full(n, math.exp(0.5))


def pair_shares(share: float) -> Callable[[Rng, int, int], tuple[Array, Array]]:
    """An event in one text per prompt, equally likely under all strategies."""
    return lambda rng, n, arms: (
        rng.binomial(1, share, (arms, n)).astype(float),
        rng.binomial(1, share, n).astype(float),
    )


PAIRS = {
    "normal": pair_normal,
    "lognormal": pair_lognormal,
    "lognormal against a constant": pair_skewed,
    "share 0.3": pair_shares(0.3),
    "share 0.02": pair_shares(0.02),
}


def compared(arms_AP: Array, other_P: Array) -> list[Interval]:
    """The family's intervals; the verdict is in what they leave out."""
    pairs = [paired(arm_P[:, None], other_P[:, None], identity) for arm_P in arms_AP]
    return [Interval(low=c.low, high=c.high, reason=c.reason) for c in compare(pairs, "higher")]


def difference_coverage(name: str) -> Case:
    """Coverage of the interval of one paired difference of 0."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        return (covers(compared(*PAIRS[name](rng, n, 1))[0], 0.0) for _ in range(simulations))

    return case


def family_error(name: str) -> Case:
    """Nothing differs between 15 strategies and another: is any difference claimed?"""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        for _ in range(simulations):
            yield any(covers(i, 0.0) is False for i in compared(*PAIRS[name](rng, n, ARMS)))

    return case


def all_differ(together: bool) -> Case:
    """Coverage of Holm's intervals where all 15 differ by 10 standard errors: of the first, or of all at once."""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        shift = 10 * math.sqrt(2 / n)
        for _ in range(simulations):
            arms_AP, other_P = pair_normal(rng, n, ARMS)
            inside = [covers(i, shift) for i in compared(arms_AP + shift, other_P)]
            yield all(inside) if together else inside[0]

    return case


def power(noise: Callable[[Rng, tuple[int, int]], Array]) -> Case:
    """One of 15 strategies differs by `detectable` of the true spread (1): is it found?"""

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        shift = float(stdtrit(n - 1, 1 - 0.05 / ARMS / 2) + stdtrit(n - 1, 0.8)) / math.sqrt(n)
        for _ in range(simulations):
            arms_AP = noise(rng, (ARMS, n))
            arms_AP[0] += shift
            yield covers(compared(arms_AP, np.zeros(n))[0], 0.0) is False

    return case


def rank_coverage(which: str) -> Case:
    """Coverage of the strength, or the mean rank, of the second of 5 strategies over 3 metrics that go together."""

    def draw(rng: Rng, n: int) -> Array:
        shared_PA1 = rng.normal(0, 1, (n, 5, 1))
        return 0.3 * np.arange(5)[None, :, None] + shared_PA1 + rng.normal(0, 1, (n, 5, 3))

    def case(rng: Rng, n: int, simulations: int) -> Iterator[Outcome]:
        large = [standings(draw(rng, 2000), ["higher"] * 3)[1] for _ in range(20)]
        truth = np.mean([one.strength if which == "strength" else one.mean_rank for one in large])
        for _ in range(simulations):
            found = standings(draw(rng, n), ["higher"] * 3)[1]
            interval = found.strength_interval if which == "strength" else found.mean_rank_interval
            yield covers(interval, float(truth))

    return case


CASES: dict[str, dict[str, tuple[Case, float]]] = {
    "Coverage of 95% intervals": {
        "mean, normal": (means(lambda rng, size: rng.normal(5, 2, size), 5.0), 1),
        "mean, exponential": (means(lambda rng, size: rng.exponential(1, size), 1.0), 1),
        "mean, lognormal (sigma 1)": (means(lambda rng, size: rng.lognormal(0, 1, size), math.exp(0.5)), 1),
        "ratio of sums": (ratio_of_sums, 1),
        "share 0.3 (Wilson)": (wilson(0.3), 1),
        "share 0.02 (Wilson)": (wilson(0.02), 1),
        "share 0.3, 3 samples": (averaged_shares(0.3), 1),
        "share 0.02, 3 samples": (averaged_shares(0.02), 1),
        "mean, each text twice": (texts_twice(clustered=True), 0.5),
        "mean, each text twice, not clustered": (texts_twice(clustered=False), 0.5),
        "share 0.3, half the texts twice": (shares_twice, 0.5),
        "difference, each text twice": (difference_twice, 0.5),
        **{f"{name} of the set": (set_metric(name), 0.25) for name in SET_METRICS},
        "strength (Bradley-Terry)": (rank_coverage("strength"), 0.25),
        "mean rank": (rank_coverage("mean rank"), 0.05),
        **{f"difference, {name}": (difference_coverage(name), 1) for name in PAIRS},
        "15 true differences, each": (all_differ(together=False), 0.5),
        "15 true differences, all": (all_differ(together=True), 0.5),
    },
    "Coverage over n clusters of unequal size": {
        "mean, clusters": (clustered(lambda rng, of: shared_by(rng, of, 0.5)[:, None], identity, 0.0), 0.5),
        "mean, skewed, clusters": (clustered(skewed, identity, 1.0), 0.5),
        "ratio of sums, clusters": (clustered(repeats, lambda a, b: a / b, 0.2), 0.5),
        "share 0.3, clusters (Wilson)": (clustered_share(0.3), 1),
        "share 0.05, clusters (Wilson)": (clustered_share(0.05), 1),
        "difference, clusters": (clustered_difference, 0.5),
        "mean by subsets, clusters": (clustered_set, 0.25),
        "strength, clusters": (clustered_strength, 0.25),
    },
    "False alarms: any of 15 differences claimed, none is true": {name: (family_error(name), 1) for name in PAIRS},
    "Power at the stated minimum detectable difference, 1 of 15": {
        "normal": (power(lambda rng, size: rng.normal(0, 1, size)), 1),
        "exponential": (power(lambda rng, size: rng.exponential(1, size) - 1), 1),
    },
}
"""Tables -> rows: a case, and the part of the simulations that it gets (slow ones fewer)."""


def cell(outcomes: Sequence[Outcome]) -> dict[str, float | int | None]:
    """The share of outcomes that were so, its simulation error (1.96 binomial standard errors), and how many had none.

    Near 0 and 1 the error is that of one outcome more or less.
    """
    known = [outcome for outcome in outcomes if outcome is not None]
    counts = {"none": 1 - len(known) / len(outcomes), "simulations": len(outcomes)}
    if not known:
        return {"share": None, "error": None, **counts}
    share = sum(known) / len(known)
    spread = max(share * (1 - share), 1 / len(known))
    return {"share": share, "error": 1.96 * math.sqrt(spread / len(known)), **counts}


def shown(figures: dict[str, float | int | None]) -> str:
    """A cell as text."""
    if figures["share"] is None or figures["error"] is None:
        return "none"
    without = figures["none"] or 0.0
    none = "" if not without else f" [{100 * without:.0f}]" if without >= 0.005 else " [<1]"
    return f"{100 * figures['share']:.1f} ± {100 * figures['error']:.1f}{none}"


def main() -> None:
    """Print the tables, row by row as they are simulated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--quick", action="store_true", help="a run of test size: 20 simulations, 10 and 20 prompts")
    parser.add_argument("--only", default="", help="only cases with this in their name")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    prompts, simulations = (PROMPTS[:2], 20) if arguments.quick else (PROMPTS, arguments.simulations)
    figures: dict[str, dict[str, dict[int, dict[str, float | int | None]]]] = {}
    for table, cases in CASES.items():
        print(f"\n{table}\n\n| case |" + "".join(f" n = {n} |" for n in prompts) + "\n|---|" + "---|" * len(prompts))
        for name, (case, part) in cases.items():
            if arguments.only not in name:
                continue
            sets = max(20, round(part * simulations))
            row = {n: cell([*case(np.random.default_rng([n, len(name)]), n, sets)]) for n in prompts}
            figures.setdefault(table, {})[name] = row
            print(f"| {name} |" + "".join(f" {shown(one)} |" for one in row.values()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
