"""The table of metrics, each group in the order in which it is reported (docs/metrics.md explains every row)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial

from decodebench.errors import ConfigError
from decodebench.metrics import rows_repetition, sets
from decodebench.metrics.kinds import HUMAN_GROUP, AnyMetric, Metric, SetMetric, named
from decodebench.metrics.options import MetricsConfig
from decodebench.metrics.rows_between import BETWEEN, HUMAN
from decodebench.metrics.rows_repetition import REPETITION
from decodebench.metrics.rows_task import TASK_METRICS, row_name
from decodebench.metrics.rows_tokens import COST, LENGTH, LIKELIHOOD
from decodebench.metrics.rules import RULES
from decodebench.metrics.timings import TIMING_METRICS

METRICS: tuple[AnyMetric, ...] = (*REPETITION, *BETWEEN, *LIKELIHOOD, *HUMAN, *LENGTH, *RULES, *COST)

_COMPATIBLE: Mapping[str, Metric] = {
    **{f"rep_{n}": rows_repetition.rep(n, drop_last=True) for n in (2, 3, 4)},
    "diversity": rows_repetition.diversity(drop_last=True),
}
"""The metrics that the script of SimCTG counts without the last n-gram of each text."""


DISTANCE_VERSION = "2"
"""Of the distances themselves, behind the version of what they are distances of."""


def chosen(config: MetricsConfig) -> tuple[AnyMetric, ...]:
    """METRICS as a run asks for them: those that a published script counts otherwise under a name of their own."""
    if config.compat is None:
        return METRICS
    return tuple(
        replace(_COMPATIBLE[metric.name], name=f"{metric.name}_{config.compat}")
        if metric.name in _COMPATIBLE
        else metric
        for metric in METRICS
    )


def on_leading_units(metrics: Sequence[AnyMetric], length: int) -> tuple[AnyMetric, ...]:
    """Those of repetition, on the first `length` units of a text (0: none); it is the caller who cuts the texts."""
    repeating = (metric for metric in metrics if metric.repeats and length)
    return tuple(replace(metric, name=f"{metric.name}_first{length}") for metric in repeating)


def distance_from_human(metric: Metric) -> SetMetric:
    """How far the texts' values of a metric lie from those of the human references (sets.human_distance)."""
    return SetMetric(
        name=f"{metric.name}_w1",
        direction="lower",
        group=HUMAN_GROUP,
        unit=metric.unit,
        version=f"{metric.version}.{DISTANCE_VERSION}",
        prepare=partial(sets.human_distance, per_text=metric.per_text),
        missing=f"{metric.missing}, or none of people's does",
        needs=("human", *metric.needs),
        by_unit=metric.by_unit,
    )


def check_rank_by(config: MetricsConfig, key: str = "metrics.rank_by") -> None:
    """Raise ConfigError where the ranking has a metric that no run can have, or one without a better side. `key` is
    what the error names."""
    metrics = chosen(config)
    every: tuple[AnyMetric, ...] = (*metrics, *on_leading_units(metrics, config.leading), *distances(metrics))
    known = {named(metric, config.unit): metric.direction for metric in every}
    known |= {metric.name: metric.direction for metric in (*TIMING_METRICS, *TASK_METRICS)}
    usable = [name for name, direction in known.items() if direction != "none"]
    for name in config.rank_by or ():
        if name not in usable and row_name(name)[0] not in usable:
            why = "neither more nor less of it is better" if name in known else "no such metric"
            near = get_close_matches(name, usable, n=3, cutoff=0.5) or usable[:3]
            raise ConfigError(
                f"{key}={name}: {why}; allowed are the {len(usable)} metrics that have a direction, such as "
                f"{', '.join(near)} (docs/metrics.md)"
            )


def distances(metrics: tuple[AnyMetric, ...]) -> tuple[SetMetric, ...]:
    """One distance for each metric that gives every text one value."""
    return tuple(
        distance_from_human(metric)
        for metric in metrics
        if isinstance(metric, Metric)
        and metric.level == "text"
        and not metric.share
        and "generated" not in metric.needs
    )
