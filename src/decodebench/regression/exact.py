"""What must come again token for token: greedy, and searches that draw nothing.

Where texts differ, how close the decision was tells noise of the arithmetic from a change: greedy's margin at the first
differing token on both sides, the difference of a search's final scores.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from decodebench.errors import StoreError
from decodebench.regression.baseline import Baseline, BaselineText
from decodebench.regression.findings import Finding, Outcome
from decodebench.regression.matching import Pair, model_facts
from decodebench.regression.rules import Rule

DTYPE_NOISE: Mapping[str, float] = {"float64": 1e-6, "float32": 1e-3, "float16": 0.05, "bfloat16": 0.5}
"""How much logits of this dtype can differ by the order of their sums alone: some hundred roundings of logits of size
10 to 30. Of a dtype that is not here nothing is known, and nothing is a tie."""

SHOWN = 3
"""How many of the texts that differ a finding shows."""
BEFORE, AFTER = 24, 48
"""Characters of a text that are shown around the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Two texts of one prompt that part at token `place` (from 0). `gap` is how close the decision was, None where that
    is not known; `tie`: within the noise."""

    prompt_id: str
    baseline: BaselineText
    run: BaselineText
    place: int
    gap: float | None
    gap_of: str
    tie: bool


def compare_texts(pair: Pair, noise: float) -> list[Divergence]:
    """The best text of each prompt against the baseline's: those that differ, in the order of the prompts; with several
    seeds a prompt counts once. Other ranks than the best are not looked at, since ties among them are common."""
    found: dict[str, Divergence] = {}
    if pair.run is None:
        return []
    for a, b in pair.seeds:
        for prompt_id, texts in pair.baseline.texts[a].items():
            before, now = texts[0], pair.run.texts[b][prompt_id][0]
            if prompt_id not in found and before.token_ids != now.token_ids:
                found[prompt_id] = _divergence(pair, prompt_id, before, now, noise)
    return list(found.values())


def noise_of(pair: Pair, baseline: Baseline, run: Baseline, rule: Rule) -> float:
    """What the rule calls a tie, else the noise of the coarser of both dtypes."""
    if rule.ties_within is not None:
        return rule.ties_within
    sides = ((baseline, pair.baseline), (run, pair.run))
    dtypes = [model_facts(side, arm.model).get("dtype", "") for side, arm in sides if arm is not None]
    return max(DTYPE_NOISE[dtype] for dtype in dtypes) if all(dtype in DTYPE_NOISE for dtype in dtypes) else 0.0


def _divergence(pair: Pair, prompt_id: str, before: BaselineText, now: BaselineText, noise: float) -> Divergence:
    place = _shared(before.token_ids, now.token_ids)
    if before.margins is not None or now.margins is not None:
        gap, of = _larger_margin(before, now, place), "margin"
    elif before.score is not None and now.score is not None:
        gap, of = abs(before.score - now.score), "difference of scores"
        noise *= _score_noise(pair, min(len(before.token_ids), len(now.token_ids)))
    else:
        gap, of = None, "margin"
    if gap is not None and math.isnan(gap):
        raise StoreError(f"{pair.name}: prompt {prompt_id!r}: its {of} is NaN; allowed are numbers")
    return Divergence(
        prompt_id=prompt_id,
        baseline=before,
        run=now,
        place=place,
        gap=gap,
        gap_of=of,
        tie=gap is not None and gap <= noise and prompt_id not in pair.fed_otherwise,
    )


def _score_noise(pair: Pair, tokens: int) -> float:
    """The noise of a search's score in units of a logit's: of a sum of so many log-probs, whose errors grow like the
    root of their number, divided by tokens**length_penalty as the sum is."""
    penalty = pair.baseline.config.get("strategy", {}).get("length_penalty", 1.0)
    return float(max(1, tokens) ** (0.5 - float(penalty)))


def _larger_margin(before: BaselineText, now: BaselineText, place: int) -> float | None:
    """A tie is one on both sides: a side that was sure of its token did not choose by noise.

    None where a side has no margin there: a text that the limit of length cut off has no token to be close about.
    """
    sides = [text.margins for text in (before, now)]
    if any(margins is None or place >= len(margins) for margins in sides):
        return None
    at = [margins[place] for margins in sides if margins is not None]
    return math.nan if any(map(math.isnan, at)) else max(at)


def exact_finding(pair: Pair, rule: Rule, noise: float) -> Finding:
    """The finding for an arm of which the run has texts."""
    prompts = len(next(iter(pair.baseline.texts.values())))
    differ = compare_texts(pair, noise)
    real = [each for each in differ if not each.tie]
    outcome: Outcome = "regression" if real else "numerical tie" if differ else "pass"
    return Finding(
        kind="exact",
        **pair.labels,
        metric=None,
        outcome=outcome,
        severity=rule.severity,
        message=_message(differ, real, prompts, noise) + _after_other_prompts(pair, real),
        unit="texts",
        value=float(len(differ)),
        n=prompts,
        details=tuple(line for each in (real or differ)[:SHOWN] for line in described(each)),
    )


def _message(differ: Sequence[Divergence], real: Sequence[Divergence], prompts: int, noise: float) -> str:
    if not differ:
        return f"the same tokens for {_count(prompts)}"
    ties = len(differ) - len(real)
    if not real:
        return f"{ties} of {_count(prompts)} differ, each by a numerical tie (within {noise:g})"
    known = [each.gap for each in real if each.gap is not None]
    close = f", the closest by {min(known):.3g} (a tie is within {noise:g})" if known else ""
    more = f"; {ties} more by a numerical tie" if ties else ""
    return f"other tokens for {len(real)} of {_count(prompts)}{close}{more}"


def _after_other_prompts(pair: Pair, real: Sequence[Divergence]) -> str:
    """How much of it is no matter of decoding."""
    count = sum(each.prompt_id in pair.fed_otherwise for each in real)
    return f"; the prompts' tokens differ for {count} of these" if count else ""


def _shared(a: Sequence[object], b: Sequence[object]) -> int:
    """How many items both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _count(prompts: int) -> str:
    return f"{prompts} prompt{'' if prompts == 1 else 's'}"


def described(each: Divergence) -> tuple[str, str, str]:
    """Three lines: where two texts part, and how either goes on from there."""
    gap = "not known how close" if each.gap is None else f"{each.gap_of} {each.gap:.3g}"
    before, now = around(each.baseline.text, each.run.text)
    a, b = (_token(text, each.place) for text in (each.baseline, each.run))
    return (
        f"prompt {each.prompt_id!r}, token {each.place}: {a} -> {b}, {gap}{', a tie' if each.tie else ''}",
        f"  baseline {before}",
        f"  run      {now}",
    )


def _token(text: BaselineText, place: int) -> str:
    if place < len(text.token_ids):
        return str(text.token_ids[place])
    return {"length": "cut by the limit", "eos": "ended", "stop": "ended by a stop string"}.get(
        text.finish_reason, "nothing"
    )


def around(a: str, b: str) -> tuple[str, str]:
    """Both texts around the first letter in which they differ, quoted, so that white space can be seen."""
    place = _shared(a, b)
    start = max(0, place - BEFORE)
    return _cut(a, start, place + AFTER), _cut(b, start, place + AFTER)


def _cut(text: str, start: int, stop: int) -> str:
    return f"{'…' if start else ''}{text[start:stop]!r}{'…' if len(text) > stop else ''}"
