"""The last stage: a stored run rendered as tables, plots and pages. Nothing here computes a metric."""

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
