"""One metric against another: a point for each cell, its name beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.plots import drawing
from decodebench.report.plots.placing import Box, nearest, needs_leader, place

MARKER_SIZE = 8.0
PADDING = 1.0
RING = 5.0
"""How much wider, in points, a marker is drawn for each one that lies on top of it."""
MOST_RINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A cell in the plot: its place in the run, its values, the ends of its intervals."""

    at: int
    row: Row
    x: float
    y: float
    x_ends: tuple[float, float] | None
    y_ends: tuple[float, float] | None


def scatter_plot(
    comparison: Comparison, *, name: str, title: str, across: Sequence[str], up: Sequence[str]
) -> drawing.Plot | drawing.LeftOut:
    """A scatter of two metrics, each cell named beside its point."""
    x, y = comparison.find(*across), comparison.find(*up)
    if x is None or y is None:
        return drawing.LeftOut(name=name, title=title, reason=_why_not(comparison, up if x else across))
    points = list(_points(comparison, x, y))
    if not points:
        return drawing.LeftOut(name=name, title=title, reason=f"no cell has both {x.name} and {y.name}")
    figure = Figure(figsize=(9.5, min(3.4 + 0.14 * len(points), 8.0)), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(_axis_title(x))
    axes.set_ylabel(_axis_title(y))
    drawing.in_gigabytes(axes.xaxis, x)
    drawing.in_gigabytes(axes.yaxis, y)
    axes.margins(0.1)
    _draw_points(axes, points)
    unnamed = _name_points(figure, axes, points)
    caption = [f"Across: {x.name}; up: {y.name}."]
    if any(point.x_ends or point.y_ends for point in points):
        caption.append("Lines through a point are its intervals.")
    placed = {point.row.cell for point in points}
    unplaced = [row.label for _, row in drawing.measured(comparison) if row.cell not in placed]
    caption += [f"Without a value on one of the two: {', '.join(unplaced)}."] if unplaced else []
    caption += [f"Drawn, but without room for a name: {', '.join(unnamed)}."] if unnamed else []
    return drawing.finished(figure, name=name, title=title, caption=[*caption, *drawing.failed_note(comparison)])


def _points(comparison: Comparison, x: Metric, y: Metric) -> Iterable[Point]:
    for at, row in drawing.measured(comparison):
        across, up = drawing.finite(row, x), drawing.finite(row, y)
        if across is not None and up is not None:
            yield Point(at=at, row=row, x=across, y=up, x_ends=drawing.ends_of(row, x), y_ends=drawing.ends_of(row, y))


def _draw_points(axes: Any, points: Sequence[Point]) -> None:
    """Points at the same place are drawn around each other, so that a few are all seen."""
    places = [(point.x, point.y) for point in points]
    for number, point in enumerate(points):
        colour, marker = drawing.looks(point.at)
        if point.x_ends:
            axes.hlines(point.y, *point.x_ends, color=colour, alpha=0.45, linewidth=1.2)
        if point.y_ends:
            axes.vlines(point.x, *point.y_ends, color=colour, alpha=0.45, linewidth=1.2)
        size = _marker_size(places[number + 1 :].count(places[number]))
        axes.plot(point.x, point.y, marker, color=colour, markeredgecolor="white", markersize=size, zorder=3)


def _marker_size(on_top: int) -> float:
    return MARKER_SIZE + RING * min(on_top, MOST_RINGS)


def _name_points(figure: Figure, axes: Any, points: Sequence[Point]) -> list[str]:
    """Write each name near its point; returns those for which there is no room."""
    figure.draw_without_rendering()  # the layout is settled from here on: what is added below takes no part in it
    to_points = 72 / figure.dpi
    places = [tuple(to_points * axes.transData.transform((point.x, point.y))) for point in points]
    boxes = place(
        places,
        [_size(axes, drawing.name_of(point.row), to_points) for point in points],
        frame=Box(*(to_points * axes.bbox.extents)),
        markers=[_around(at, _marker_size(places.count(at) - 1)) for at in places],
        lines=[line for point in points for line in _lines(point, axes, to_points)],
    )
    for point, at, box in zip(points, places, boxes, strict=True):
        if box is not None:
            _write_name(axes, point, at, box, leader=needs_leader(at, box, places))
    return [point.row.label for point, box in zip(points, boxes, strict=True) if box is None]


def _write_name(axes: Any, point: Point, at: tuple[float, float], box: Box, *, leader: bool) -> None:
    """The name in its box; with a thin line to its point where that is not plain to see."""
    style = {"xycoords": "data", "textcoords": "offset points", "zorder": 4, "in_layout": False}
    background = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0}
    corner = (box.left + PADDING - at[0], box.bottom - at[1])
    axes.annotate(drawing.name_of(point.row), (point.x, point.y), corner, va="bottom", bbox=background, **style)
    if leader:
        near = nearest(at, box)
        thin = {"arrowstyle": "-", "color": drawing.FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": MARKER_SIZE / 2}
        axes.annotate("", (point.x, point.y), (near[0] - at[0], near[1] - at[1]), arrowprops=thin, **style)


def _size(axes: Any, name: str, to_points: float) -> tuple[float, float]:
    text = axes.text(0, 0, name, transform=None)
    extent = text.get_window_extent()
    text.remove()
    return to_points * extent.width + 2 * PADDING, to_points * extent.height


def _around(middle: tuple[float, float], size: float) -> Box:
    half = size / 2
    return Box(middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)


def _lines(point: Point, axes: Any, to_points: float) -> Iterable[Box]:
    """The drawn intervals of a point, as boxes without width."""
    across = [(end, point.y) for end in point.x_ends or ()]
    up = [(point.x, end) for end in point.y_ends or ()]
    for line in (across, up):
        if line:
            low, high = to_points * axes.transData.transform(line)
            yield Box(*low, *high)


def _axis_title(metric: Metric) -> str:
    unit = drawing.unit_of_axis(metric)
    return f"{metric.title}  ({unit})" if unit else metric.title


def _why_not(comparison: Comparison, names: Iterable[str]) -> str:
    """The recorded reasons of the metrics a plot would need, or that they were not measured at all."""
    wanted = [metric for metric in comparison.metrics if metric.name in names]
    reasons = {row.missing_reason(metric): None for metric in wanted for _, row in drawing.measured(comparison)}
    return "; ".join(reasons) or f"none of {', '.join(names)} was measured"
