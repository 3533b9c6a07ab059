"""The metrics of a task by hand: what counts as a sample, a search's ranks, missing values, versions and intervals."""

from collections.abc import Sequence

import pytest

from decodebench.metrics import TASK_METRICS, Judging, MetricsConfig, measure_task_curves, score
from decodebench.metrics.corpus import Corpus, corpus
from decodebench.metrics.rows_task import OF_THE_SET
from decodebench.metrics.scored import Scored
from decodebench.records import Direction, Judgement
from metrics_data import generation, given

Value = float | None


def judged(
    values: dict[str, Sequence[Value]],
    answers: dict[str, Sequence[str | None]] | None = None,
    logprobs: dict[str, Sequence[float]] | None = None,
    **fields: object,
) -> Corpus:
    """The texts of a cell: the judge's values of the samples of each prompt, right answers being "R"."""
    texts, judgements = [], []
    for prompt_id, of in values.items():
        for sample, value in enumerate(of):
            answer = answers[prompt_id][sample] if answers else "R" if value else f"W{sample}"
            logprob = logprobs[prompt_id][sample] if logprobs else -1.0
            texts.append(
                generation([1, 2], prompt_id=prompt_id, sample=sample, token_logprobs=(logprob,) * 2, **fields)
            )
            reason = "the judge raised" if value is None else None
            judgements.append(
                Judgement(cell="c1", prompt_id=prompt_id, sample=sample, answer=answer, value=value, reason=reason)
            )
    return corpus(texts, judgements=judgements)


def measured(texts: Corpus, *ks: int, direction: Direction = "higher") -> dict[str, Scored]:
    config = MetricsConfig(leading=0)
    return {each.name: each for each in score(texts, config, Judging(ks=ks, rule="r", direction=direction))}


def test_by_hand() -> None:
    # a: 1 of 3 right, and the likeliest of them; b: 2 of 3, the likeliest is wrong.
    rows = measured(
        judged(
            {"a": [1, 0, 0], "b": [1, 1, 0]},
            answers={"a": ["R", "X", "X"], "b": ["R", "R", None]},
            logprobs={"a": [-1, -2, -3], "b": [-2, -3, -1]},
        ),
        *(1, 2, 3, 4),
    )
    assert rows["task"].value == pytest.approx((1 / 3 + 2 / 3) / 2)
    for name in ("pass_at_1", "pass_all_1", "majority_at_1", "best_by_logprob_at_1"):
        assert rows[name].value == pytest.approx(0.5)
    assert rows["pass_at_2"].value == pytest.approx(((1 - 1 / 3) + 1) / 2)
    assert rows["pass_all_2"].value == pytest.approx((0 + 1 / 3) / 2)
    # a: two ties of R and X, and X X: (0.5 + 0.5 + 0) / 3. b: R R, and R beside one that does not vote, twice: 1
    assert rows["majority_at_2"].value == pytest.approx((1 / 3 + 1) / 2)
    assert rows["majority_at_3"].value == pytest.approx((0 + 1) / 2)
    # a: the right one is likelier than both others: 2 of 3 pairs. b: the likeliest is wrong and in 2 of 3 pairs.
    assert rows["best_by_logprob_at_2"].value == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert rows["best_by_logprob_at_3"].value == pytest.approx((1 + 0) / 2)
    assert rows["no_answer_share"].value == pytest.approx((0 + 1 / 3) / 2)
    for name in ("pass_at_4", "pass_all_4", "majority_at_4", "best_by_logprob_at_4"):
        assert (rows[name].value, rows[name].reason) == (None, "no prompt has 4 judged texts")
    assert rows["thinking_length"].reason == "thinking was not taken apart: task.thinking=keep"


def test_a_text_that_was_not_judged_is_no_sample() -> None:
    rows = measured(judged({"a": [1, None, 0], "b": [1, 1, 1]}), 2, 3)
    assert rows["task"].value == pytest.approx((0.5 + 1) / 2)
    assert rows["pass_at_2"].value == 1.0
    assert rows["pass_all_3"].value == 1.0
    assert (rows["pass_at_2"].n, rows["pass_at_3"].n) == (2, 1), "a has two judged texts, and is left out at 3"


def test_of_a_search_the_first_k_ranks_are_taken() -> None:
    rows = measured(judged({"a": [0, 1, 1], "b": [1, 0, 0]}, is_search=True), 1, 2, 3)
    assert rows["task"].value == 0.5, "the best text of a search is its answer"
    assert rows["pass_at_1"].value == 0.5
    assert rows["pass_at_2"].value == 1.0
    assert rows["pass_all_2"].value == 0.0
    assert rows["majority_at_3"].value == pytest.approx((1 + 1 / 3) / 2), "b: three different answers"
    unjudged = measured(judged({"a": [None, 1, 1]}, is_search=True), 1, 2)
    assert unjudged["pass_at_1"].value is None, "rank 1 does not stand for rank 0"


def test_where_less_is_better_the_best_of_k_is_the_smallest() -> None:
    rows = measured(judged({"a": [0.2, 0.6, 0.4]}), 2, direction="lower")
    assert rows["pass_at_2"].value == pytest.approx((0.2 + 0.2 + 0.4) / 3)
    assert rows["pass_all_2"].value == pytest.approx((0.6 + 0.4 + 0.6) / 3)
    assert {rows[name].metric.direction for name in ("task", "pass_at_2", "majority_at_2")} == {"lower"}


def test_values_by_two_rules_have_two_versions() -> None:
    rows = measured(judged({"a": [1]}), 1)
    assert {rows[row.name].metric.version for row in TASK_METRICS if row.per_k is None} == {"1.r"}
    assert rows["pass_at_1"].metric.version == "1.r"
    assert rows["length"].metric.version == "1"


def test_without_a_task_there_are_no_such_rows() -> None:
    names = [each.name for each in score(judged({"a": [1]}), MetricsConfig(leading=0))]
    assert names[0] == "diversity"
    assert not {"task", "pass_at_1"} & {*names}


def test_human_references_are_not_judged() -> None:
    rows = measured(corpus([given([1, 2])]), 1)
    assert (rows["task"].value, rows["task"].reason) == (None, "human references are not judged")


def test_a_judge_of_the_whole_set_gives_one_value_without_an_interval() -> None:
    texts = corpus([generation([1], prompt_id=f"p{n}") for n in range(20)], judged_whole=0.25)
    row = measured(texts, 1)["task"]
    assert (row.value, row.interval.low, row.interval.reason) == (0.25, None, OF_THE_SET)
    failed = measured(corpus([generation([1])], judged_whole="it raised"), 1)["task"]
    assert (failed.value, failed.reason) == (None, "it raised")


@pytest.mark.parametrize(
    ("right", "low", "high"),
    # Wilson's 95% interval of 40 prompts, z = 1.96: of all 1 / (1 + z^2 / 40) = 0.9124 to 1; of half 0.352 to 0.648
    [(40, 0.9124, 1), (0, 0, 0.0876), (20, 0.352, 0.648)],
)
@pytest.mark.parametrize("samples", [1, 3])
def test_shares_have_an_interval_at_their_ends(right: int, low: float, high: float, samples: int) -> None:
    values = {f"p{n:02}": [float(n < right)] * samples for n in range(40)}
    rows = measured(judged(values), 1, samples)
    for name in ("task", f"pass_at_{samples}", f"pass_all_{samples}", f"majority_at_{samples}"):
        interval = rows[name].interval
        if name == "task" and samples > 1 and right == 20:
            continue  # a mean of several texts: resampled
        assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4)), name


def test_the_curve_begins_at_the_mean_and_ends_at_all_samples() -> None:
    texts = judged({"a": [1, 0, 0], "b": [1, 1, 0], "c": [0, 0]})
    points = measure_task_curves(texts, Judging(ks=(1,), rule="r"))
    by_place = {(point.curve, point.start): point for point in points}
    assert list(by_place) == [(curve, k) for curve in ("pass_at_k", "majority_at_k") for k in (1, 2, 3)]
    assert by_place["pass_at_k", 1].value == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert by_place["pass_at_k", 2].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert (by_place["pass_at_k", 3].value, by_place["pass_at_k", 3].n) == (1.0, 2), "c has two samples"
    assert {(point.unit, point.stop - point.start) for point in points} == {("samples", 1)}
    assert measure_task_curves(judged({"a": [1]}), Judging(ks=(1,), rule="r")) == []


def test_many_samples_have_few_points() -> None:
    points = measure_task_curves(judged({"a": [1.0, 0.0] * 20}), Judging(ks=(1,), rule="r"))
    ks = [point.start for point in points if point.curve == "pass_at_k"]
    assert ks[0] == 1
    assert ks[-1] == 40
    assert len(ks) <= 16
