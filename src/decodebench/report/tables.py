"""The comparison as text: in the terminal and in markdown."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate
from wcwidth import wcswidth, wcwidth

from decodebench.report.comparison import Comparison, Metric, Row, compare
from decodebench.report.folder import load
from decodebench.report.formats import MISSING, interval, markdown_inline, number, one_line, superscript
from decodebench.report.notes import Footnotes, footnotes

TERMINAL_WIDTH = 110
LABEL_WIDTH = 44


def terminal_table(run_dir: Path) -> str:
    """The short table of a stored run, at most 110 columns wide, with a line for each reason of a missing value."""
    return terminal_text(compare(load(run_dir)))


def terminal_text(comparison: Comparison) -> str:
    """The table of `terminal_table`; columns that do not fit are dropped from the right and counted below it."""
    metrics = list(comparison.headline)
    table = _terminal_grid(comparison, metrics)
    while len(metrics) > 1 and _width(table) > TERMINAL_WIDTH:
        metrics.pop()
        table = _terminal_grid(comparison, metrics)
    notes = footnotes(comparison, metrics).notes
    lines = [table, *(clip(f"{superscript(n.mark)} {n.reason} ({n.where})", TERMINAL_WIDTH) for n in notes)]
    hidden = len(comparison.metrics) - len(metrics)
    if hidden > 0:
        lines.append(f"{hidden} more metric{'s' if hidden > 1 else ''} in comparison.csv and in the report")
    return "\n".join(lines)


def _terminal_grid(comparison: Comparison, metrics: Sequence[Metric]) -> str:
    marks = footnotes(comparison, metrics)
    body = [
        [clip(row.label, LABEL_WIDTH), *([""] * len(metrics) if row.error else _values(row, metrics, marks))]
        for row in comparison.rows
    ]
    header = ["strategy", *(metric.title for metric in metrics)]
    aligned = ["left", *("right" for _ in metrics)]
    # The header goes in as a row: tabulate pads real headers, and the width is dear.
    lines = tabulate([header, *body], tablefmt="plain", disable_numparse=True, colalign=aligned).splitlines()
    label_width = max(wcswidth(line[0]) for line in [header, *body])
    for at, row in enumerate(comparison.rows, start=1):
        if row.error:
            lines[at] = _failed_line(row, label_width)
    lines.insert(1, "─" * _width("\n".join(lines)))
    return "\n".join(line.rstrip() for line in lines)


def _failed_line(row: Row, label_width: int) -> str:
    """A failed cell has no values: its error runs across their columns."""
    label = clip(row.label, LABEL_WIDTH)
    padding = " " * (label_width - max(0, wcswidth(label)) + 2)
    return clip(f"{label}{padding}failed: {one_line(row.error or '')}", TERMINAL_WIDTH)


def _values(row: Row, metrics: Sequence[Metric], marks: Footnotes) -> Iterator[str]:
    for metric in metrics:
        value = row.value(metric)
        if value is None:
            yield MISSING + superscript(marks.marks[row.cell, metric.name])
        else:
            yield number(value, metric.unit)


def markdown_table(comparison: Comparison, metrics: Sequence[Metric]) -> str:
    """The cells as rows, the metrics as columns, each value with its interval; a failed cell with its error."""
    marks = footnotes(comparison, metrics)
    body = []
    for row in comparison.rows:
        if row.error:
            cells = [markdown_inline(f"failed: {row.error}"), *[""] * (len(metrics) - 1)]
        else:
            cells = list(_values_with_intervals(row, metrics, marks))
        body.append([markdown_inline(row.label), *cells])
    headers = [metric.title for metric in metrics] or ["result"]
    return _pipe_table(["strategy", *headers], body, text_columns=1)


def markdown_all_metrics(comparison: Comparison) -> str:
    """Every metric as a row, the cells that did not fail as columns."""
    rows = [row for row in comparison.rows if not row.error]
    marks = footnotes(comparison, comparison.metrics)
    columns = [list(_values_with_intervals(row, comparison.metrics, marks)) for row in rows]
    body = [
        [metric.title, metric.unit, *(column[at] for column in columns)] for at, metric in enumerate(comparison.metrics)
    ]
    return _pipe_table(["metric", "unit", *(markdown_inline(row.label) for row in rows)], body, text_columns=2)


def _values_with_intervals(row: Row, metrics: Sequence[Metric], marks: Footnotes) -> Iterator[str]:
    for text, metric in zip(_values(row, metrics, marks), metrics, strict=True):
        found = row.measured.get(metric.name)
        known = found is not None and found.value is not None
        yield f"{text} {interval(found.ci_low, found.ci_high, metric.unit)}".rstrip() if found and known else text


def _pipe_table(headers: Sequence[str], body: Sequence[Sequence[str]], *, text_columns: int) -> str:
    aligned = ["left" if at < text_columns else "right" for at in range(len(headers))]
    return tabulate(body, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=aligned if body else None)


def clip(text: str, width: int) -> str:
    """The text in at most `width` terminal columns (Hangul takes two), with an ellipsis where it was cut."""
    if wcswidth(text) <= width:
        return text
    kept, used = "", 1
    for letter in text:
        used += max(0, wcwidth(letter))
        if used > width:
            break
        kept += letter
    return kept + "…"


def _width(table: str) -> int:
    return max((wcswidth(line) for line in table.splitlines()), default=0)
