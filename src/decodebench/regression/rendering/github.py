"""A check as annotations of GitHub Actions: lines that its log reader shows beside a commit."""

from decodebench.errors import visible
from decodebench.regression.findings import Check
from decodebench.regression.rendering.words import labels, open_findings, verdict

_ESCAPED = {ord("%"): "%25", ord("\n"): "%0A"}
_IN_A_TITLE = _ESCAPED | {ord(":"): "%3A", ord(","): "%2C"}


def github_annotations(check: Check) -> str:
    """An error for each finding that fails and each reason why nothing can be compared, a warning for what is warned
    of and for prompts that were fed as other tokens, a notice for the others that are no plain pass and the verdict."""
    lines = [_line("error", "cannot be compared", reason) for reason in check.incomparable]
    lines += [_line("warning", "prompts", line) for line in check.prompts]
    label = labels(check)
    for finding in open_findings(check):
        warned = finding.outcome in ("regression", "cannot tell", "missing")
        level = "error" if finding.fails else "warning" if warned else "notice"
        text = "\n".join((f"{finding.outcome}: {finding.message}", *finding.details))
        lines.append(_line(level, f"{label(finding)}, {finding.name}", text))
    lines.append(_line("notice", "decodebench", verdict(check)))
    return "\n".join(lines)


def _line(level: str, title: str, message: str) -> str:
    return f"::{level} title={visible(title).translate(_IN_A_TITLE)}::{visible(message).translate(_ESCAPED)}"
