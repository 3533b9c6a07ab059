"""Baselines made by hand, for the tests of checks: no run, no model."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from decodebench.regression import Baseline, BaselineArm, BaselineMetric, BaselineText, Check, Finding, judge
from decodebench.regression.rules import Rule, parse_rules

PROMPTS = tuple(f"p{n:02d}" for n in range(20))
MADE: Mapping[str, Any] = {
    "run": "then",
    "versions": {"transformers": "5.17"},
    "models": {"tiny": {"fingerprint": "aa", "dtype": "float32"}},
    "metrics": {"unit": "tokens", "compat": None, "leading": 32},
}
UNITS = {"surprisal": "nats", "length": "tokens"}
DIRECTIONS = {"diversity": "higher", "loop_share": "lower", "rep_4": "lower", "distinct_2": "higher"}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def text(*token_ids: int, words: str = "", **changes: Any) -> BaselineText:
    """A text of these tokens; without words the tokens are its words."""
    words = words or " ".join(map(str, token_ids))
    known: dict[str, Any] = {"sample": 0, "token_ids": token_ids, "text": words, "sha256": sha256(words)}
    return BaselineText(**known | {"finish_reason": "length"} | changes)


def metric(name: str, values: Mapping[str, Any], **changes: Any) -> BaselineMetric:
    """A metric that is the mean of one number for each prompt, or whose rows are given with its value in `changes`."""
    rows = {id_: tuple(row) if isinstance(row, Sequence) else (float(row),) for id_, row in values.items()}
    mean = fmean(row[0] for row in rows.values()) if rows else None
    known: dict[str, Any] = {"version": "1", "unit": UNITS.get(name, "1"), "direction": DIRECTIONS.get(name, "none")}
    known |= {"value": mean, "reason": None if rows else "no text has a token", "rows": rows}
    return BaselineMetric(**known | changes)


def arm(
    strategy: str = "sample",
    *,
    metrics: Mapping[str, BaselineMetric] | None = None,
    prompt_ids: Sequence[str] = PROMPTS,
    seeds: Sequence[int] = (0,),
    first: int = 5,
    **changes: Any,
) -> BaselineArm:
    """An arm with one text of three tokens for each prompt, which begins with `first`."""
    texts = {seed: {id_: (text(first, 6, n),) for n, id_ in enumerate(prompt_ids)} for seed in seeds}
    known: dict[str, Any] = {"model": "tiny", "prompts": "some", "strategy": strategy, "is_search": False}
    known |= {"config": {"strategy": {"name": strategy, "temperature": 1.0}}, "texts": texts}
    return BaselineArm(**known | {"metrics": dict(metrics or {})} | changes)


def baseline(*arms: BaselineArm, **made: Any) -> Baseline:
    """A baseline of these arms; its prompts are those of their texts."""
    prompts: dict[str, dict[str, str]] = {}
    for each in arms:
        for of in each.texts.values():
            prompts.setdefault(each.prompts, {}).update({id_: sha256(id_) for id_ in of})
    return Baseline(made={**MADE, **made}, prompts=prompts, arms=arms)


def of_values(name: str, before: Sequence[float], now: Sequence[float], **changes: Any) -> tuple[Baseline, Baseline]:
    """Both sides of one sampler with one metric; the texts differ. `changes` are those of the baseline's metric."""
    ids = [f"p{n:03d}" for n in range(len(before))]
    sides = []
    for first, values, changed in ((5, before, changes), (7, now, {})):
        found = metric(name, dict(zip(ids, values, strict=True)), **changed)
        sides.append(baseline(arm(metrics={name: found}, prompt_ids=ids, first=first)))
    return sides[0], sides[1]


def rules(*nodes: Mapping[str, Any]) -> tuple[Rule, ...]:
    return parse_rules([dict(node) for node in nodes])


def statistical(name: str, margin: Any, **changes: Any) -> dict[str, Any]:
    return {"kind": "statistical", "metric": name, "margin": margin, **changes}


def judged(sides: tuple[Baseline, Baseline], *nodes: Mapping[str, Any]) -> Check:
    return judge(*sides, rules(*nodes))


def only(check: Check) -> Finding:
    """The one finding of a check."""
    assert check.incomparable == ()
    (found,) = check.findings
    return found


def with_arm(side: Baseline, **changes: Any) -> Baseline:
    """The same with its only arm changed."""
    (one,) = side.arms
    return replace(side, arms=(replace(one, **changes),))
