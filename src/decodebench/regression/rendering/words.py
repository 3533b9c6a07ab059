"""What all outputs say in the same words."""

from collections import Counter
from collections.abc import Callable

from decodebench.regression.findings import INCOMPARABLE, REGRESSION, Check, Finding
from decodebench.report import number

HEADER = ("", "strategy", "metric", "baseline", "run", "worse by", "margin", "detectable", "n")
"""The columns of a table of findings, in the terminal and on the page."""


def outcome_word(finding: Finding) -> str:
    """The outcome, with what it comes to where that is not plain."""
    if finding.outcome == "regression":
        return "REGRESSION" if finding.fails else "worse (warns)"
    if finding.outcome == "cannot tell" and finding.fails:
        return "CANNOT TELL"
    return finding.outcome


def labels(check: Check) -> Callable[[Finding], str]:
    """How arms are called: by the strategy, with the prompt set where there are several, and the model."""
    several = len({finding.prompts for finding in check.findings}) > 1

    def label(finding: Finding) -> str:
        return " / ".join(filter(None, (finding.model, finding.prompts if several else "", finding.strategy)))

    return label


def open_findings(check: Check) -> list[Finding]:
    """What is no plain pass, failures first."""
    found = [finding for finding in check.findings if finding.outcome != "pass"]
    return sorted(found, key=lambda finding: not finding.fails)


def verdict(check: Check) -> str:
    """The check in one line."""
    if check.exit_code == INCOMPARABLE:
        reasons = len(check.incomparable)
        return f"cannot be compared: {reasons} reason{'' if reasons == 1 else 's'}"
    failing = sum(finding.fails for finding in check.findings)
    counts = Counter(finding.outcome for finding in check.findings if not finding.fails)
    counts["regression"] = counts.pop("regression", 0)
    said = {"pass": "passed", "regression": "worse (only warned of)", "numerical tie": "equal but for numerical ties"}
    parts = [f"{n} {said.get(outcome, outcome)}" for outcome, n in counts.items() if n]
    if check.exit_code == REGRESSION:
        return f"regression: {', '.join([f'{failing} failed', *parts])}"
    return f"no regression: {', '.join(parts) or 'nothing failed'}"


def worse_by(finding: Finding) -> str:
    """The worsening with its bounds; empty where there is no number."""
    if finding.worsening is None:
        return ""
    bounds = f" [{number(finding.low)}, {number(finding.high)}]" if finding.low is not None else ""
    return f"{number(finding.worsening)}{bounds}"


def value_of(finding: Finding) -> str:
    """The run's value: of texts and cells a count."""
    if finding.value is None or finding.unit not in ("texts", "cells"):
        return shown(finding.value, finding.unit)
    return f"{finding.value:.0f} differ" if finding.kind == "exact" else f"{finding.value:.0f}"


def shown(value: float | None, unit: str = "") -> str:
    """A number, or nothing."""
    return "" if value is None else number(value, unit)
