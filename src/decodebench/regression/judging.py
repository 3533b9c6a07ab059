"""A run and its baseline, both in the same shape, and rules -> what the check says. Nothing is read or written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from decodebench.errors import ConfigError, StoreError
from decodebench.regression.assigning import Task, assign, metric_named
from decodebench.regression.baseline import Baseline
from decodebench.regression.bounds import bound_finding
from decodebench.regression.exact import exact_finding, noise_of
from decodebench.regression.findings import Check, Finding, Outcome
from decodebench.regression.matching import FailedArm, Matched, Pair, changes, match, other_prompts
from decodebench.regression.rules import FAILED_CELLS, Rule
from decodebench.regression.statistical import statistical_findings
from decodebench.stats import joined
from decodebench.store import flat


def judge(baseline: Baseline, run: Baseline, rules: Sequence[Rule], failed: Sequence[FailedArm] = ()) -> Check:
    """Hold a run against its baseline. `failed` are cells of the run that could not be decoded.

    Raises ConfigError for rules that do not fit the baseline, StoreError for numbers that are not finite.
    """
    matched = match(baseline, run, failed)
    if not matched.pairs and not matched.incomparable:
        raise StoreError("the baseline has no strategies: nothing would be checked")
    tasks = assign(rules, matched.pairs, baseline, run) if matched.pairs else []
    if matched.pairs and not tasks:
        raise ConfigError("no rule matches anything: nothing would be checked")
    incomparable = (*matched.incomparable, *_metrics(tasks, baseline, run), *_failures(matched.pairs, tasks))
    return Check(
        run=str(run.made.get("run") or "run"),
        baseline=str(baseline.made.get("run") or "baseline"),
        changes=changes(baseline, run, matched.pairs),
        incomparable=tuple(dict.fromkeys(incomparable)),
        findings=() if incomparable else tuple(_findings(tasks, matched, baseline, run)),
        prompts=other_prompts(matched.pairs),
    )


def _findings(tasks: Sequence[Task], matched: Matched, baseline: Baseline, run: Baseline) -> Iterator[Finding]:
    """By arm in the order of the baseline: its texts, its metrics, its bounds; then what is new."""
    exact = {
        task.pair.key: exact_finding(task.pair, task.rule, noise_of(task.pair, baseline, run, task.rule))
        for task in tasks
        if task.rule.kind == "exact" and task.pair.run is not None
    }
    tested = [task for task in tasks if task.rule.kind == "statistical" and task.pair.run is not None]
    # The same text under two ids is one prompt twice; a baseline from before there were clusters names none.
    clusters = {
        name: joined(texts, *(side.clusters.get(name, {}) for side in (baseline, run)))
        for name, texts in baseline.prompts.items()
    }
    statistical = statistical_findings(tested, frozenset(exact), clusters)
    arms = {pair.key: pair for pair in matched.pairs}
    for pair in matched.pairs:
        if pair.key in exact:
            yield exact[pair.key]
        yield from (found for task, found in zip(tested, statistical, strict=True) if task.pair is pair)
        for task in tasks:
            if task.pair is pair and task.rule.kind == "bound" and (pair.run or task.metric == FAILED_CELLS):
                yield bound_finding(task, arms)
        if pair.run is None:
            yield _cell(pair.labels, "missing", "all of its cells failed: nothing else of it is judged")
    for model, prompts, strategy in matched.new:
        labels = {"model": model, "prompts": prompts, "strategy": strategy}
        yield _cell(labels, "new", "the baseline does not have it: not judged")


def _cell(labels: Mapping[str, Any], outcome: Outcome, message: str) -> Finding:
    return Finding(kind="cell", **labels, metric=None, outcome=outcome, severity="warn", message=message)


def _metrics(tasks: Sequence[Task], baseline: Baseline, run: Baseline) -> Iterator[str]:
    """Metrics that both sides count otherwise, of those that are tested."""
    scorers = [side.made.get("scorer") for side in (baseline, run)]
    for task in tasks:
        if task.rule.kind != "statistical" or task.pair.run is None:
            continue
        before, now = task.pair.baseline.metrics[task.metric], task.pair.run.metrics.get(task.metric)
        if now is None:
            units = [side.made.get("metrics", {}).get("unit") for side in (baseline, run)]
            other = f" (the run counts {units[1]}, the baseline {units[0]})" if units[0] != units[1] else ""
            yield f"{task.metric}: was not measured in the run{other}"
        elif (before.version, before.unit, before.direction) != (now.version, now.unit, now.direction):
            told = [f"version {m.version}, unit {m.unit}, direction {m.direction}" for m in (before, now)]
            yield f"{task.metric}: is defined otherwise in the run ({told[0]} -> {told[1]})"
        elif _reads(task.metric) and before.value is not None and now.value is not None and _differ(*scorers):
            told = [_scorer(scorer) for scorer in scorers]
            yield f"{task.metric}: the texts were read by another scorer ({told[0]} -> {told[1]})"


def _reads(metric: str) -> bool:
    known = metric_named(metric)
    return known is not None and "reading" in known.needs


def _differ(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Whether two scorers are others, by what both sides say: keys of a config come and go with transformers."""
    a, b = flat(before), flat(now)
    return bool(a) != bool(b) or any(a[key] != b[key] for key in a.keys() & b.keys())


def _scorer(entry: Mapping[str, Any] | None) -> str:
    told = {key: (entry or {}).get(key) for key in ("id", "fingerprint", "dtype", "tokenizer")}
    return " ".join(str(value) for value in told.values() if value) or "none"


def _failures(pairs: Sequence[Pair], tasks: Sequence[Task]) -> Iterator[str]:
    """Cells that failed where no rule says how many may."""
    bounded = {task.pair.key for task in tasks if task.metric == FAILED_CELLS}
    for pair in pairs:
        if pair.errors and pair.key not in bounded:
            yield f"{pair.name}: failed ({pair.errors[0]}), and no rule bounds {FAILED_CELLS}"
