"""The comparison in a terminal."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from tabulate import tabulate
from wcwidth import wcswidth

from decodebench.errors import no_command, one_line
from decodebench.report.claims import Claims, choice_claims
from decodebench.report.comparison import Comparison, Metric, Row, compare, reporting
from decodebench.report.folder import Run, load
from decodebench.report.formats import clip, shorten, superscript
from decodebench.report.notes import certainty, footnotes, has_intervals, warnings

TERMINAL_WIDTH = 110
LABEL_WIDTH = 36
SHORTEST_LABEL = 16


def terminal_table(run_dir: Path) -> str:
    """The short table of a stored run, at most 110 columns wide, with a line for each reason of a missing value."""
    run = load(run_dir)
    return terminal_text(run, compare(run))


def terminal_text(run: Run, comparison: Comparison) -> str:
    """The table of `terminal_table`; of a run that was made to choose, what was chosen in its place."""
    shown = reporting(comparison, run.choice)
    if run.choice is None:
        return _compared(shown)
    said = [*wrap(no_command(one_line(run.choice["sentence"])), TERMINAL_WIDTH), ""]
    if shown is comparison:
        return "\n".join([*said, _compared(shown)])
    failed = [_failed_line(row, LABEL_WIDTH) for row in shown.rows if row.error]
    return "\n".join([*said, *(_claimed(table) for table in choice_claims(run)), *failed])


def _claimed(table: Claims, width: int = LABEL_WIDTH) -> str:
    """What was compared to choose, and what its notes say; labels get shorter until it fits."""
    body = [
        [shorten(label, width), *(f"{cell.text} {cell.small}".rstrip() for cell in cells)]
        for label, cells in table.rows
    ]
    header = ["strategy", *table.header]
    aligned = ["left", *("right" for _ in table.header)]
    lines = tabulate([header, *body], tablefmt="plain", disable_numparse=True, colalign=aligned).splitlines()
    if _width("\n".join(lines)) > TERMINAL_WIDTH and width > SHORTEST_LABEL:
        return _claimed(table, width - 1)
    lines.insert(1, "─" * _width("\n".join(lines)))
    lines += [line for note in table.notes for line in wrap(note, TERMINAL_WIDTH)]
    return "\n".join(no_command(line.rstrip()) for line in lines)


def _compared(comparison: Comparison) -> str:
    """The comparison; columns that do not fit are dropped from the right and counted below it."""
    metrics = list(comparison.headline)
    table = _grid(comparison, metrics)
    while len(metrics) > 1 and _width(table) > TERMINAL_WIDTH:
        metrics.pop()
        table = _grid(comparison, metrics)
    return "\n".join([table, *(clip(line, TERMINAL_WIDTH) for line in _below(comparison, metrics))])


def _below(comparison: Comparison, metrics: Sequence[Metric]) -> list[str]:
    """Why values are missing, how sure the others are, and where the rest is."""
    lines = [f"{superscript(note.mark)} {note.reason} ({note.where})" for note in footnotes(comparison, metrics).notes]
    intervals = has_intervals(comparison, metrics)
    if not intervals:
        lines += certainty(comparison, metrics)[:1]
    lines += [f"warning: {text} ({where})" for where, text in warnings(comparison)]
    hidden = len(comparison.measured) - len(metrics)
    more = [f"{hidden} more metric{'s' if hidden > 1 else ''}"] if hidden > 0 else []
    more += ["the intervals"] if intervals else []
    return [*lines, f"{' and '.join(more)}: in comparison.csv and in the report"] if more else lines


def _grid(comparison: Comparison, metrics: Sequence[Metric]) -> str:
    marks = footnotes(comparison, metrics)
    body = [
        [shorten(row.label, LABEL_WIDTH), *("" if row.error else marks.value(row, metric) for metric in metrics)]
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
    return "\n".join(no_command(line.rstrip()) for line in lines)


def _failed_line(row: Row, label_width: int) -> str:
    """A failed cell has no values: its error runs across their columns."""
    label = shorten(row.label, LABEL_WIDTH)
    padding = " " * (label_width - max(0, wcswidth(label)) + 2)
    return clip(f"{label}{padding}failed: {one_line(row.error or '')}", TERMINAL_WIDTH)


def _width(table: str) -> int:
    return max((wcswidth(line) for line in table.splitlines()), default=0)
