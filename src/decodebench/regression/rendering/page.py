"""A check as a page for a pull request."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from tabulate import tabulate

from decodebench.errors import one_line
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
from decodebench.report import markdown_fence, markdown_inline

_LEGEND = (
    "worse by: the estimate with its bounds, the lower one corrected for all tests of the check (below 0: better). "
    "margin: how much may pass. detectable: the smallest worsening that would be found four times out of five. "
    "n: prompts."
)


def check_markdown(check: Check) -> str:
    """The verdict first, then what is to be looked at, then all the rest folded."""
    return "\n\n".join(_blocks(check)) + "\n"


def _blocks(check: Check) -> Iterator[str]:
    yield f"## decodebench: {markdown_inline(verdict(check))}"
    yield f"{markdown_inline(check.run)} against {markdown_inline(check.baseline)}"
    if check.incomparable:
        yield _list(check.incomparable)
    if check.prompts:
        yield _list(check.prompts)
    found, label = open_findings(check), labels(check)
    if found:
        yield _table(found, label)
        yield markdown_inline(_LEGEND)
        yield from _details(found, label)
    if check.changes:
        yield "### What else is different"
        yield _list(check.changes)
    passed = [finding for finding in check.findings if finding.outcome == "pass"]
    if passed:
        yield f"<details><summary>{len(passed)} passed, and what would have been found</summary>"
        yield _table(passed, label)
        yield "</details>"


def _table(found: Sequence[Finding], label: Callable[[Finding], str]) -> str:
    body = [
        [
            f"**{outcome_word(finding)}**" if finding.fails else outcome_word(finding),
            markdown_inline(label(finding)),
            markdown_inline(finding.name),
            shown(finding.baseline, finding.unit),
            value_of(finding),
            markdown_inline(worse_by(finding)),
            shown(finding.margin, finding.unit),
            shown(finding.detectable, finding.unit),
            str(finding.n) if finding.n else "",
        ]
        for finding in found
    ]
    aligned = ["left"] * 3 + ["right"] * 6
    return tabulate(body, headers=HEADER, tablefmt="pipe", disable_numparse=True, colalign=aligned)


def _details(found: Sequence[Finding], label: Callable[[Finding], str]) -> Iterator[str]:
    """What the columns have no room for: the texts, and the reason of what has no worsening."""
    reasons = [f"{label(each)}, {each.name}: {each.message}" for each in found if _reason_alone(each)]
    if reasons:
        yield _list(reasons)
    for finding in found:
        if finding.details:
            title = one_line(f"{label(finding)}, {finding.name}: {finding.message}")
            yield f"<details><summary>{escape(title)}</summary>"
            yield markdown_fence("\n".join(finding.details))
            yield "</details>"


def _reason_alone(finding: Finding) -> bool:
    return finding.worsening is None and not finding.details


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_inline(line)}" for line in lines)
