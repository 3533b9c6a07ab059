"""What must come again token for token: where texts part, how close that was, ties by dtype, seeds and ranks."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from decodebench.errors import StoreError
from decodebench.regression import Baseline, BaselineText, Finding, judge
from decodebench.regression.exact import around
from regression_data import arm, baseline, metric, only, rules, statistical, text

EXACT = {"kind": "exact"}


def side(*texts: BaselineText, dtype: str = "float32", config: Any = None, **changes: Any) -> Baseline:
    """A search with one text for each of the prompts a, b, c..."""
    of = {chr(ord("a") + n): (one,) for n, one in enumerate(texts)}
    made = arm("greedy", is_search=True, texts={0: of}, config=config or {"strategy": {"name": "greedy"}})
    return baseline(made, models={"tiny": {"fingerprint": "aa", "dtype": dtype}}, **changes)


def checked(
    before: Sequence[BaselineText], now: Sequence[BaselineText], *, rule: Any = EXACT, **changes: Any
) -> Finding:
    return only(judge(side(*before, **changes), side(*now, **changes), rules(rule)))


def test_the_same_tokens_pass() -> None:
    found = checked([text(1, 2), text(3)], [text(1, 2), text(3)])
    assert (found.kind, found.outcome, found.value, found.n) == ("exact", "pass", 0, 2)
    assert found.message == "the same tokens for 2 prompts"
    assert found.details == ()


def test_no_tie_after_another_prompt() -> None:
    """How close a decision was says nothing where the question was another."""
    sides = [side(text(n, margins=(0.0001,)), text(n, margins=(0.0001,))) for n in (5, 6)]
    fed = [replace(each, fed={("tiny", "some"): {"a": sha, "b": "bb"}}) for each, sha in zip(sides, "xy", strict=True)]
    found = only(judge(fed[0], fed[1], rules(EXACT)))
    assert found.outcome == "regression"
    assert found.message == (
        "other tokens for 1 of 2 prompts, the closest by 0.0001 (a tie is within 0.001); 1 more by a numerical tie; "
        "the prompts' tokens differ for 1 of these"
    )


def test_where_texts_part_and_how_they_go_on() -> None:
    before = text(5, 6, 7, words="The old boat moved", margins=(2.0, 1.5, 0.2))
    now = text(5, 8, 9, words="The old dog slept", margins=(2.0, 0.25, 3.0))
    found = checked([before, text(1)], [now, text(1)])
    assert (found.outcome, found.fails, found.value, found.n, found.unit) == ("regression", True, 1, 2, "texts")
    assert found.message == "other tokens for 1 of 2 prompts, the closest by 1.5 (a tie is within 0.001)"
    assert found.details == (
        "prompt 'a', token 1: 6 -> 8, margin 1.5",
        "  baseline 'The old boat moved'",
        "  run      'The old dog slept'",
    )


@pytest.mark.parametrize(
    ("dtype", "margin", "outcome"),
    [
        ("float32", 0.001, "numerical tie"),
        ("float32", 0.0011, "regression"),
        ("float16", 0.05, "numerical tie"),
        ("float16", 0.051, "regression"),
        ("bfloat16", 0.5, "numerical tie"),
        ("bfloat16", 0.51, "regression"),
        ("float64", 1e-6, "numerical tie"),
        ("float64", 1e-5, "regression"),
        ("int3", 0.0, "numerical tie"),  # exactly equal logits are a tie of any dtype
        ("int3", 1e-9, "regression"),  # nothing is known of its noise
    ],
)
def test_what_a_tie_is(dtype: str, margin: float, outcome: str) -> None:
    found = checked([text(5, margins=(margin,))], [text(6, margins=(margin,))], dtype=dtype)
    assert (found.outcome, found.fails) == (outcome, outcome == "regression")


def test_the_coarser_dtype_of_both_holds() -> None:
    before, now = text(5, margins=(0.3,)), text(6, margins=(0.3,))
    for dtypes in (("float32", "bfloat16"), ("bfloat16", "float32")):
        sides = [side(one, dtype=dtype) for one, dtype in zip((before, now), dtypes, strict=True)]
        assert only(judge(*sides, rules(EXACT))).outcome == "numerical tie"


@pytest.mark.parametrize(("a", "b"), [(1e-4, 2.0), (2.0, 1e-4)])
def test_both_sides_must_have_been_close(a: float, b: float) -> None:
    found = checked([text(5, margins=(a,))], [text(6, margins=(b,))])
    assert found.outcome == "regression"
    assert "the closest by 2 " in found.message


def test_margins_that_are_not_known_are_no_tie() -> None:
    found = checked([text(5, margins=(0.0,))], [text(6)])
    assert (found.outcome, found.message) == ("regression", "other tokens for 1 of 1 prompt")
    assert found.details[0] == "prompt 'a', token 0: 5 -> 6, not known how close"
    assert checked([text(5)], [text(6)]).outcome == "regression"


def test_a_text_that_was_cut_elsewhere() -> None:
    found = checked([text(5, 6, margins=(0.0, 0.0))], [text(5, margins=(0.0,))])
    assert found.outcome == "regression"
    assert found.details[0] == "prompt 'a', token 1: 6 -> cut by the limit, not known how close"


def test_a_margin_that_nothing_else_came_near() -> None:
    assert checked([text(5, margins=(math.inf,))], [text(6, margins=(0.0,))]).outcome == "regression"
    with pytest.raises(StoreError, match="greedy: prompt 'a': its margin is NaN"):
        checked([text(5, margins=(math.nan,))], [text(6, margins=(0.0,))])


@pytest.mark.parametrize(
    ("penalty", "tokens", "noise"),
    [
        (1.0, 4, 0.0005),  # 0.001 * sqrt(4) / 4
        (0.0, 4, 0.002),  # 0.001 * sqrt(4)
        (None, 16, 0.00025),  # as 1
    ],
)
def test_searches_are_as_close_as_their_scores(penalty: float | None, tokens: int, noise: float) -> None:
    config = {"strategy": {"name": "beam", **({} if penalty is None else {"length_penalty": penalty})}}
    for gap, outcome in ((noise * 0.99, "numerical tie"), (noise * 1.01, "regression")):
        before = text(*range(tokens), score=-1.0)
        now = text(9, *range(1, tokens), score=-1.0 - gap)
        assert checked([before], [now], config=config).outcome == outcome
    with pytest.raises(StoreError, match="its difference of scores is NaN"):
        checked([text(1, score=math.nan)], [text(2, score=0.0)])


def test_ties_and_others_are_counted_apart() -> None:
    before = [text(1, margins=(0.0,)), text(2, margins=(0.0,)), text(3, margins=(5.0,))]
    now = [text(7, margins=(0.0,)), text(8, margins=(0.0,)), text(9, margins=(4.0,))]
    found = checked(before, now)
    assert found.message == (
        "other tokens for 1 of 3 prompts, the closest by 5 (a tie is within 0.001); 2 more by a numerical tie"
    )
    assert [line.split(",")[0] for line in found.details[::3]] == ["prompt 'c'"]
    assert found.value == 3
    ties = checked(before[:2], now[:2])
    assert ties.message == "2 of 2 prompts differ, each by a numerical tie (within 0.001)"
    assert len(ties.details) == 6
    assert all(line.endswith(", a tie") for line in ties.details[::3])


def test_a_rule_may_say_what_a_tie_is() -> None:
    sides = [text(1, margins=(0.1,))], [text(2, margins=(0.1,))]
    assert checked(*sides, rule={**EXACT, "ties_within": 0.1}).outcome == "numerical tie"
    assert checked(*sides, rule={**EXACT, "ties_within": 0}).outcome == "regression"
    warned = checked(*sides, rule={**EXACT, "severity": "warn"})
    assert (warned.outcome, warned.fails) == ("regression", False)


def test_only_the_best_rank_decides() -> None:
    def ranks(second: int) -> Baseline:
        of = {"a": (text(1), text(second, sample=1))}
        return baseline(arm("beam", is_search=True, texts={0: of}))

    found = only(judge(ranks(2), ranks(3), rules(EXACT)))
    assert found.outcome == "pass"


def test_seeds_of_what_draws_nothing_say_nothing() -> None:
    def seeded(**tokens: int) -> Baseline:
        texts = {int(seed[1:]): {"a": (text(token),)} for seed, token in tokens.items()}
        return baseline(arm("beam", is_search=True, texts=texts))

    assert only(judge(seeded(s0=1, s1=1), seeded(s7=1), rules(EXACT))).outcome == "pass"
    assert only(judge(seeded(s0=1), seeded(s7=2), rules(EXACT))).outcome == "regression"
    two = only(judge(seeded(s0=1, s1=1), seeded(s1=2, s0=1), rules(EXACT)))
    assert (two.outcome, two.value, two.n) == ("regression", 1, 1)


def test_metrics_of_texts_that_were_judged_exactly_are_told_only() -> None:
    ids = [f"p{n}" for n in range(20)]
    sides = [
        baseline(
            arm(
                "greedy",
                is_search=True,
                prompt_ids=ids,
                first=first,
                metrics={"rep_4": metric("rep_4", values, value=0.5)},
            )
        )
        for first, values in ((5, dict.fromkeys(ids, (90.0, 100.0))), (7, dict.fromkeys(ids, (10.0, 100.0))))
    ]
    exact, tested = judge(*sides, rules(EXACT, statistical("rep_4", 0.1))).findings
    assert (exact.outcome, exact.fails) == ("regression", True)
    assert (tested.outcome, tested.fails, tested.severity) == ("regression", False, "warn")
    (alone,) = judge(*sides, rules(statistical("rep_4", 0.1))).findings
    assert alone.fails, "without an exact rule the metrics judge"


def test_too_few_prompts_do_not_fail_what_is_a_tie() -> None:
    metrics = {"distinct_2": metric("distinct_2", {"a": 0.5})}, {"distinct_2": metric("distinct_2", {"a": 0.4})}
    texts = text(1, margins=(0.0,)), text(2, margins=(0.0,))
    sides = [
        baseline(arm("greedy", is_search=True, texts={0: {"a": (one,)}}, metrics=of))
        for one, of in zip(texts, metrics, strict=True)
    ]
    check = judge(*sides, rules(EXACT, statistical("distinct_2", 0, cannot_tell="fail")))
    assert [f.outcome for f in check.findings] == ["numerical tie", "cannot tell"]
    assert check.exit_code == 0


def test_the_text_around_a_place() -> None:
    before, now = "x" * 100 + "left\n" + "y" * 100, "x" * 100 + "right"
    assert around(before, now) == ("…'" + "x" * 24 + "left\\n" + "y" * 43 + "'…", "…'" + "x" * 24 + "right'")
    assert around("", "a") == ("''", "'a'")
