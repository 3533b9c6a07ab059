"""Each metric by strategy: a panel for each metric, a line for each cell, whiskers for the intervals."""

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullFormatter

from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.formats import MISSING
from decodebench.report.plots import drawing

PANELS_IN_A_ROW = 5
LOG_ABOVE = 50
"""Values that spread over more than this factor are drawn on a logarithmic axis (perplexities do)."""


def metric_panels(comparison: Comparison) -> drawing.Plot | drawing.LeftOut:
    """Small multiples in groups: a panel for each metric that tells cells apart, a line for each cell."""
    name, title = "metrics", "Each metric by strategy"
    rows = drawing.measured(comparison)
    measured_ = [m for m in comparison.metrics if any(drawing.finite(row, m) is not None for _, row in rows)]
    known = [metric for metric in measured_ if metric.is_drawn]
    same = [metric for metric in known if _same_for_all(metric, rows)]
    metrics = [metric for metric in known if metric not in same]
    same_note = [f"The same for all, not drawn: {', '.join(_told(metric, rows) for metric in same)}."] if same else []
    if not metrics:
        reason = " ".join(same_note).rstrip(".") or "no cell has a measured value"
        return drawing.LeftOut(name=name, title=title, reason=reason)
    lines = list(_lines(metrics))
    across = max(map(len, lines))
    size = (1.7 + 2.3 * across, 0.4 + len(lines) * (1.05 + 0.22 * len(rows)))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.06))
    grid = figure.subplots(len(lines), across, sharey=True, squeeze=False)
    named: set[str] = set()
    for panels, of_line in zip(grid, lines, strict=True):
        for panel, metric in zip(panels, of_line, strict=False):
            _panel(panel, metric, rows)
            if metric.group not in named:
                _name_group(panel, metric.group)
                named.add(metric.group)
        for empty in panels[len(of_line) :]:
            empty.set_visible(False)
    caption = ["Whiskers are intervals; a hollow point has none.", *same_note, *drawing.failed_note(comparison)]
    return drawing.finished(figure, name=name, title=title, caption=caption)


def _lines(metrics: Sequence[Metric]) -> Iterator[list[Metric]]:
    """The metrics in lines of panels; a group of many begins a new line, small groups share one."""
    line: list[Metric] = []
    for group in dict.fromkeys(metric.group for metric in metrics):
        members = [metric for metric in metrics if metric.group == group]
        if line and len(line) + len(members) > PANELS_IN_A_ROW:
            yield line
            line = []
        line += members
        while len(line) > PANELS_IN_A_ROW:
            yield line[:PANELS_IN_A_ROW]
            line = line[PANELS_IN_A_ROW:]
    if line:
        yield line


def _same_for_all(metric: Metric, rows: Sequence[tuple[int, Row]]) -> bool:
    """Whether a panel would tell nothing: several cells, one value, no interval."""
    values = {drawing.finite(row, metric) for _, row in rows}
    return len(rows) > 1 and len(values) == 1 and all(drawing.ends_of(row, metric) is None for _, row in rows)


def _told(metric: Metric, rows: Sequence[tuple[int, Row]]) -> str:
    value = drawing.finite(rows[0][1], metric) or 0.0
    unit = drawing.unit_of_axis(metric)
    return f"{metric.name} {value / 1e9 if metric.unit == 'bytes' else value:,.4g}{f' {unit}' if unit else ''}"


def _name_group(panel: Any, group: str) -> None:
    """Above the first panel of a group."""
    above = {"xycoords": "axes fraction", "textcoords": "offset points"}
    panel.annotate(group.upper(), (0, 1), (0, 22), color=drawing.FAINT, fontsize=8, **above)


def _panel(panel: Any, metric: Metric, rows: Sequence[tuple[int, Row]]) -> None:
    panel.set_title(metric.title)
    panel.set_xlabel(drawing.unit_of_axis(metric))
    panel.set_yticks(range(len(rows)), [drawing.name_of(row) for _, row in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)
    panel.margins(x=0.08)
    for line, (at, row) in enumerate(rows):
        value = drawing.finite(row, metric)
        if value is None:
            panel.text(0.01, line, MISSING, transform=panel.get_yaxis_transform(), color=drawing.FAINT, va="center")
            continue
        ends = drawing.ends_of(row, metric)
        colour, marker = drawing.looks(at)
        if ends:
            panel.hlines(line, *ends, color=colour, linewidth=1.8)
        fill = colour if ends else "white"
        panel.plot(value, line, marker, color=fill, markeredgecolor=colour, markersize=5.5, markeredgewidth=1.3)
    values = [value for _, row in rows if (value := drawing.finite(row, metric)) is not None]
    whiskers = [end for _, row in rows for end in drawing.ends_of(row, metric) or ()]
    _scale(panel, values, [*values, *whiskers])
    drawing.in_gigabytes(panel.xaxis, metric)


def _scale(panel: Any, values: Sequence[float], drawn_: Sequence[float]) -> None:
    """The axis: logarithmic for `values` far apart; with room around what is drawn where that is one point."""
    low, high = min(values), max(values)
    if low > 0 and high > 1 and high / low > LOG_ABOVE:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
    else:
        panel.xaxis.set_major_locator(MaxNLocator(4))
    if min(drawn_) == max(drawn_):
        room = abs(low) * 0.1 or 0.1
        panel.set_xlim(low - room, high + room)
