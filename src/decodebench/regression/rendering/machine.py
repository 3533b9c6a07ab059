"""A check as JSON, for programs."""

import json
from dataclasses import asdict

from decodebench.regression.findings import Check
from decodebench.regression.rendering.words import verdict

CHECK_VERSION = 1
"""Version of these keys (docs/regression.md)."""


def check_json(check: Check) -> str:
    """The fields of `Check` and of each `Finding`, with what they come to. None is null; there is no NaN."""
    content = {
        "decodebench_check": CHECK_VERSION,
        "verdict": verdict(check),
        "exit_code": check.exit_code,
        **{key: value for key, value in asdict(check).items() if key != "findings"},
        "findings": [{**asdict(finding), "fails": finding.fails} for finding in check.findings],
    }
    return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
