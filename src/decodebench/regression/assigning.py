"""Which rule judges what: rules matched with the arms and metrics of a baseline. A rule that would judge nothing is an
error, since nobody would notice."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from decodebench.errors import allowed_names
from decodebench.metrics import TIMING_METRICS, AnyMetric, Metric, SetMetric, TimingMetric, read_name
from decodebench.regression.baseline import Baseline, BaselineArm
from decodebench.regression.matching import Pair
from decodebench.regression.rules import FAILED_CELLS, Rule

_TIMED = tuple(metric.name for metric in TIMING_METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A rule that judges an arm; `metric` is its full name in the run's unit, empty for exact rules."""

    rule: Rule
    pair: Pair
    metric: str


def metric_named(name: str) -> AnyMetric | None:
    """The metric of texts that has this name, or that was measured in it (rep_4_first32_words: rep_4); else None."""
    read = read_name(name)
    return None if read.is_distance or isinstance(read.row, TimingMetric) else read.row


def assign(rules: Sequence[Rule], pairs: Sequence[Pair], baseline: Baseline, run: Baseline) -> list[Task]:
    """What is to be judged, in the order of the arms; of several rules for the same the last one holds.

    Raises ConfigError for a rule that names what is not there, or judges nothing and is not `optional`.
    """
    found: dict[tuple[object, ...], Task] = {}
    matched = set()
    for rule in rules:
        for task in _of_rule(rule, pairs, baseline, run):
            matched.add(rule.number)
            found[rule.kind, task.pair.key, task.metric, rule.relative_to] = task
    judging = {task.rule.number for task in found.values()}
    for rule in rules:
        if rule.number not in judging and not rule.optional:
            raise rule.error(
                "has no effect, later rules judge the same; allowed is one for each strategy and metric"
                if rule.number in matched
                else _nothing(rule, pairs)
            )
    place = {pair.key: at for at, pair in enumerate(pairs)}
    return sorted(found.values(), key=lambda task: place[task.pair.key])


def _nothing(rule: Rule, pairs: Sequence[Pair]) -> str:
    what = "no strategy of the baseline is a search that draws nothing" if rule.kind == "exact" else "matches nothing"
    if rule.relative_to is not None:
        what = f"matches nothing but {rule.relative_to} itself"
    return f"{what}: it would check nothing (optional: true allows that)" if pairs else "the baseline has no strategies"


def _of_rule(rule: Rule, pairs: Sequence[Pair], baseline: Baseline, run: Baseline) -> Iterator[Task]:
    chosen = [pair for pair in pairs if _matches(pair.key[2], rule.strategies) and _matches(pair.key[1], rule.prompts)]
    if not rule.optional:
        _check_globs(rule, "strategies", rule.strategies, [pair.key[2] for pair in pairs])
        _check_globs(rule, "prompts", rule.prompts, [pair.key[1] for pair in pairs])
    if rule.kind == "exact":
        yield from (Task(rule=rule, pair=pair, metric="") for pair in chosen if pair.baseline.is_search)
        return
    metric = rule.metric or ""
    if metric == FAILED_CELLS and rule.kind == "bound":
        yield from (Task(rule=rule, pair=pair, metric=metric) for pair in chosen)
        return
    if rule.relative_to is not None:
        _check_relative(rule, pairs)
        chosen = [pair for pair in chosen if pair.key[2] != rule.relative_to]
    if rule.kind == "bound":  # what has failed has no value, and the rule is none the worse for it
        yield from (Task(rule=rule, pair=pair, metric=metric) for pair in chosen if pair.run is None)
    # A bound is about the run alone: it may be of what only the run has, its times.
    metrics_of: Callable[[Pair], BaselineArm | None] = _run_side if rule.kind == "bound" else _baseline_side
    side = run if rule.kind == "bound" else baseline
    there = [(pair, arm, full_name(metric, arm, side)) for pair in chosen if (arm := metrics_of(pair)) is not None]
    known = [(pair, arm, name) for pair, arm, name in there if name in arm.metrics]
    if there and not known and not rule.optional:
        raise rule.error(_unknown(metric, {name for _, arm, _ in there for name in arm.metrics}, rule))
    if rule.kind == "statistical":
        _check_statistical(rule, [(arm, name) for _, arm, name in known])
    yield from (Task(rule=rule, pair=pair, metric=name) for pair, _, name in known)


def _run_side(pair: Pair) -> BaselineArm | None:
    return pair.run


def _baseline_side(pair: Pair) -> BaselineArm:
    return pair.baseline


def _matches(label: str, globs: Iterable[str]) -> bool:
    """A glob is for the whole label or for its first word; a label may have brackets, which globs take otherwise."""
    first = label.split(" ", 1)[0]
    return any(glob in (label, first) or fnmatchcase(label, glob) or fnmatchcase(first, glob) for glob in globs)


def _check_globs(rule: Rule, key: str, globs: Sequence[str], labels: Sequence[str]) -> None:
    for glob in globs:
        if not any(_matches(label, (glob,)) for label in labels):
            what = f"{key}={glob}: the baseline has none such; {allowed_names(glob, set(labels))}"
            raise rule.error(what)


def _check_relative(rule: Rule, pairs: Sequence[Pair]) -> None:
    labels = {pair.key[2] for pair in pairs}
    if rule.relative_to not in labels and not rule.optional:
        raise rule.error(f"relative_to={rule.relative_to}: {allowed_names(str(rule.relative_to), labels)}")


def full_name(metric: str, arm: BaselineArm, side: Baseline) -> str:
    """The name as it is, or in the unit of the run, counted as it counts."""
    config = side.made.get("metrics", {})
    unit, compat = config.get("unit"), config.get("compat")
    in_unit = f"_{unit}" if unit not in (None, "tokens") else ""
    names = [metric, f"{metric}_{compat}", f"{metric}{in_unit}", f"{metric}_{compat}{in_unit}"]
    return next((name for name in names if name in arm.metrics), metric)


def _unknown(metric: str, known: Iterable[str], rule: Rule) -> str:
    names = sorted(known)
    if rule.kind == "statistical" and (metric in _TIMED or isinstance(metric_named(metric), SetMetric)):
        return f"has no numbers by prompt to be tested; allowed are: {', '.join(_near(metric, names))}"
    side = "run" if rule.kind == "bound" else "baseline"
    near = ", ".join(_near(metric, names))
    return f"the {side} does not have this metric; allowed are its {len(names)}, such as {near}"


def _near(wrong: str, names: Sequence[str]) -> Sequence[str]:
    return get_close_matches(wrong, names, n=3, cutoff=0.5) or names[:3]


def _check_statistical(rule: Rule, known: Sequence[tuple[BaselineArm, str]]) -> None:
    """Raise ConfigError for a direction against the metric's own, one that is missing, and noise that is not known."""
    for arm, name in known:
        if not isinstance(metric_named(name), Metric):
            raise rule.error("is no mean over prompts, there is nothing to test; allowed is kind: bound")
        own = arm.metrics[name].direction
        allowed = ("higher", "lower", "both") if own == "none" else (own, "both")
        if rule.direction is None and own == "none":
            raise rule.error(f"needs a direction, the metric has none of its own; {allowed_names('', allowed)}")
        if rule.direction is not None and rule.direction not in allowed:
            raise rule.error(f"direction={rule.direction}: {own} is better here; {allowed_names('', allowed)}")
    margin = rule.margin
    if margin is not None and margin.absolute is None and margin.relative is None:
        for arm, name in known:
            if arm.metrics[name].noise is None and not arm.is_search and not rule.optional:
                raise rule.error(
                    f"margin.noise: the baseline has no seed noise of {arm.strategy} (`baseline RUN --seeds 5` "
                    "measures it); allowed beside it: absolute, relative"
                )
