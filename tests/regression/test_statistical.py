"""The statistical part of a check: decisions computed by hand at every boundary, the family of all tests, what is not
tested, and bad numbers."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from decodebench.errors import ConfigError, StoreError
from decodebench.regression import judge
from regression_data import PROMPTS, arm, baseline, judged, metric, of_values, only, rules, statistical, with_arm

# 20 prompts whose values fall by 0.3 and by 0.1 in turn: worsening 0.2, standard deviation 0.1 * sqrt(20 / 19), so the
# standard error is 0.1 / sqrt(19) = 0.022942. t(19) is 1.729133 at 95%.
BEFORE = [0.8] * 20
FALLEN = [0.5, 0.7] * 10
ERROR = 0.1 / math.sqrt(19)
T95 = 1.729133


@pytest.mark.parametrize(
    ("margin", "outcome"),
    [
        (0.0, "regression"),
        (0.1, "regression"),
        (0.2, "regression"),  # the estimate reaches it
        (0.2001, "cannot tell"),
        (0.2 + T95 * ERROR - 1e-4, "cannot tell"),
        (0.2 + T95 * ERROR + 1e-4, "pass"),
        (0.5, "pass"),
    ],
)
def test_the_three_outcomes_by_margin(margin: float, outcome: str) -> None:
    found = only(judged(of_values("distinct_2", BEFORE, FALLEN), statistical("distinct_2", margin)))
    assert (found.outcome, found.n, found.margin) == (outcome, 20, margin)
    assert found.baseline == pytest.approx(0.8)
    assert found.value == pytest.approx(0.6)
    assert found.worsening == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - T95 * ERROR, abs=1e-6)
    assert found.high == pytest.approx(0.2 + T95 * ERROR, abs=1e-6)
    # The larger of the margin and the bound that a test needs, and 0.86095 standard errors, t(19) at 80%, beyond it.
    assert found.detectable == pytest.approx(max(margin, T95 * ERROR) + 0.860951 * ERROR, abs=1e-5)


def test_what_is_not_real_is_no_regression_whatever_the_margin() -> None:
    # +1 and -0.9 in turn: worsening 0.05 with a standard error of 0.95 / sqrt(19) = 0.22.
    sides = of_values("distinct_2", [0.0] * 20, [0.9, -1.0] * 10)
    found = only(judged(sides, statistical("distinct_2", 0)))
    assert found.outcome == "cannot tell"
    assert found.worsening == pytest.approx(0.05)
    assert found.low == pytest.approx(0.05 - T95 * 0.95 / math.sqrt(19), abs=1e-5)


@pytest.mark.parametrize(("name", "worse"), [("distinct_2", -1), ("loop_share", 1)])
def test_the_direction_is_the_metrics_own(name: str, worse: int) -> None:
    moved = [0.5 + worse * step for step in (0.3, 0.1) * 10]
    found = only(judged(of_values(name, [0.5] * 20, moved), statistical(name, 0.1)))
    assert (found.outcome, found.worsening) == ("regression", pytest.approx(0.2))
    better = only(judged(of_values(name, moved, [0.5] * 20), statistical(name, 0.1)))
    assert (better.outcome, better.worsening) == ("pass", pytest.approx(-0.2))


@pytest.mark.parametrize("sign", [1, -1])
def test_both_directions_are_tested_on_two_sides(sign: int) -> None:
    moved = [3 + sign * step for step in (0.3, 0.1) * 10]
    found = only(
        judged(of_values("surprisal_text", [3.0] * 20, moved), statistical("surprisal_text", 0.1, direction="both"))
    )
    assert (found.outcome, found.worsening) == ("regression", pytest.approx(0.2))
    # t(19) is 2.093024 at 97.5%; the upper bound is that of one side.
    assert found.low == pytest.approx(0.2 - 2.093024 * ERROR, abs=1e-6)
    assert found.high == pytest.approx(0.2 + T95 * ERROR, abs=1e-6)


def test_a_rule_gives_a_direction_to_a_metric_without_one() -> None:
    sides = of_values("length", [10.0] * 20, [12.0, 14.0] * 10)
    assert only(judged(sides, statistical("length", 1, direction="lower"))).outcome == "regression"
    assert only(judged(sides, statistical("length", 1, direction="higher"))).outcome == "pass"


@pytest.mark.parametrize(
    ("margin", "allowed"),
    [
        (0.3, 0.3),
        ({"relative": 0.25}, 0.2),  # of 0.8
        ({"noise": 3}, 0.12),  # of 0.04
        ({"absolute": 0.05, "noise": 2}, 0.08),
        ({"absolute": 0.1, "noise": 2}, 0.1),
        ({"absolute": 0.1, "relative": 0.5, "noise": 1}, 0.4),
    ],
)
def test_the_largest_part_of_a_margin_holds(margin: object, allowed: float) -> None:
    sides = of_values("distinct_2", BEFORE, FALLEN, noise=0.04)
    assert only(judged(sides, statistical("distinct_2", margin))).margin == pytest.approx(allowed)


def test_noise_that_the_baseline_lacks() -> None:
    sides = of_values("distinct_2", BEFORE, FALLEN)
    assert only(judged(sides, statistical("distinct_2", {"absolute": 0.1, "noise": 2}))).margin == 0.1
    with pytest.raises(ConfigError, match=r"no seed noise of sample .* allowed beside it: absolute, relative$"):
        judged(sides, statistical("distinct_2", {"noise": 2}))
    searches = tuple(with_arm(side, is_search=True) for side in sides)
    assert only(judged((searches[0], searches[1]), statistical("distinct_2", {"noise": 2}))).margin == 0


def test_all_tests_of_a_check_are_one_family() -> None:
    """Four arms: the one that moved has the smallest p, and is looked at with 0.05 / 4; with t(19) = 2.433440 there."""
    rule = statistical("distinct_2", 0.1)
    noise = [0.8 + step for step in (0.1, -0.1) * 10]
    sides = []
    for first, moved in ((5, BEFORE), (7, FALLEN)):
        values = [moved, *([BEFORE if first == 5 else noise] * 3)]
        arms = [
            arm(f"s{n}", metrics={"distinct_2": metric("distinct_2", dict(zip(PROMPTS, of, strict=True)))}, first=first)
            for n, of in enumerate(values)
        ]
        sides.append(baseline(*arms))
    findings = judge(*sides, rules(rule)).findings
    assert [each.outcome for each in findings] == ["regression", "pass", "pass", "pass"]
    assert findings[0].low == pytest.approx(0.2 - student.ppf(1 - 0.05 / 4, 19) * ERROR, abs=1e-9)
    assert findings[0].high == pytest.approx(0.2 + T95 * ERROR, abs=1e-6), "an upper bound is no alarm: each alone"
    # The others are not rejected: all three are looked at with 0.05 / 3.
    assert findings[1].low == pytest.approx(-student.ppf(1 - 0.05 / 3, 19) * ERROR, abs=1e-9)


def test_what_is_the_same_is_not_tested_and_not_in_the_family() -> None:
    sides = of_values("distinct_2", BEFORE, FALLEN)
    alone = only(judged(sides, statistical("distinct_2", 0.1)))
    same = arm(
        "same",
        metrics={"distinct_2": metric("distinct_2", dict.fromkeys(sides[0].prompts["some"], 0.3))},
        prompt_ids=list(sides[0].prompts["some"]),
    )
    # The same tokens with other log-probs: not tested either.
    other = replace(same, metrics={"distinct_2": metric("distinct_2", dict.fromkeys(sides[0].prompts["some"], 0.9))})
    # Other tokens with the same values.
    equal = arm("equal", metrics=same.metrics, prompt_ids=list(sides[0].prompts["some"]), first=9)
    then = replace(sides[0], arms=(*sides[0].arms, same, replace(same, strategy="equal")))
    now = replace(sides[1], arms=(*sides[1].arms, other, equal))
    first, second, third = judge(then, now, rules(statistical("distinct_2", 0.1))).findings
    assert first == alone
    assert (second.outcome, second.message) == ("pass", "the same tokens for every prompt")
    assert (third.outcome, third.message) == ("pass", "equal for every prompt")


@pytest.mark.parametrize(("changed", "outcome"), [(4, "cannot tell"), (5, "regression")])
def test_few_prompts_that_changed_show_nothing(changed: int, outcome: str) -> None:
    """One test on one side: 0.5**5 = 0.031 is the first below 0.05. 5 of 20 down by 0.5 are a worsening of 0.125."""
    now = [0.3] * changed + [0.8] * (20 - changed)
    found = only(judged(of_values("distinct_2", BEFORE, now), statistical("distinct_2", 0.05)))
    assert found.outcome == outcome
    assert ("fewer than 5 cannot show" in found.message) is (changed == 4)


def test_the_same_change_of_every_prompt() -> None:
    sides = of_values("distinct_2", [0.75] * 20, [0.5] * 20)
    found = only(judged(sides, statistical("distinct_2", 0.25)))
    assert (found.outcome, found.low, found.high, found.detectable) == ("regression", 0.25, 0.25, None)
    assert only(judged(sides, statistical("distinct_2", 0.26))).outcome == "pass"
    assert only(judged(sides, statistical("distinct_2", 0))).outcome == "regression"


@pytest.mark.parametrize(("prompts", "reason"), [(9, "9 prompts: an interval needs at least 10"), (1, "1 prompt: ")])
def test_too_few_prompts_cannot_tell(prompts: int, reason: str) -> None:
    found = only(judged(of_values("distinct_2", [0.8] * prompts, [0.1] * prompts), statistical("distinct_2", 0.05)))
    assert (found.outcome, found.severity, found.worsening) == ("cannot tell", "warn", None)
    assert found.message.startswith(reason)


def test_severities() -> None:
    few = of_values("distinct_2", [0.8] * 9, [0.1] * 9)
    assert judged(few, statistical("distinct_2", 0.05)).exit_code == 0
    assert judged(few, statistical("distinct_2", 0.05, cannot_tell="fail")).exit_code == 1
    moved = of_values("distinct_2", BEFORE, FALLEN)
    assert judged(moved, statistical("distinct_2", 0.05)).exit_code == 1
    assert judged(moved, statistical("distinct_2", 0.05, severity="warn")).exit_code == 0


def test_ratios_are_those_of_the_sums() -> None:
    """rep_4 = 1 - unique / all: of 20 texts with 100 n-grams each, 90 or 80 of them unique and then 60 or 70."""
    ids = [f"p{n}" for n in range(20)]
    sides = []
    for first, unique in ((5, [90, 80]), (7, [60, 70])):
        rows = {id_: (float(count), 100.0) for id_, count in zip(ids, unique * 10, strict=True)}
        found = metric("rep_4", rows, value=1 - sum(unique) / 200)
        sides.append(baseline(arm(metrics={"rep_4": found}, prompt_ids=ids, first=first)))
    found_ = only(judged((sides[0], sides[1]), statistical("rep_4", 0.1)))
    assert (found_.baseline, found_.value) == (pytest.approx(0.15), pytest.approx(0.35))
    # Per prompt the change is 0.3 and 0.1: as above.
    assert found_.low == pytest.approx(0.2 - T95 * ERROR, abs=1e-6)
    assert found_.outcome == "regression"


@pytest.mark.parametrize(
    ("before", "now", "outcome", "fails"),
    [
        ({}, {}, "pass", False),
        ({}, dict.fromkeys(PROMPTS, 1.0), "cannot tell", False),
        (dict.fromkeys(PROMPTS, 1.0), {}, "regression", True),  # every prompt had one: no chance
        (dict.fromkeys(PROMPTS[:12], 1.0), {}, "cannot tell", False),  # no text ends in a loop any more, say
    ],
)
def test_a_value_that_is_missing_on_a_side(
    before: dict[str, float], now: dict[str, float], outcome: str, fails: bool
) -> None:
    sides = tuple(
        baseline(arm(metrics={"loop_onset": metric("loop_onset", values)}, first=first))
        for first, values in ((5, before), (7, now))
    )
    found = only(judged((sides[0], sides[1]), statistical("loop_onset", 1, direction="both")))
    assert (found.outcome, found.fails) == (outcome, fails)
    assert "no text has a token" in found.message


def test_prompts_that_lost_their_value_are_left_out_and_counted() -> None:
    sides = tuple(
        baseline(arm(metrics={"distinct_2": metric("distinct_2", dict.fromkeys(ids, value))}, first=first))
        for first, ids, value in ((5, PROMPTS, 0.8), (7, PROMPTS[:15], 0.7))
    )
    found = only(judged((sides[0], sides[1]), statistical("distinct_2", 0.05)))
    assert (found.n, found.outcome) == (15, "regression")
    none = with_arm(sides[1], metrics={"distinct_2": metric("distinct_2", {"other": 0.1})})
    assert (
        only(judged((sides[0], none), statistical("distinct_2", 0.05))).message == "no prompt has a value on both sides"
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["before", "now", "value", "noise"])
def test_numbers_that_are_not_finite_are_errors(bad: float, place: str) -> None:
    values = {"before": list(BEFORE), "now": list(FALLEN)}
    if place in values:
        values[place][3] = bad
    changes = {place: bad} if place in ("value", "noise") else {"value": 0.8}
    sides = of_values("distinct_2", values["before"], values["now"], **changes)
    with pytest.raises(
        StoreError, match=r"^(sample: distinct_2 of prompt 'p003' is|distinct_2: the baseline's) .*finite"
    ):
        judged(sides, statistical("distinct_2", {"absolute": 0.1, "noise": 1}))


def test_seeds_are_no_reason_not_to_compare() -> None:
    sides = of_values("distinct_2", BEFORE, FALLEN)
    other = with_arm(sides[1], texts={7: sides[1].arms[0].texts[0]})
    check = judged((sides[0], other), statistical("distinct_2", 0.1))
    assert only(check).outcome == "regression"
    assert "sample" in check.changes[-1]
    assert check.changes[-1].endswith("seed 0 -> 7")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.floats(0, 0.5))
def test_no_finding_is_both_and_bounds_enclose_the_estimate(seed: int, arms: int, margin: float) -> None:
    draw = random.Random(seed)
    sides = []
    for first in (5, 7):
        made = [
            arm(f"s{n}", metrics={"distinct_2": metric("distinct_2", {p: draw.random() for p in PROMPTS})}, first=first)
            for n in range(arms)
        ]
        sides.append(baseline(*made))
    for found in judge(*sides, rules(statistical("distinct_2", margin))).findings:
        assert found.low is not None
        assert found.high is not None
        assert found.worsening is not None
        assert found.low <= found.worsening <= found.high
        assert (found.outcome == "regression") <= (found.low > 0 and found.worsening >= margin)
        assert (found.outcome == "pass") == (found.high < margin)


def test_false_alarms_of_a_whole_check_stay_below_five_percent() -> None:
    """400 checks of 6 arms with values from one distribution on both sides and a margin of 0, so that any real
    worsening counts. At a true rate of 5% more than 34 alarms (8.5%) come up with probability 0.1%."""
    draw = random.Random(20240229)
    rule = rules(statistical("distinct_2", 0))
    alarms = 0
    for _ in range(400):
        sides = []
        for first in (5, 7):
            made = [
                arm(
                    f"s{n}",
                    metrics={"distinct_2": metric("distinct_2", {p: draw.gauss(0, 1) for p in PROMPTS})},
                    first=first,
                )
                for n in range(6)
            ]
            sides.append(baseline(*made))
        alarms += judge(*sides, rule).exit_code
    assert alarms <= 34


def test_the_same_text_under_two_ids_is_tested_as_one_prompt() -> None:
    """40 prompts of 20 texts: the standard error, and with it every bound, is that of 20."""
    twice = of_values(
        "distinct_2", [value for value in BEFORE for _ in "ab"], [value for value in FALLEN for _ in "ab"]
    )
    hashes = {f"p{at:03d}": f"text {at // 2}" for at in range(40)}
    sides = replace(twice[0], prompts={"some": hashes}), replace(twice[1], prompts={"some": hashes})
    found = only(judged(sides, statistical("distinct_2", 0.1)))
    assert (found.outcome, found.n, found.worsening) == ("regression", 40, pytest.approx(0.2))
    assert found.low == pytest.approx(0.2 - T95 * ERROR, abs=1e-6)
    assert found.high == pytest.approx(0.2 + T95 * ERROR, abs=1e-6)


@pytest.mark.parametrize("side", [0, 1])
def test_prompts_of_a_cluster_are_tested_together_whichever_side_names_it(side: int) -> None:
    """40 prompts of other texts in 20 clusters of two that agree; a baseline from before clusters has none."""
    sides = list(
        of_values("distinct_2", [value for value in BEFORE for _ in "ab"], [value for value in FALLEN for _ in "ab"])
    )
    sides[side] = replace(sides[side], clusters={"some": {f"p{at:03d}": f"speech {at // 2}" for at in range(40)}})
    found = only(judged((sides[0], sides[1]), statistical("distinct_2", 0.1)))
    assert (found.outcome, found.n, found.worsening) == ("regression", 40, pytest.approx(0.2))
    assert found.low == pytest.approx(0.2 - T95 * ERROR, abs=1e-6)
    one = [replace(each, clusters={"some": dict.fromkeys((f"p{at:03d}" for at in range(40)), "x")}) for each in sides]
    told = only(judged((one[0], one[1]), statistical("distinct_2", 0.1)))
    assert (told.outcome, told.message) == ("cannot tell", "1 cluster of 40 prompts: an interval needs at least 10")
