"""A check in a terminal."""

from collections.abc import Callable, Iterator, Sequence

from tabulate import tabulate
from wcwidth import wcswidth

from decodebench.errors import no_command, one_line, visible
from decodebench.regression.findings import Check, Finding
from decodebench.regression.rendering.words import (
    HEADER,
    labels,
    open_findings,
    outcome_word,
    shown,
    value_of,
    verdict,
    worse_by,
)
from decodebench.report import clip, shorten

WIDTH = 110
LABEL_WIDTHS = ((36, 26), (28, 22), (20, 16))
"""Labels and metrics are cut to these, one after the other, until the table fits."""
CHANGES = 20
"""How many changes are told; the others are in the files."""

_ALIGNED = ("left", "left", "left", "right", "right", "right", "right", "right", "right")


def check_text(check: Check) -> str:
    """What differs, the findings that are no plain pass, and last the verdict in one line; at most 110 columns wide."""
    return "\n".join(clip(no_command(line), WIDTH) for line in _lines(check))


def _lines(check: Check) -> Iterator[str]:
    yield one_line(f"{check.run} against {check.baseline}")
    yield from (f"  {one_line(line)}" for line in check.prompts)
    yield from (f"  changed: {one_line(change)}" for change in check.changes[:CHANGES])
    if len(check.changes) > CHANGES:
        yield f"  and {len(check.changes) - CHANGES} more changes"
    yield from (f"  cannot be compared: {one_line(reason)}" for reason in check.incomparable)
    found, label = open_findings(check), labels(check)
    if found:
        yield ""
        yield from _table(found, label)
        yield from _below(found, label)
    yield ""
    yield verdict(check)


def _table(found: Sequence[Finding], label: Callable[[Finding], str]) -> list[str]:
    lines: list[str] = []
    for width, metric_width in LABEL_WIDTHS:
        body = [
            _row(finding, shorten(one_line(label(finding)), width), shorten(one_line(finding.name), metric_width))
            for finding in found
        ]
        # The header goes in as a row: tabulate pads real headers, and the width is dear.
        table = tabulate([HEADER, *body], tablefmt="plain", disable_numparse=True, colalign=_ALIGNED)
        lines = [line.rstrip() for line in table.splitlines()]
        if max(map(wcswidth, lines)) <= WIDTH:
            break
    return [lines[0], "─" * min(WIDTH, max(map(wcswidth, lines))), *lines[1:]]


def _row(finding: Finding, label: str, metric: str) -> list[str]:
    return [
        outcome_word(finding),
        label,
        metric,
        shown(finding.baseline, finding.unit),
        value_of(finding),
        worse_by(finding),
        shown(finding.margin, finding.unit),
        shown(finding.detectable, finding.unit),
        str(finding.n) if finding.n else "",
    ]


def _below(found: Sequence[Finding], label: Callable[[Finding], str]) -> Iterator[str]:
    """What the columns have no room for: the reason of what has no worsening, and the texts."""
    told = [finding for finding in found if finding.worsening is None or finding.details]
    if told:
        yield ""
    for finding in told:
        name = shorten(one_line(label(finding)), LABEL_WIDTHS[0][0])
        yield f"{name}, {one_line(finding.name)}: {one_line(finding.message)}"
        yield from (f"  {part}" for line in finding.details for part in visible(line).expandtabs(4).split("\n"))
