"""Metrics against the position in the text: a line for each cell, human references in black."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np

from decodebench.records import CurvePoint
from decodebench.report.comparison import Comparison, Row
from decodebench.report.plots.drawing import INK, LeftOut, Plot, beside_a_legend, finished, looks, measured, name_of

FEWEST_OF_PROMPTS = 0.5
"""A line ends where fewer than this share of its prompts have texts so long: what is left are other texts."""


def curve_plot(
    comparison: Comparison, curves: Sequence[CurvePoint], *, name: str, curve: str, title: str, says: str
) -> Plot | LeftOut:
    """One curve of every cell, with bands for the intervals where few lines leave room for them."""
    rows = [(at, row) for at, row in measured(comparison) if _line(row, curves, curve)]
    if not rows:
        return LeftOut(name=name, title=title, reason="no cell has a point of this curve")
    figure = beside_a_legend(len(rows))
    panel = figure.subplots()
    points = [point for _, row in rows for point in _line(row, curves, curve)]
    banded = len(rows) <= 4
    dashes = cycle(("--", ":", "-."))  # the references under several models are several lines
    for at, row in rows:
        line = _line(row, curves, curve)
        middles = [(point.start + point.stop - 1) / 2 for point in line]
        colour, marker = (INK, "") if row.is_human else looks(at)
        style = {"linestyle": next(dashes), "linewidth": 2.0} if row.is_human else {"linewidth": 1.4}
        values = [np.nan if point.value is None else point.value for point in line]
        panel.plot(middles, values, color=colour, marker=marker, markersize=3.5, label=name_of(row), **style)
        if banded:
            lows, highs = ([np.nan if end is None else end for end in ends] for ends in zip(*_ends(line), strict=True))
            panel.fill_between(middles, lows, highs, color=colour, alpha=0.12, linewidth=0)
    units = {point.unit for point in points}
    panel.set_xlabel(f"position in the text ({', '.join(sorted(units))})")
    panel.set_ylabel(says)
    panel.set_ylim(bottom=0)
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8.5)
    widths = ", ".join(str(width) for width in sorted({point.stop - point.start for point in points}))
    caption = [f"Each point is the mean over {widths} {', '.join(sorted(units))} and over prompts."]
    if any(row.is_human for _, row in rows):
        caption.append("Dashed: what people wrote.")
    if banded and any(point.ci_low is not None for point in points):
        caption.append("Bands are intervals.")
    return finished(figure, name=name, title=title, caption=caption)


def _line(row: Row, curves: Sequence[CurvePoint], curve: str) -> list[CurvePoint]:
    """The points of a cell, as far as enough of its prompts reach."""
    points = sorted((p for p in curves if p.cell == row.cell and p.curve == curve), key=lambda p: p.start)
    most = max((point.n for point in points), default=0)
    return [point for point in points if point.n >= FEWEST_OF_PROMPTS * most and point.value is not None]


def _ends(line: Sequence[CurvePoint]) -> Iterator[tuple[float | None, float | None]]:
    return ((point.ci_low, point.ci_high) for point in line)
