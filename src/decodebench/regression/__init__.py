"""A run held against a baseline of an earlier one: what must not change, and what must not get worse."""

from decodebench.regression.baseline import Baseline, BaselineArm, BaselineMetric, BaselineText
from decodebench.regression.baseline_file import read_baseline, write_baseline
from decodebench.regression.checking import check
from decodebench.regression.findings import Check, Finding
from decodebench.regression.judging import judge
from decodebench.regression.making import make_baseline
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
    "judge",
    "make_baseline",
    "parse_rules",
    "read_baseline",
    "read_rules",
    "write_baseline",
]
