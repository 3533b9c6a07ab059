"""Each metric by strategy: a panel for each metric, a line for each cell, whiskers for the intervals."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullFormatter

from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.figures import LeftOut, Plot, ends_of, failed_note, finite, measured
from decodebench.report.formats import MISSING
from decodebench.report.notes import no_interval
from decodebench.report.style import FAINT, drawn, looks

PANELS_IN_A_ROW = 4
LOG_ABOVE = 50
"""Values that spread over more than this factor are drawn on a logarithmic axis (perplexities do)."""


def metric_panels(comparison: Comparison) -> Plot | LeftOut:
    """Small multiples: a panel for each metric, a line for each cell, whiskers for the intervals."""
    name, title = "metrics", "Each metric by strategy"
    metrics = [m for m in comparison.metrics if any(finite(row, m) is not None for row in comparison.rows)]
    rows = measured(comparison)
    if not metrics:
        return LeftOut(name=name, title=title, reason="no cell has a measured value")
    across = min(PANELS_IN_A_ROW, len(metrics))
    down = math.ceil(len(metrics) / across)
    size = (2.2 + 2.6 * across, 0.4 + down * (0.95 + 0.27 * len(rows)))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.06))
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for panel, metric in zip(grid.flat, metrics, strict=False):
        _panel(panel, metric, rows)
    for empty in grid.flat[len(metrics) :]:
        empty.set_visible(False)
    png, svg = drawn(figure)
    caption = ["Points are values, whiskers their intervals; a hollow point has no interval."]
    caption += [f"{line[0].upper()}{line[1:]}." for line in no_interval(comparison, metrics)]
    return Plot(name=name, title=title, caption=" ".join(caption + failed_note(comparison)), png=png, svg=svg)


def _panel(panel: Any, metric: Metric, rows: Sequence[tuple[int, Row]]) -> None:
    panel.set_title(metric.title)
    panel.set_xlabel(metric.unit)
    panel.set_yticks(range(len(rows)), [row.label for _, row in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)
    panel.margins(x=0.08)
    for line, (at, row) in enumerate(rows):
        value = finite(row, metric)
        if value is None:
            panel.text(0.01, line, MISSING, transform=panel.get_yaxis_transform(), color=FAINT, va="center")
            continue
        ends = ends_of(row, metric)
        colour, marker = looks(at)
        if ends:
            panel.hlines(line, *ends, color=colour, linewidth=1.8)
        fill = colour if ends else "white"
        panel.plot(value, line, marker, color=fill, markeredgecolor=colour, markersize=5.5, markeredgewidth=1.3)
    _scale(panel, [value for _, row in rows if (value := finite(row, metric)) is not None])


def _scale(panel: Any, values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    if low > 0 and high > 1 and high / low > LOG_ABOVE:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
    else:
        panel.xaxis.set_major_locator(MaxNLocator(4))
    if low == high:
        room = abs(low) * 0.1 or 0.1
        panel.set_xlim(low - room, high + room)
