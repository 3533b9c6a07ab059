"""What a check says: one finding for each thing that was held against the baseline, and what they come to."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["exact", "statistical", "bound", "cell"]
Outcome = Literal["pass", "regression", "cannot tell", "numerical tie", "new", "missing"]
"""`new`: a strategy that the baseline lacks, reported and not judged. `missing`: one that the run lacks because its
cells failed, which a rule allows."""
Severity = Literal["fail", "warn"]

PASSED, REGRESSION, INCOMPARABLE = 0, 1, 2
"""Exit codes; 3 is bad input (errors.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked. `strategy` and `prompts` are labels, `model` too where there are several (else
    empty); `metric` is None where no metric was looked at.

    `worsening` is how much worse the run is, in the metric's unit (below 0: better); `low` is its lower bound,
    corrected for all tests of the check, `high` its upper bound alone (95% each). `margin` is what the rule allows,
    `detectable` the smallest worsening that would be found four times out of five. `severity` is what a bad outcome
    comes to. `message` is one line, `details` are more of them (the texts that moved).
    """

    kind: Kind
    prompts: str
    strategy: str
    metric: str | None
    outcome: Outcome
    severity: Severity
    message: str
    model: str = ""
    unit: str = "1"
    baseline: float | None = None
    value: float | None = None
    worsening: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    detectable: float | None = None
    n: int = 0
    details: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether this finding alone fails the check."""
        return self.severity == "fail" and self.outcome in ("regression", "cannot tell")

    @property
    def name(self) -> str:
        """What was looked at, in a word: the metric, or the tokens."""
        return self.metric or ("tokens" if self.kind == "exact" else "cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A run held against a baseline. `prompts` say which prompts were fed as other tokens, a line each: where there are
    some, what follows is not of decoding alone. `changes` say what else differs (model, dtype, versions, numbers of a
    strategy), a line each; `incomparable` why nothing can be said, a line each (then there are no findings)."""

    run: str
    baseline: str
    changes: tuple[str, ...]
    incomparable: tuple[str, ...]
    findings: tuple[Finding, ...]
    prompts: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: no regression, 1: regression, 2: cannot be compared."""
        if self.incomparable:
            return INCOMPARABLE
        return REGRESSION if any(finding.fails for finding in self.findings) else PASSED
