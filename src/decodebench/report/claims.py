"""What a run claims: which differences between strategies are real, and how the strategies rank. Tables of words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decodebench.errors import one_line
from decodebench.records import Difference, Rank
from decodebench.report.comparison import Comparison, Metric
from decodebench.report.folder import Run
from decodebench.report.formats import MISSING, interval, number
from decodebench.store import StoredContender, StoredRace


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A cell of such a table: the main words, the smaller ones, and whether something is claimed."""

    text: str
    small: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """One table: its title, what its columns are, a label and cells for each row, and the sentences below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Claim, ...]], ...]
    notes: tuple[str, ...]


def claims(run: Run, comparison: Comparison) -> list[Claims]:
    """Every table of differences and of ranks that the run has."""
    return [*_differences(run, comparison), *_rankings(run)]


def choice_claims(run: Run) -> Iterator[Claims]:
    """What was compared to choose, on the prompts that report; nothing for a run that nothing was chosen of."""
    if run.choice is None:
        return
    by, cost = run.choice["by"], run.choice["cost"]
    rows = tuple((one["strategy"], _contender(one, run.choice["recommended"])) for one in run.choice["contenders"])
    split = run.choice["split"]
    on = f"{len(split['confirm'])} prompts" + (
        " that the choice never saw" if split["kind"] == "half" else ", the same ones that chose"
    )
    notes = [
        f"On {on}. The best and the default setting of each family; the differences are from the best setting on the "
        "other prompts, paired, corrected by Holm. P(best): the share of resampled prompts in which none is better.",
    ]
    if split["limits"]:
        notes.append(split["limits"])
    if race := run.choice.get("race"):
        notes.append(_raced(race))
    yield Claims(
        title=f"Choice by {by}",
        header=(by, "difference", "P(best)", cost, "optimism"),
        rows=tuple((label, (*cells, _optimism(run, label))) for label, cells in rows),
        notes=tuple(notes),
    )


def _contender(one: StoredContender, recommended: str) -> tuple[Claim, ...]:
    difference = one["difference"]
    return (
        Claim(
            text=number(one["value"]),
            small=interval(one["ci_low"], one["ci_high"]),
            strong=one["strategy"] == recommended,
        ),
        Claim(
            text=MISSING if difference is None else one["verdict"],
            small="" if difference is None else f"{difference:+.3g}",
        ),
        Claim(text=f"{one['chance_of_best']:.2f}"),
        Claim(text=number(one["cost"])),
    )


def _raced(race: StoredRace) -> str:
    """What was not decoded, since a race had shown it to be worse."""
    whole, saved, dropped = race["texts"] + race["texts_saved"], race["texts_saved"], race["dropped"]
    rounds = ", ".join(map(str, race["rounds"]))
    said = f"A race in rounds of {rounds} prompts: "
    if not dropped:
        return said + "no setting was shown to be worse on the way, all were decoded on all of them."
    left = ", ".join(f"{strategy} after {prompts}" for strategy, prompts in dropped.items())
    return said + f"{saved:,} of {whole:,} texts to choose by were not decoded. Left as worse: {left}."


def _optimism(run: Run, label: str) -> Claim:
    """By how much the prompts that chose a family's best made it look better than the others do."""
    families = {} if run.choice is None else run.choice["families"]
    found = [family["optimism"] for family in families.values() if family["best"] == label]
    return Claim(text=f"{found[0]:+.3g}" if found else "")


def _differences(run: Run, comparison: Comparison) -> Iterator[Claims]:
    sets = dict.fromkeys((each.model, each.prompts, each.against) for each in run.differences)
    for model, prompts, against in sets:
        of_set = [d for d in run.differences if (d.model, d.prompts, d.against) == (model, prompts, against)]
        measured = {each.metric for each in of_set}
        metrics = [metric for metric in comparison.headline if metric.name in measured]
        if metrics:
            yield _against(of_set, metrics, f"{model} · {prompts}" if len(sets) > 1 else "")


def _against(differences: Sequence[Difference], metrics: Sequence[Metric], where: str) -> Claims:
    by_place = {(each.strategy, each.metric): each for each in differences}
    strategies = tuple(dict.fromkeys(each.strategy for each in differences))
    rows = tuple(
        (strategy, tuple(_claim(by_place.get((strategy, metric.name)), metric) for metric in metrics))
        for strategy in strategies
    )
    comparisons = max(each.comparisons for each in differences)
    notes = [f"Each strategy minus {differences[0].against}, paired by prompt."]
    if comparisons:
        notes += [
            f"With 95% none of the {comparisons} verdicts on a metric is a false claim (Holm). An interval leaves out "
            "0 where a difference is claimed.",
            "A difference above the detectable one would be found four times out of five.",
        ]
    reasons = dict.fromkeys(
        one_line(each.reason)
        for each in differences
        if each.reason and each.verdict == "cannot tell" and any(each.metric == metric.name for metric in metrics)
    )
    notes += [f"Cannot tell: {reason}." for reason in reasons]
    title = f"Differences from {differences[0].against}" + (f" ({where})" if where else "")
    return Claims(title=title, header=tuple(metric.title for metric in metrics), rows=rows, notes=tuple(notes))


def _claim(found: Difference | None, metric: Metric) -> Claim:
    if found is None or found.value is None:
        return Claim(text=MISSING if found is None else found.verdict)
    sign = "+" if found.value > 0 else ""
    value = f"{sign}{number(found.value, metric.unit)} {interval(found.ci_low, found.ci_high, metric.unit)}".rstrip()
    if found.verdict in ("indistinguishable", "cannot tell"):
        seen = "" if found.detectable is None else f"; detectable {number(found.detectable, metric.unit)}"
        return Claim(text=found.verdict, small=f"{value}{seen}")
    return Claim(text=found.verdict, small=value, strong=True)


def _rankings(run: Run) -> Iterator[Claims]:
    sets = dict.fromkeys((each.model, each.prompts) for each in run.ranking)
    for model, prompts in sets:
        ranks = [each for each in run.ranking if (each.model, each.prompts) == (model, prompts)]
        where = f" ({model} · {prompts})" if len(sets) > 1 else ""
        yield Claims(
            title=f"Ranking{where}",
            header=("Pareto front", "Bradley-Terry strength", "mean rank", "tie"),
            rows=tuple((each.strategy, _places(each)) for each in ranks),
            notes=_ranking_notes(ranks),
        )


def _places(rank: Rank) -> tuple[Claim, ...]:
    strength = Claim(text=number(rank.strength), small=interval(rank.strength_low, rank.strength_high))
    mean = Claim(text=number(rank.mean_rank), small=interval(rank.mean_rank_low, rank.mean_rank_high))
    tie = Claim(text=MISSING if rank.tie is None else f"{rank.tie}")
    return Claim(text="yes" if rank.front else "", strong=rank.front), strength, mean, tie


def _ranking_notes(ranks: Sequence[Rank]) -> tuple[str, ...]:
    notes = [
        f"By {', '.join(ranks[0].metrics)}. On the front: no other strategy is as good in all of them, better in one.",
        "Strength: log odds of winning a prompt in a metric; rank: 1 is the best. Strategies of the same tie have "
        "intervals that overlap: they cannot be told apart.",
    ]
    return tuple(notes + [f"{reason}." for reason in dict.fromkeys(one_line(r.reason) for r in ranks if r.reason)])
