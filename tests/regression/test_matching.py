"""What belongs together, what cannot be compared, what is listed as changed, what is new, and limits."""

import math
from dataclasses import replace
from typing import Any

import pytest

from decodebench.errors import StoreError
from decodebench.regression import Baseline, Check, judge
from decodebench.regression.matching import FailedArm
from regression_data import PROMPTS, arm, baseline, metric, only, rules, sha256, statistical, with_arm

FAILED = {"kind": "bound", "metric": "failed_cells", "at_most": 0}
RULE = statistical("distinct_2", 0.1)


def side(*labels: str, **changes: Any) -> Baseline:
    metrics = {"distinct_2": metric("distinct_2", dict.fromkeys(PROMPTS, 0.5))}
    return baseline(*(arm(label, metrics=metrics, **changes) for label in labels))


def compare(before: Baseline, now: Baseline, *nodes: Any, failed: Any = ()) -> Check:
    return judge(before, now, rules(*(nodes or (RULE,))), failed)


def test_the_same_run_passes_whatever_its_models_name() -> None:
    before, now = side("sample"), side("sample", model="other")
    now = replace(now, made={**now.made, "models": {"other": {"fingerprint": "bb", "dtype": "bfloat16"}}})
    check = compare(before, now)
    assert (check.exit_code, only(check).outcome, only(check).model) == (0, "pass", "")
    assert check.changes == (
        "model tiny -> other",
        "model other: fingerprint aa -> bb",
        "model other: dtype float32 -> bfloat16",
    )


def test_arms_of_several_models_are_matched_by_model() -> None:
    before = baseline(*side("sample").arms, *side("sample", model="large").arms)
    check = compare(before, before)
    assert [finding.model for finding in check.findings] == ["tiny", "large"]
    lacking = compare(before, baseline(*before.arms[:1]))
    assert lacking.incomparable == (
        "large / some / sample: the run has no such cells; it has: tiny / some / sample; did you mean tiny / some / "
        "sample?",
    )


def test_missing_cells_cannot_be_compared() -> None:
    check = compare(side("greedy", "sample temperature=0.7"), side("greedy", "sample temperature=1.3"), RULE)
    assert check.exit_code == 2
    assert check.findings == ()
    assert check.incomparable == (
        "some / sample temperature=0.7: the run has no such cells; it has: some / greedy, some / sample "
        "temperature=1.3; did you mean some / sample temperature=1.3?",
    )


def test_new_strategies_are_told_and_not_judged() -> None:
    check = compare(side("sample"), side("sample", "top_p"), {**RULE, "cannot_tell": "fail"})
    assert [(f.strategy, f.outcome, f.fails) for f in check.findings] == [
        ("sample", "pass", False),
        ("top_p", "new", False),
    ]


def test_the_arms_of_people_are_left_out() -> None:
    assert [f.strategy for f in compare(side("sample", "human"), side("sample")).findings] == ["sample"]


def test_other_prompts_cannot_be_compared() -> None:
    before = side("sample")
    ids = [*PROMPTS[:10], *(f"q{n}" for n in range(7))]
    now = baseline(arm("sample", prompt_ids=ids, metrics={"distinct_2": metric("distinct_2", dict.fromkeys(ids, 1))}))
    now.prompts["some"]["p00"] = sha256("another text")  # type: ignore[index]
    assert compare(before, now).incomparable == (
        "prompts some: missing in the run: 'p10', 'p11', 'p12', 'p13', 'p14' and 5 more",
        "prompts some: not in the baseline: 'q0', 'q1', 'q2', 'q3', 'q4' and 2 more",
        "prompts some: another text: 'p00'",
        "some / sample: no text in the run with seed 0 for prompt: 'p10', 'p11', 'p12', 'p13', 'p14' and 5 more",
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"version": "2"},
            "distinct_2: is defined otherwise in the run (version 1, unit 1, direction higher -> version 2, unit 1, "
            "direction higher)",
        ),
        (
            {"unit": "words"},
            "distinct_2: is defined otherwise in the run (version 1, unit 1, direction higher -> version 1, unit "
            "words, direction higher)",
        ),
    ],
)
def test_metrics_of_another_definition_cannot_be_compared(changes: dict[str, str], line: str) -> None:
    now = side("sample")
    other = replace(now.arms[0].metrics["distinct_2"], **changes)
    check = compare(side("sample"), with_arm(now, metrics={"distinct_2": other}))
    assert (check.exit_code, check.incomparable) == (2, (line,))


def test_metrics_that_the_run_lacks_cannot_be_compared() -> None:
    now = replace(side("sample"), made={**side("sample").made, "metrics": {"unit": "words"}})
    check = compare(side("sample"), with_arm(now, metrics={}))
    assert check.incomparable == (
        "distinct_2: was not measured in the run (the run counts words, the baseline tokens)",
    )


def test_what_another_scorer_read_cannot_be_compared() -> None:
    metrics = {"scorer_surprisal": metric("scorer_surprisal", dict.fromkeys(PROMPTS, (2.0, 1.0)), value=2.0)}
    sides = [
        baseline(arm(metrics=metrics), scorer={"id": id_, "fingerprint": "cc", "dtype": "float32"}) for id_ in "ab"
    ]
    rule = statistical("scorer_surprisal", 0.1, direction="both")
    assert compare(*sides, rule).incomparable == (
        "scorer_surprisal: the texts were read by another scorer (a cc float32 -> b cc float32)",
    )
    assert compare(sides[0], sides[0], rule).exit_code == 0


def scored_by(**parts: Any) -> Baseline:
    metrics = {"scorer_surprisal": metric("scorer_surprisal", dict.fromkeys(PROMPTS, (2.0, 1.0)), value=2.0)}
    return baseline(arm(metrics=metrics), scorer={"id": "a", "fingerprint": "cc", "dtype": "float32"} | parts)


def test_a_scorer_is_all_of_it_as_far_as_both_sides_say() -> None:
    """Its tokenizer decides what is scored. An older baseline does not say it, and a key of a config that only one side
    has may be of another transformers."""
    rule = statistical("scorer_surprisal", 0.1, direction="both")
    known = scored_by(tokenizer="aa", resolved_config={"eps": 1})
    assert compare(known, scored_by(tokenizer="bb", resolved_config={"eps": 1}), rule).incomparable == (
        "scorer_surprisal: the texts were read by another scorer (a cc float32 aa -> a cc float32 bb)",
    )
    assert compare(known, scored_by(tokenizer="aa", resolved_config={"eps": 2}), rule).exit_code == 2
    for same in (scored_by(), scored_by(tokenizer="aa", resolved_config={"eps": 1, "new": 5})):
        assert compare(known, same, rule).exit_code == compare(same, known, rule).exit_code == 0


def test_every_changed_part_of_a_model_is_listed_and_none_that_an_older_baseline_lacks() -> None:
    parts = {"fingerprint": "aa", "dtype": "float32", "tokenizer": "tt", "chat_template": None, "eos_ids": [1]}
    parts["resolved_config"] = {"rope": {"theta": 1e4}, "cap": None}
    other = {
        **parts,
        "tokenizer": "uu",
        "chat_template": "cc",
        "eos_ids": (1, 5),
        "resolved_config": {"rope": {"theta": 2}},
    }
    before, now = (baseline(*side("sample").arms, models={"tiny": each}) for each in (parts, other))
    assert compare(before, now).changes == (
        "model tiny: tokenizer tt -> uu",
        "model tiny: chat_template null -> cc",
        "model tiny: eos_ids [1] -> [1, 5]",
        "model tiny: resolved_config.rope.theta 10000.0 -> 2",
    )
    assert compare(side("sample"), now).changes == ()


def test_a_second_model_is_listed_by_its_parts() -> None:
    models = {
        "second_models": {"draft": "aa"},
        "second_identities": {"draft": {"fingerprint": "aa", "tokenizer": "tt"}},
    }
    other = {"second_models": {"draft": "aa"}, "second_identities": {"draft": {"fingerprint": "aa", "tokenizer": "uu"}}}
    sides = [baseline(*side("sample").arms, **made) for made in (models, other)]
    assert compare(*sides).changes == ("second_identities draft.tokenizer tt -> uu",)
    older = baseline(*side("sample").arms, second_models={"draft": "bb"})
    assert compare(older, sides[0]).changes == ("second_models draft bb -> aa",)


def fed(made: Baseline, *ids: str, model: str = "tiny") -> Baseline:
    """The same, where these prompts were fed as other tokens."""
    of = {id_: sha256(f"{id_} {'other' if id_ in ids else ''}") for id_ in PROMPTS}
    return replace(made, fed={(model, "some"): of})


def test_prompts_that_were_fed_as_other_tokens_are_said_before_all_else() -> None:
    metrics = {"distinct_2": metric("distinct_2", dict.fromkeys(PROMPTS, 0.5))}
    sides = [baseline(arm("greedy", metrics=metrics, is_search=True, first=n)) for n in (5, 7)]
    check = compare(fed(sides[0]), fed(sides[1], *PROMPTS[:7]), {"kind": "exact"})
    assert check.prompts == ("the prompts' tokens differ: some: 'p00', 'p01', 'p02', 'p03', 'p04' and 2 more",)
    assert only(check).message == "other tokens for 20 of 20 prompts; the prompts' tokens differ for 7 of these"
    several = [baseline(*each.arms, *(replace(a, model="large") for a in each.arms)) for each in sides]
    check = compare(fed(several[0], model="large"), fed(several[1], "p03", model="large"), {"kind": "exact"})
    assert check.prompts == ("the prompts' tokens differ: large / some: 'p03'",)


def test_of_an_older_baseline_it_is_not_known_what_was_fed() -> None:
    assert compare(side("sample"), fed(side("sample"), "p00")).prompts == ()
    assert compare(fed(side("sample"), "p00"), fed(side("sample"), "p00")).prompts == ()


def test_what_else_is_different_is_listed() -> None:
    strategy = {"name": "sample", "temperature": 0.75, "eos": "model"}
    prompts = {"name": "some", "template": "{text}\n"}
    before = with_arm(side("sample", seeds=(0, 1)), config={"strategy": strategy, "prompts": prompts, "seed": 0})
    changed = {"strategy": {**strategy, "temperature": 1.3, "top_k": 5}, "prompts": {**prompts, "template": "{text}"}}
    now = with_arm(side("sample", seeds=(2,)), config={**changed, "seed": 2})
    now = replace(now, made={**now.made, "versions": {"transformers": "6", "torch": "3"}})
    assert compare(before, now).changes == (
        "versions transformers 5.17 -> 6",
        "versions torch none -> 3",
        "some / sample: strategy.temperature 0.75 -> 1.3",
        "some / sample: prompts.template '{text}\\n' -> {text}",
        "some / sample: strategy.top_k none -> 5",
        "some / sample: seed 0, 1 -> 2",
    )


def test_what_changed_for_every_strategy_is_said_once() -> None:
    sides = [
        baseline(*(replace(each, config={"model": {"dtype": dtype}}) for each in side("greedy", "sample").arms))
        for dtype in ("float32", "bfloat16")
    ]
    assert compare(*sides).changes == ("model.dtype float32 -> bfloat16",)


def gone(strategy: str, error: str = "out of memory") -> FailedArm:
    return FailedArm(model="tiny", prompts="some", strategy=strategy, error=error)


def test_failed_cells_are_a_bound() -> None:
    before = side("greedy", "sample")
    check = compare(before, side("sample"), RULE, FAILED, failed=[gone("greedy")])
    assert check.exit_code == 1
    assert [(f.strategy, f.metric, f.outcome, f.value) for f in check.findings] == [
        ("greedy", "failed_cells", "regression", 1),
        ("greedy", None, "missing", None),
        ("sample", "distinct_2", "pass", 0.5),
        ("sample", "failed_cells", "pass", 0),
    ]
    assert check.findings[0].message == "1 is above 0 (out of memory)"
    assert check.findings[0].details == ("out of memory",)


def test_failed_cells_that_no_rule_bounds_cannot_be_compared() -> None:
    check = compare(side("greedy", "sample"), side("sample"), RULE, failed=[gone("greedy")])
    assert check.exit_code == 2
    assert check.incomparable == ("some / greedy: failed (out of memory), and no rule bounds failed_cells",)


def test_a_limit_of_what_failed() -> None:
    """The rule matches, though there is no value to hold it against."""
    limit = {"kind": "bound", "metric": "distinct_2", "at_least": 0.1, "strategies": "greedy"}
    check = compare(side("greedy", "sample"), side("sample"), RULE, FAILED, limit, failed=[gone("greedy")])
    assert [(f.strategy, f.metric) for f in check.findings if f.kind == "bound"] == [
        ("greedy", "failed_cells"),
        ("sample", "failed_cells"),
    ]
    alone = compare(side("greedy"), Baseline(made={}, prompts={}, arms=()), FAILED, limit, failed=[gone("greedy")])
    assert alone.exit_code == 1


def test_a_baseline_without_strategies_is_an_error() -> None:
    nothing = Baseline(made={}, prompts={}, arms=())
    with pytest.raises(StoreError, match="the baseline has no strategies: nothing would be checked"):
        compare(nothing, side("sample"))


def test_failed_cells_may_be_allowed() -> None:
    allowed = {**FAILED, "at_most": 1}
    check = compare(side("greedy", "sample"), side("sample"), RULE, allowed, failed=[gone("greedy")])
    assert (check.exit_code, check.findings[1].outcome) == (0, "missing")
    # One of two seeds failed: the rest is judged.
    partly = compare(side("sample", seeds=(0, 1)), side("sample"), RULE, allowed, failed=[gone("sample")])
    assert [f.outcome for f in partly.findings] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("value", "limits", "outcome", "message"),
    [
        (0.5, {"at_most": 0.5}, "pass", "0.5 is at most 0.5"),
        (0.51, {"at_most": 0.5}, "regression", "0.51 is above 0.5"),
        (0.5, {"at_least": 0.5}, "pass", "0.5 is at least 0.5"),
        (0.49, {"at_least": 0.5, "at_most": 1}, "regression", "0.49 is below 0.5"),
        (0.7, {"at_least": 0.5, "at_most": 1}, "pass", "0.7 is at least 0.5 and at most 1"),
        (None, {"at_most": 0.5}, "cannot tell", "no text has a token"),
    ],
)
def test_limits(value: float | None, limits: dict[str, float], outcome: str, message: str) -> None:
    rows = {} if value is None else dict.fromkeys(PROMPTS, value)
    now = with_arm(side("sample"), metrics={"loop_share": metric("loop_share", rows)})
    found = only(compare(side("sample"), now, {"kind": "bound", "metric": "loop_share", **limits}))
    assert (found.outcome, found.message, found.value) == (outcome, message, pytest.approx(value))
    assert found.fails is (outcome == "regression")


def test_limits_do_not_care_for_the_baseline() -> None:
    before = with_arm(side("sample"), metrics={"loop_share": metric("loop_share", dict.fromkeys(PROMPTS, 1))})
    found = only(compare(before, before, {"kind": "bound", "metric": "loop_share", "at_most": 0.5}))
    assert (found.outcome, found.baseline) == ("regression", 1)


def timed(**seconds: float | None) -> Baseline:
    known = {label: metric("e2e_s", {}, unit="s", value=value, reason="skipped") for label, value in seconds.items()}
    return baseline(*(arm(label, metrics={"e2e_s": each}) for label, each in known.items()))


RATIO = {"kind": "bound", "metric": "e2e_s", "relative_to": "greedy", "at_most": 4}


@pytest.mark.parametrize(
    ("beam", "greedy", "outcome", "message"),
    [
        (8.0, 2.0, "pass", "4 is at most 4"),
        (8.1, 2.0, "regression", "4.05 is above 4"),
        (None, 2.0, "cannot tell", "skipped"),
        (8.0, None, "cannot tell", "skipped"),
        (8.0, 0.0, "cannot tell", "skipped"),
    ],
)
def test_limits_beside_another_strategy(beam: float | None, greedy: float | None, outcome: str, message: str) -> None:
    found = only(compare(side("greedy", "beam"), timed(greedy=greedy, beam=beam), RATIO))
    assert (found.strategy, found.metric, found.outcome) == ("beam", "e2e_s / greedy", outcome)
    assert (found.message, found.unit, found.baseline) == (message, "1", None)


def test_a_limit_of_a_number_that_is_not_finite() -> None:
    with pytest.raises(StoreError, match="beam: e2e_s is not finite"):
        compare(side("greedy", "beam"), timed(greedy=1.0, beam=math.nan), RATIO)
