"""The last stage: a stored run rendered as tables, plots and pages. Nothing here computes a metric.

In: a run folder. Out: comparison.csv, report.md, report.html, plots (`writing` writes them all or none).

`folder` reads the run; `comparison` is the table that all share; `terminal`, `markdown`, `page` and `plots/` render it,
with the parts `claims`, `notes`, `summary` and `texts`; `formats` and `fonts` are how single values and letters are
shown (colours: `plots/drawing`).
"""

from decodebench.report.formats import clip, markdown_fence, markdown_inline, number, shorten
from decodebench.report.terminal import terminal_table
from decodebench.report.writing import Report, render

__all__ = [
    "Report",
    "clip",
    "markdown_fence",
    "markdown_inline",
    "number",
    "render",
    "shorten",
    "terminal_table",
]
