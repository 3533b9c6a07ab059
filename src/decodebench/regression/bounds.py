"""What a run must keep to whatever the baseline has: limits of a metric, of failed cells, of the time beside another
strategy's."""

import math
from collections.abc import Mapping

from decodebench.errors import StoreError
from decodebench.regression.assigning import Task
from decodebench.regression.baseline import BaselineArm
from decodebench.regression.findings import Finding, Outcome
from decodebench.regression.matching import Key, Pair
from decodebench.regression.rules import FAILED_CELLS


def bound_finding(task: Task, pairs: Mapping[Key, Pair]) -> Finding:
    """The finding of a bound; `pairs` are all arms, for a value that is held against another strategy's."""
    rule, pair = task.rule, task.pair
    before, now, reason = _values(task, pairs)
    beyond = _beyond(task, now)
    outcome: Outcome = "cannot tell" if now is None else "regression" if beyond else "pass"
    failed = f" ({'; '.join(dict.fromkeys(pair.errors))})" if task.metric == FAILED_CELLS and pair.errors else ""
    what = task.metric if rule.relative_to is None else f"{task.metric} / {rule.relative_to}"
    return Finding(
        kind="bound",
        **pair.labels,
        metric=what,
        outcome=outcome,
        severity=rule.cannot_tell if now is None else rule.severity,
        message=(reason or "no value") if now is None else f"{now:.4g} {beyond or f'is {_allowed(task)}'}{failed}",
        unit=_unit(task),
        baseline=before,
        value=now,
        margin=rule.at_least if rule.at_most is None else rule.at_most,
        details=pair.errors if failed else (),
    )


def _values(task: Task, pairs: Mapping[Key, Pair]) -> tuple[float | None, float | None, str | None]:
    """The value of the baseline (as far as it has one) and of the run, and why the run has none."""
    if task.metric == FAILED_CELLS:
        return 0.0, float(len(task.pair.errors)), None
    before, _ = _value(task.pair.baseline, task.metric)
    now, reason = _value(task.pair.run, task.metric)
    if task.rule.relative_to is None:
        return before, now, reason
    model, prompts, _ = task.pair.key
    other = pairs.get((model, prompts, task.rule.relative_to))
    if other is None:
        return None, None, f"{task.rule.relative_to} has no texts for these prompts"
    whole, whole_reason = _value(other.run, task.metric)
    ratio_before = _ratio(before, _value(other.baseline, task.metric)[0])
    return ratio_before, _ratio(now, whole), reason or whole_reason or f"{task.rule.relative_to} has 0"


def _value(arm: BaselineArm | None, name: str) -> tuple[float | None, str | None]:
    metric = None if arm is None else arm.metrics.get(name)
    if arm is None or metric is None:
        return None, "not measured"
    if metric.value is not None and not math.isfinite(metric.value):
        raise StoreError(f"{arm.strategy}: {name} is not finite; allowed are numbers")
    return metric.value, metric.reason


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _unit(task: Task) -> str:
    if task.metric == FAILED_CELLS:
        return "cells"
    run = task.pair.run
    return "1" if task.rule.relative_to is not None or run is None else run.metrics[task.metric].unit


def _beyond(task: Task, value: float | None) -> str:
    """In words, which limit the value does not keep to; empty where it keeps to both."""
    at_most, at_least = task.rule.at_most, task.rule.at_least
    if value is not None and at_most is not None and value > at_most:
        return f"is above {at_most:g}"
    if value is not None and at_least is not None and value < at_least:
        return f"is below {at_least:g}"
    return ""


def _allowed(task: Task) -> str:
    limits = (("at least", task.rule.at_least), ("at most", task.rule.at_most))
    return " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
