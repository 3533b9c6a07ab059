"""What may change within a margin: metrics, paired by prompt, all tests of a check corrected together.

A worsening is a regression where its lower bound, corrected by Holm for all tests of the check, is above 0, and it
reaches the margin; it passes where its upper bound is below the margin; else there is too little evidence. Texts and
values that are the same for every prompt are not tested.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decodebench.errors import StoreError
from decodebench.metrics import Metric
from decodebench.regression.assigning import Task, metric_named
from decodebench.regression.baseline import BaselineArm, BaselineMetric
from decodebench.regression.findings import Finding, Outcome, Severity
from decodebench.regression.matching import Key, Pair
from decodebench.regression.rules import Preference, Rule
from decodebench.stats import (
    ALPHA,
    POWER,
    Array,
    Estimate,
    Finish,
    bound,
    fewest_changes,
    holm,
    paired,
    sign_floor,
    step_levels,
    t_p_values,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A task that there is something to test of: the change of the run, over the prompts that both have."""

    task: Task
    preference: Preference
    margin: float
    estimate: Estimate
    baseline: float
    value: float

    @property
    def worsening(self) -> float:
        """How much worse the run is."""
        change = self.estimate.value or 0.0
        return abs(change) if self.preference == "both" else (0.0 - change if self.preference == "higher" else change)


def statistical_findings(
    tasks: Sequence[Task], judged_exactly: frozenset[Key], clusters: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """One finding for each task; `clusters` has the cluster of each prompt, by prompt set. Arms whose tokens an exact
    rule has judged already are only told of (`warn`)."""
    first = [_look(task, clusters.get(task.pair.key[1], {})) for task in tasks]
    tested = iter(_family([each for each in first if isinstance(each, Tested)]))
    findings = [next(tested) if isinstance(each, Tested) else each for each in first]
    return [
        replace(found, severity="warn") if task.pair.key in judged_exactly else found
        for task, found in zip(tasks, findings, strict=True)
    ]


def preference(rule: Rule | None, metric: BaselineMetric) -> Preference:
    """What is better: what the rule says, else what the metric itself says; both where neither does."""
    if rule is not None and rule.direction is not None:
        return rule.direction
    return "higher" if metric.direction == "higher" else "lower" if metric.direction == "lower" else "both"


def finish_of(name: str) -> Finish:
    """What makes a metric's value of the means over prompts."""
    metric = metric_named(name)
    if not isinstance(metric, Metric):
        raise StoreError(f"{name}: is no metric that this decodebench has by prompt")
    return metric.finish


def shared_rows(pair: Pair, name: str) -> tuple[Sequence[str], Array, Array]:
    """The prompts that have numbers of a metric on both sides, and these numbers of the baseline and of the run, P by
    K each. Raises StoreError for NaN or infinity, which no metric gives, and where prompts or sides differ in how many
    numbers they have."""
    if pair.run is None:
        raise ValueError("an arm without texts has no rows")
    before, now = pair.baseline.metrics[name].rows, pair.run.metrics[name].rows
    shared = [prompt_id for prompt_id in before if prompt_id in now]
    a_PK, b_PK = (_rows(arm, name, shared) for arm in (pair.baseline, pair.run))
    if a_PK.shape != b_PK.shape:
        told = f"{a_PK.shape[1]} numbers of a prompt, the run has {b_PK.shape[1]}"
        raise StoreError(f"{pair.name}: {name}: the baseline has {told}; make the baseline again")
    return shared, a_PK, b_PK


def _rows(arm: BaselineArm, name: str, prompt_ids: Sequence[str]) -> Array:
    found = [arm.metrics[name].rows[prompt_id] for prompt_id in prompt_ids]
    if len({len(row) for row in found}) > 1:
        raise StoreError(f"{arm.strategy}: {name} has rows of unequal length; allowed is one length")
    rows_PK = np.array(found, dtype=np.float64)
    if not np.isfinite(rows_PK).all():
        prompt_id = prompt_ids[int((~np.isfinite(rows_PK)).any(axis=1).argmax())]
        raise StoreError(f"{arm.strategy}: {name} of prompt {prompt_id!r} is not finite; allowed are numbers")
    return rows_PK


def _look(task: Task, clusters: Mapping[str, str]) -> Finding | Tested:
    """What can be said without a test, else what is to be tested."""
    pair, name, rule = task.pair, task.metric, task.rule
    if pair.run is None:
        raise ValueError("an arm without texts is not tested")
    before, now = pair.baseline.metrics[name], pair.run.metrics[name]
    which = preference(rule, before)
    if before.value is None or now.value is None:
        return _without_value(task, before, now)
    if pair.identical and not _is_judged(name):
        return _finding(task, "pass", "the same tokens for every prompt", baseline=before.value, value=now.value)
    shared, b_PK, a_PK = shared_rows(pair, name)
    if not shared:
        return _finding(task, "cannot tell", "no prompt has a value on both sides")
    finish = finish_of(name)
    values: dict[str, Any] = {"baseline": float(finish(*b_PK.mean(axis=0))), "value": float(finish(*a_PK.mean(axis=0)))}
    if before.rows.keys() == now.rows.keys() and np.array_equal(a_PK, b_PK):
        return _finding(task, "pass", "equal for every prompt", n=len(shared), **values)
    estimate = paired(a_PK, b_PK, finish, [clusters.get(prompt_id, prompt_id) for prompt_id in shared])
    if estimate.reason is not None:
        return _finding(task, "cannot tell", estimate.reason, n=len(shared), **values)
    margin = allowed_worsening(rule, before, draws=not pair.baseline.is_search)
    return Tested(task=task, preference=which, margin=margin, estimate=estimate, **values)


def _is_judged(name: str) -> bool:
    """Whether references and a judge stand behind it, which may have changed where the texts have not."""
    known = metric_named(name)
    return known is not None and "judged" in known.needs


def allowed_worsening(rule: Rule, baseline: BaselineMetric, *, draws: bool) -> float:
    """The margin in the metric's unit: the largest of what the rule gives and the baseline knows. What does not draw
    has no noise of seeds."""
    given, value, noise = rule.margin, baseline.value, baseline.noise if draws else 0.0
    if given is None or value is None:
        raise ValueError("a statistical rule has a margin, and its metric a value")
    if not all(math.isfinite(each) for each in (value, noise or 0.0)):
        raise StoreError(f"{rule.metric}: the baseline's value or noise is not finite; allowed are numbers")
    parts = [given.absolute, None if given.relative is None else given.relative * abs(value)]
    parts.append(None if given.noise is None or noise is None else given.noise * noise)
    return max((part for part in parts if part is not None), default=0.0)


def _without_value(task: Task, before: BaselineMetric, now: BaselineMetric) -> Finding:
    """A value that is missing on a side. One that every prompt had and none has any more cannot be chance."""
    known: dict[str, Any] = {"baseline": before.value, "value": now.value}
    if before.value is None and now.value is None:
        return _finding(task, "pass", f"neither side has a value: {now.reason}")
    if before.value is None:
        return _finding(task, "cannot tell", f"the baseline has no value: {before.reason}", **known)
    prompts = len(next(iter(task.pair.baseline.texts.values())))
    outcome: Outcome = "regression" if len(before.rows) == prompts else "cannot tell"
    return _finding(task, outcome, f"the run has no value any more: {now.reason}", **known)


def _finding(task: Task, outcome: Outcome, message: str, **numbers: Any) -> Finding:
    severity: Severity = task.rule.cannot_tell if outcome == "cannot tell" else task.rule.severity
    return Finding(
        kind="statistical",
        **task.pair.labels,
        metric=task.metric,
        outcome=outcome,
        severity=severity,
        message=message,
        unit=task.pair.baseline.metrics[task.metric].unit,
        **numbers,
    )


def _family(tests: Sequence[Tested]) -> list[Finding]:
    """All tests of a check: Holm over all of them keeps the chance of any false alarm at 5%."""
    if not tests:
        return []
    m = len(tests)
    two_sided_M = np.array([test.preference == "both" for test in tests])
    worse_M = np.array([test.worsening for test in tests])
    error_M = np.array([test.estimate.standard_error for test in tests], dtype=np.float64)
    df_M = np.array([test.estimate.df for test in tests])
    changed_M = np.array([test.estimate.changed for test in tests])
    margin_M = np.array([test.margin for test in tests])
    p_M = np.where(
        two_sided_M,
        np.maximum(t_p_values(worse_M, error_M, df_M), sign_floor(changed_M)),
        np.maximum(t_p_values(worse_M, error_M, df_M, tail="above"), sign_floor(changed_M, tail="above")),
    )
    claimed_M = holm(p_M) <= ALPHA
    level_M = step_levels(p_M) / np.where(two_sided_M, 2, 1)
    low_M = bound(worse_M, error_M, df_M, level_M)
    low_M = np.where(claimed_M, low_M, np.minimum(low_M, 0.0))  # what the sign test holds back is not claimed
    low_M = np.where(two_sided_M, np.maximum(low_M, 0.0), low_M)  # a change of either kind is never below 0
    high_M = bound(worse_M, error_M, df_M, 1 - ALPHA)
    first_M = bound(np.zeros(m), error_M, df_M, 1 - ALPHA / m / np.where(two_sided_M, 2, 1))
    detectable_M = np.maximum(margin_M, first_M) + bound(np.zeros(m), error_M, df_M, POWER)
    reached_M = (worse_M >= margin_M) | np.isclose(worse_M, margin_M, rtol=1e-9, atol=0)
    below_M = (high_M < margin_M) & ~np.isclose(high_M, margin_M, rtol=1e-9, atol=0)
    found = []
    for i, test in enumerate(tests):
        outcome: Outcome = "regression" if claimed_M[i] and reached_M[i] else "pass" if below_M[i] else "cannot tell"
        numbers: dict[str, Any] = {
            "baseline": test.baseline,
            "value": test.value,
            "worsening": float(worse_M[i]),
            "low": float(low_M[i]),
            "high": float(high_M[i]),
            "margin": test.margin,
            "detectable": None if error_M[i] == 0 else float(detectable_M[i]),
            "n": test.estimate.n,
        }
        fewest = fewest_changes(m, ALPHA if two_sided_M[i] else 2 * ALPHA)
        message = _message(test, outcome, bool(claimed_M[i]), fewest, numbers)
        found.append(_finding(test.task, outcome, message, **numbers))
    return found


def _message(test: Tested, outcome: Outcome, claimed: bool, fewest: int, numbers: Mapping[str, Any]) -> str:
    word = "changed" if test.preference == "both" else "worse"
    by, low, high, margin = (f"{numbers[key]:.3g}" for key in ("worsening", "low", "high", "margin"))
    if outcome == "pass":
        return f"{word} by at most {high}, which is below the margin {margin}"
    if outcome == "regression":
        return f"{word} by {by}, at least {low} in spite of all tests; the margin is {margin}"
    changed = test.estimate.changed
    if claimed:
        return f"{word} by {by}, surely more than 0, but perhaps less than the margin {margin} and perhaps more"
    if changed is not None and changed < fewest:
        return f"{word} by {by}, at most {high}; {changed} prompts differ, fewer than {fewest} cannot show a regression"
    return f"{word} by {by}, at most {high}: more prompts would tell whether that reaches the margin {margin}"
