"""One metric against another: a point for each cell, the names in a column beside the axes."""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.figures import LeftOut, Plot, ends_of, failed_note, finite, measured
from decodebench.report.style import drawn, looks


def scatter(
    comparison: Comparison, *, name: str, title: str, across: Sequence[str], up: Sequence[str]
) -> Plot | LeftOut:
    """A scatter of two metrics, each cell named at the right edge."""
    x, y = comparison.find(*across), comparison.find(*up)
    if x is None or y is None:
        return LeftOut(name=name, title=title, reason=_why_not(comparison, up if x else across))
    points = [
        (at, row, across_value, up_value)
        for at, row in measured(comparison)
        if (across_value := finite(row, x)) is not None and (up_value := finite(row, y)) is not None
    ]
    if not points:
        return LeftOut(name=name, title=title, reason=f"no cell has both {x.name} and {y.name}")
    figure = Figure(figsize=(9.5, max(4.6, 0.3 * len(points) + 1.2)), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(_axis_title(x))
    axes.set_ylabel(_axis_title(y))
    axes.margins(0.08)
    for at, row, across_value, up_value in points:
        colour, marker = looks(at)
        if ends := ends_of(row, x):
            axes.hlines(up_value, *ends, color=colour, alpha=0.45, linewidth=1.2)
        if ends := ends_of(row, y):
            axes.vlines(across_value, *ends, color=colour, alpha=0.45, linewidth=1.2)
        axes.plot(across_value, up_value, marker, color=colour, markeredgecolor="white", markersize=8)
    _name_points(axes, points)
    png, svg = drawn(figure)
    caption = [f"Across: {x.name}; up: {y.name}. Lines are intervals.", *failed_note(comparison)]
    placed = {row.cell for _, row, *_ in points}
    unplaced = [row.label for _, row in measured(comparison) if row.cell not in placed]
    if unplaced:
        caption.append(f"Without a value on one of the two: {', '.join(unplaced)}.")
    return Plot(name=name, title=title, caption=" ".join(caption), png=png, svg=svg)


def _name_points(axes: Any, points: Sequence[tuple[int, Row, float, float]]) -> None:
    """Write the names in a column beside the axes, each on the height of its point as far as there is room."""
    bottom, top = axes.get_ylim()
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(bottom, top)
    ordered = sorted(points, key=lambda point: point[3])
    heights = spread([(point[3] - bottom) / (top - bottom) for point in ordered], gap=min(0.055, 1 / len(ordered)))
    for (at, row, x, y), height in zip(ordered, heights, strict=True):
        colour, marker = looks(at)
        axes.plot(1.04, height, marker, color=colour, markersize=6, transform=axes.transAxes, clip_on=False)
        axes.text(1.06, height, row.label, transform=axes.transAxes, va="center")
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "linestyle": ":", "alpha": 0.7}
        axes.annotate("", xy=(x, y), xytext=(1.04, height), textcoords="axes fraction", arrowprops=leader)


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """Move ascending heights as little as possible (least squares) so that neighbours are at least `gap` apart.

    All stay within 0 and 1 where that many gaps fit there. With the gaps taken away the heights need only ascend, so
    that this is isotonic regression, solved by pooling neighbours that are out of order into their mean.
    """
    pools: list[tuple[float, int]] = []
    for at, height in enumerate(heights):
        pools.append((height - at * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (last, many), (before, few) = pools.pop(), pools.pop()
            pools.append(((last * many + before * few) / (many + few), many + few))
    room = max(0.0, 1 - (len(heights) - 1) * gap)
    settled = [min(max(mean, 0.0), room) for mean, count in pools for _ in range(count)]
    return [height + at * gap for at, height in enumerate(settled)]


def _axis_title(metric: Metric) -> str:
    return f"{metric.title}  ({metric.unit})" if metric.unit else metric.title


def _why_not(comparison: Comparison, names: Iterable[str]) -> str:
    """The recorded reasons of the metrics a plot would need, or that they were not measured at all."""
    wanted = [metric for metric in comparison.metrics if metric.name in names]
    reasons = {row.missing_reason(metric): None for metric in wanted for _, row in measured(comparison)}
    return "; ".join(reasons) or f"none of {', '.join(names)} was measured"
