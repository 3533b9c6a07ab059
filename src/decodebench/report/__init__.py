"""The last stage: a stored run rendered as tables, plots and pages. Nothing here computes a metric."""

from decodebench.report.comparison import labels
from decodebench.report.formats import clip, markdown_fence, markdown_inline, number, one_line, shorten, visible
from decodebench.report.terminal import terminal_table
from decodebench.report.writing import Report, render

__all__ = [
    "Report",
    "clip",
    "labels",
    "markdown_fence",
    "markdown_inline",
    "number",
    "one_line",
    "render",
    "shorten",
    "terminal_table",
    "visible",
]
