"""Rows of the table of metrics: how much of a text, and of a set of texts, says the same again."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from decodebench.metrics import repetition, sets
from decodebench.metrics.corpus import Stats, Text
from decodebench.metrics.kinds import AnyMetric, Metric, SetMetric


def _counts(*lengths: int, drop_last: bool = False) -> Callable[[Text], Stats]:
    """Unique and all n-grams of a text, for each of these n."""
    return lambda text: tuple(count for n in lengths for count in text.ngrams(n, drop_last=drop_last))


def _loop_onset(text: Text) -> Stats | None:
    onset = repetition.loop_onset(text.units)
    return None if onset is None else (float(onset),)


def _ngram_metric(name: str, n: int) -> Metric:
    """What the metrics of n-grams share; this one is a mean over texts, and not drawn: rep_n is."""
    return Metric(
        name=f"{name}_{n}",
        level="text",
        direction="lower",
        group="repetition",
        drawn=False,
        missing=f"no text has {n} {{unit}}",
        by_unit=True,
        repeats=True,
    )


def distinct(n: int) -> Metric:
    """distinct_n of each text."""
    return replace(
        _ngram_metric("distinct", n),
        direction="higher",
        headline=12 if n == 2 else None,
        per_text=lambda text: repetition.distinct(*text.ngrams(n)),
    )


def seq_rep(n: int) -> Metric:
    """seq_rep_n of each text."""
    return replace(_ngram_metric("seq_rep", n), per_text=lambda text: repetition.seq_rep(*text.ngrams(n)))


def rep(n: int, *, drop_last: bool = False) -> Metric:
    """rep_n, pooled; `drop_last` leaves out the last n-gram of each text."""
    return replace(
        _ngram_metric("rep", n),
        level="set",
        headline=5 if n == 4 else None,
        drawn=True,
        per_text=_counts(n, drop_last=drop_last),
        finish=repetition.rep,
    )


def diversity(*, drop_last: bool = False) -> Metric:
    """The product of 1 - rep_n for n = 2, 3, 4."""
    return Metric(
        name="diversity",
        level="set",
        direction="higher",
        group="repetition",
        headline=4,
        per_text=_counts(2, 3, 4, drop_last=drop_last),
        finish=repetition.diversity,
        missing="no text has 4 {unit}",
        by_unit=True,
        repeats=True,
    )


def set_distinct(n: int) -> SetMetric:
    """distinct-n over all texts as one."""
    return SetMetric(
        name=f"set_distinct_{n}",
        direction="higher",
        version="2",
        group="the whole set",
        prepare=partial(sets.distinct, n=n),
        missing=f"no text has {n} {{unit}}",
        by_unit=True,
        repeats=True,
        within=(0.0, 1.0),
    )


REPETITION: tuple[AnyMetric, ...] = (
    diversity(),
    *map(rep, (2, 3, 4)),
    *map(seq_rep, (2, 3, 4)),
    *map(distinct, (1, 2, 3, 4)),
    Metric(
        name="longest_repeat",
        level="text",
        direction="lower",
        group="repetition",
        unit="{unit}",
        per_text=lambda text: (float(repetition.longest_repeat(text.units)),),
        by_unit=True,
        repeats=True,
    ),
    Metric(
        name="loop_share",
        level="text",
        direction="lower",
        group="repetition",
        headline=6,
        per_text=lambda text: (float(repetition.loop_period(text.units) is not None),),
        by_unit=True,
        share=True,
        repeats=True,
    ),
    Metric(
        name="loop_onset",
        level="text",
        direction="none",
        group="repetition",
        unit="{unit}",
        per_text=_loop_onset,
        missing="no text ends in a loop",
        by_unit=True,
        repeats=True,
    ),
    *map(set_distinct, (1, 2, 3, 4)),
    SetMetric(
        name="ead",
        direction="higher",
        version="2",
        group="the whole set",
        prepare=sets.ead,
        missing="no text has a token",
        by_unit=True,
        repeats=True,
    ),
    SetMetric(
        name="zipf",
        direction="none",
        version="2",
        group="the whole set",
        prepare=sets.zipf,
        missing="no two ranks of {unit} to compare",
        by_unit=True,
    ),
)
