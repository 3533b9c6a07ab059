"""What trying more often is worth: pass@k and majority@k over the number of samples, a colour for each cell."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from decodebench.records import CurvePoint
from decodebench.report.comparison import Comparison
from decodebench.report.plots.drawing import (
    FAINT,
    LeftOut,
    Plot,
    beside_a_legend,
    failed_note,
    finished,
    looks,
    measured,
    name_of,
)

STYLES = {"pass_at_k": ("-", "pass@k: one is right"), "majority_at_k": ("--", "majority@k: most are")}
"""The curves of the plot, how they are drawn, and what a value says where answers are right or wrong."""
MOST_BANDS = 5
"""Bands of more cells would cover each other; their intervals are in curves.csv."""
NAME, TITLE = "task_samples", "The task against the number of samples"


def over_k_plot(comparison: Comparison, curves: Sequence[CurvePoint]) -> Plot | LeftOut:
    """Both curves of every cell in one panel, with bands for the intervals; a cell of one sample is a line across."""
    rows = [(at, row) for at, row in measured(comparison) if not row.is_human]
    points = {
        (row.cell, curve): sorted(
            (p for p in curves if (p.cell, p.curve) == (row.cell, curve) and p.value is not None), key=lambda p: p.start
        )
        for _, row in rows
        for curve in STYLES
    }
    if not any(points.values()):
        return LeftOut(name=NAME, title=TITLE, reason="no prompt has several judged samples")
    task = comparison.find("task")
    banded = sum(bool(points[row.cell, "pass_at_k"]) for _, row in rows) <= MOST_BANDS
    figure = beside_a_legend(len(rows) + len(STYLES))
    panel = figure.subplots()
    for at, row in rows:
        colour, marker = looks(at)
        value = row.value(task) if task is not None else None
        if not points[row.cell, "pass_at_k"]:
            if value is not None:
                panel.axhline(value, color=colour, linewidth=1.2, linestyle=":", label=name_of(row))
            continue
        for curve, (dashes, _) in STYLES.items():
            line = points[row.cell, curve]
            ks = [point.start for point in line]
            label = name_of(row) if curve == "pass_at_k" else None
            values = [np.nan if point.value is None else point.value for point in line]
            panel.plot(ks, values, dashes, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label)
            lows, highs = (
                [np.nan if end is None else end for end in ends]
                for ends in ([point.ci_low for point in line], [point.ci_high for point in line])
            )
            if banded:
                panel.fill_between(ks, lows, highs, color=colour, alpha=0.1, linewidth=0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("samples k")
    panel.set_ylabel("task")
    for dashes, says in STYLES.values():
        panel.plot([], [], dashes, color=FAINT, linewidth=1.4, label=says)
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8.5)
    caption = [
        "The task's value of the best of k samples (pass@k, solid) and of the commonest answer among them (majority@k, "
        "dashed), expected over all subsets. Of a search k are its first ranks."
    ]
    if any(not points[row.cell, "pass_at_k"] for _, row in rows):
        caption.append("Dotted: cells of one sample.")
    if banded and any(point.ci_low is not None for line in points.values() for point in line):
        caption.append("Bands are intervals.")
    return finished(figure, name=NAME, title=TITLE, caption=[*caption, *failed_note(comparison)])
