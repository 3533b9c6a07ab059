"""What the plots have in common: what a plot is, and which cells and values can be drawn."""

import math
from dataclasses import dataclass

from decodebench.report.comparison import Comparison, Metric, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawn plot; `name` is its file name without the ending."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A plot that this run has not the data for, and why."""

    name: str
    title: str
    reason: str


def measured(comparison: Comparison) -> list[tuple[int, Row]]:
    """The cells that did not fail, each with its place in the run: it decides the colour in every plot."""
    return [(at, row) for at, row in enumerate(comparison.rows) if not row.error]


def finite(row: Row, metric: Metric) -> float | None:
    """The value where it can be drawn: there is one, and it is not infinite."""
    value = row.value(metric)
    return value if value is not None and math.isfinite(value) else None


def ends_of(row: Row, metric: Metric) -> tuple[float, float] | None:
    """The ends of the interval where both can be drawn."""
    found = row.measured.get(metric.name)
    if found is None or found.ci_low is None or found.ci_high is None:
        return None
    return (found.ci_low, found.ci_high) if math.isfinite(found.ci_low + found.ci_high) else None


def failed_note(comparison: Comparison) -> list[str]:
    """The sentence of a caption that names the failed cells, or none."""
    names = [row.label for row in comparison.rows if row.error]
    return [f"Failed, not drawn: {', '.join(names)}."] if names else []
