"""Which prompts moved most in a metric of an arm, with their texts: what to look at when a check fails."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decodebench.errors import ConfigError, allowed_names
from decodebench.regression.assigning import full_name
from decodebench.regression.baseline import Baseline, BaselineText
from decodebench.regression.matching import Pair, match
from decodebench.regression.rules import Rule
from decodebench.regression.statistical import finish_of, preference, shared_rows

TOKENS = "tokens"
"""What can be explained beside metrics: where the texts of what draws nothing part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A prompt: its value on both sides (None for tokens), how much worse it got, and the texts of one seed."""

    prompt_id: str
    baseline: float | None
    value: float | None
    worsening: float
    texts: tuple[BaselineText, ...]
    run_texts: tuple[BaselineText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The prompts of an arm in the order of their worsening, those that did not get worse left out; `prompts` is how
    many there are. `both`: any change counts."""

    strategy: str
    metric: str
    both: bool
    moved: tuple[Moved, ...]
    prompts: int


def explain(baseline: Baseline, run: Baseline, rules: Sequence[Rule], strategy: str, metric: str) -> Explanation:
    """The prompts that moved most. `strategy` is the label of an arm (`model / prompts / strategy` where there are
    several), or its first word where that is clear; `metric` one of its metrics, or `tokens`.

    Raises ConfigError for names that are not there.
    """
    pair = _pair(match(baseline, run).pairs, strategy)
    if metric == TOKENS:
        moved, both = _by_tokens(pair), True
    else:
        name = full_name(metric, pair.baseline, baseline)
        known = [m for m, kept in pair.baseline.metrics.items() if kept.rows and m in _metrics(pair)]
        if name not in known:
            raise ConfigError(f"--explain {strategy} {metric}: {allowed_names(metric, [*known, TOKENS])}")
        rule = next((r for r in reversed(rules) if r.kind == "statistical" and r.metric in (metric, name)), None)
        which = preference(rule, pair.baseline.metrics[name])
        moved, metric, both = _by_metric(pair, name, which), name, which == "both"
    prompts = len(next(iter(pair.baseline.texts.values())))
    worst = sorted((each for each in moved if each.worsening > 0), key=lambda each: -each.worsening)
    return Explanation(strategy=pair.name, metric=metric, both=both, moved=tuple(worst), prompts=prompts)


def _metrics(pair: Pair) -> Sequence[str]:
    return () if pair.run is None else list(pair.run.metrics)


def _pair(pairs: Sequence[Pair], strategy: str) -> Pair:
    known = {pair.name: pair for pair in pairs if pair.run is not None}
    found = [pair for name, pair in known.items() if strategy in (name, pair.key[2])]
    found = found or [pair for pair in known.values() if pair.key[2].split(" ", 1)[0] == strategy]
    if len(found) != 1:
        what = "several strategies have this name; " if found else ""
        names = [pair.name if found else pair.key[2] for pair in found or known.values()]
        raise ConfigError(f"--explain {strategy}: {what}{allowed_names(strategy, names)}")
    return found[0]


def _moved(pair: Pair, prompt_id: str, a: float | None, b: float | None, worsening: float) -> Moved:
    if pair.run is None:
        raise ValueError("only arms that have texts are explained")
    before, now = pair.seeds[0]
    return Moved(
        prompt_id=prompt_id,
        baseline=a,
        value=b,
        worsening=worsening,
        texts=pair.baseline.texts[before].get(prompt_id, ()),
        run_texts=pair.run.texts[now].get(prompt_id, ()),
    )


def _by_metric(pair: Pair, name: str, which: str) -> list[Moved]:
    """By the value that each prompt has alone; prompts that have none alone (a ratio of nothing) are left out."""
    if pair.run is None:
        return []
    finish = finish_of(name)
    shared, *sides = shared_rows(pair, name)
    if not shared:
        return []
    with np.errstate(all="ignore"):
        before_P, now_P = (np.broadcast_to(finish(*rows_PK.T), len(shared)) for rows_PK in sides)
    change_P = now_P - before_P
    worse_P = np.abs(change_P) if which == "both" else -change_P if which == "higher" else change_P
    return [
        _moved(pair, prompt_id, float(before_P[p]), float(now_P[p]), float(worse_P[p]))
        for p, prompt_id in enumerate(shared)
        if np.isfinite(worse_P[p])
    ]


def _by_tokens(pair: Pair) -> list[Moved]:
    """By how many tokens of the best text come after the place where both part."""
    if pair.run is None:
        return []
    before, now = pair.seeds[0]
    found = []
    for prompt_id, texts in pair.baseline.texts[before].items():
        a, b = texts[0].token_ids, pair.run.texts[now][prompt_id][0].token_ids
        shared = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        found.append(_moved(pair, prompt_id, None, None, float(max(len(a), len(b)) - shared)))
    return found
