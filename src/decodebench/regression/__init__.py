"""A run held against a baseline of an earlier one: what must not change, and what must not get worse.

In: a run folder and a baseline. Out: a `Check` of `findings`. `making` makes a `baseline`; `baseline_lines` and
`baseline_file` write it, `baseline_reader` checks what is read; `rules` say what is checked, `matching` and `assigning`
what belongs together; `exact`, `statistical` and `bounds` judge (`judging`, `checking`); `explaining` shows what
changed; `rendering/` every output.
"""

from decodebench.regression.baseline import Baseline, BaselineArm, BaselineMetric, BaselineText
from decodebench.regression.baseline_file import read_baseline, refuse_other_file, write_baseline
from decodebench.regression.checking import check, check_sides, read_sides, refuse_rules
from decodebench.regression.explaining import explain
from decodebench.regression.findings import Check, Finding
from decodebench.regression.judging import judge
from decodebench.regression.making import make_baseline, run_key, with_noise
from decodebench.regression.rendering import (
    check_json,
    check_markdown,
    check_text,
    explanation_text,
    github_annotations,
    junit_xml,
)
from decodebench.regression.rules import Rule, parse_rules, read_rules

__all__ = [
    "Baseline",
    "BaselineArm",
    "BaselineMetric",
    "BaselineText",
    "Check",
    "Finding",
    "Rule",
    "check",
    "check_json",
    "check_markdown",
    "check_sides",
    "check_text",
    "explain",
    "explanation_text",
    "github_annotations",
    "judge",
    "junit_xml",
    "make_baseline",
    "parse_rules",
    "read_baseline",
    "read_rules",
    "read_sides",
    "refuse_other_file",
    "refuse_rules",
    "run_key",
    "with_noise",
    "write_baseline",
]
