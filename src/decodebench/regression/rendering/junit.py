"""A check as JUnit XML, which CI systems read: a test case for each finding."""

import re
from xml.etree import ElementTree

from decodebench.errors import visible
from decodebench.regression.findings import Check, Finding
from decodebench.regression.rendering.words import labels, verdict

_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, however it is escaped."""


def junit_xml(check: Check) -> str:
    """One suite. A failing finding is a failure, one that cannot tell is skipped, what is only warned of is the
    output of a case that passes; each reason why nothing can be compared is an error."""
    suite = ElementTree.Element("testsuite", name="decodebench check")
    for reason in check.incomparable:
        case = ElementTree.SubElement(suite, "testcase", classname="decodebench", name="comparable")
        ElementTree.SubElement(case, "error", message=_text(reason), type="incomparable")
    label = labels(check)
    for finding in check.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_text(f"decodebench.{label(finding)}"), name=_text(_name(finding))
        )
        _outcome(case, finding)
    for kind, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite)))
    notes = ElementTree.SubElement(suite, "system-out")
    lines = (f"{check.run} against {check.baseline}", *check.prompts, *check.changes, verdict(check))
    notes.text = _text("\n".join(lines))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _name(finding: Finding) -> str:
    return finding.name if finding.kind in ("exact", "cell") else f"{finding.name} ({finding.kind})"


def _outcome(case: ElementTree.Element, finding: Finding) -> None:
    body = _text("\n".join((finding.message, *finding.details)))
    if finding.fails:
        ElementTree.SubElement(case, "failure", message=_text(finding.message), type=finding.outcome).text = body
    elif finding.outcome in ("cannot tell", "new", "missing"):
        ElementTree.SubElement(case, "skipped", message=_text(f"{finding.outcome}: {finding.message}"))
    elif finding.outcome != "pass":
        ElementTree.SubElement(case, "system-out").text = f"{finding.outcome}: {body}"
    else:
        ElementTree.SubElement(case, "system-out").text = body


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", visible(text))
