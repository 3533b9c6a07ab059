"""The last stage: a stored run rendered as tables, plots and pages. Nothing here computes a metric."""

from decodebench.report.comparison import labels
from decodebench.report.terminal import terminal_table
from decodebench.report.writing import Report, render

__all__ = ["Report", "labels", "render", "terminal_table"]
