"""What several samples are worth, against enumeration of all subsets and against tables computed by hand."""

from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.metrics.tries import best_at_k, chosen_at_k, majority_at_k, worst_at_k


def over_subsets(n: int, k: int, of: Callable[[Sequence[int]], float]) -> float:
    return fmean(of(subset) for subset in combinations(range(n), k))


def plurality(answers: Sequence[str | None], values: Sequence[float], subset: Sequence[int]) -> float:
    """By counting: each of the commonest answers is taken equally often, with the values that its samples have."""
    voting = [at for at in subset if answers[at] is not None]
    if not voting:
        return fmean(values[at] for at in subset)
    votes = {answers[at]: sum(answers[other] == answers[at] for other in voting) for at in voting}
    tied = [answer for answer, count in votes.items() if count == max(votes.values())]
    return fmean(fmean(values[at] for at in voting if answers[at] == answer) for answer in tied)


# 1 - C(n - c, k) / C(n, k) and C(c, k) / C(n, k)
@pytest.mark.parametrize(
    ("n", "c", "k", "any_right", "all_right"),
    [
        (5, 2, 1, 2 / 5, 2 / 5),
        (5, 2, 2, 1 - 3 / 10, 1 / 10),  # C(3, 2) = 3 and C(2, 2) = 1 of C(5, 2) = 10
        (5, 2, 3, 1 - 1 / 10, 0),  # C(3, 3) = 1 of 10
        (5, 2, 4, 1, 0),  # four of five hold a right one
        (4, 4, 3, 1, 1),
        (4, 0, 3, 0, 0),
        (10, 7, 2, 1 - 3 / 45, 21 / 45),
        (200, 1, 100, 0.5, 0),  # one of 200 is among half of them
    ],
)
def test_pass_at_k_and_pass_all_k_by_hand(n: int, c: int, k: int, any_right: float, all_right: float) -> None:
    values = [1.0] * c + [0.0] * (n - c)
    assert best_at_k(values, k) == pytest.approx(any_right, rel=1e-12)
    assert worst_at_k(values, k) == pytest.approx(all_right, rel=1e-12)


def test_graded_values_by_hand() -> None:
    # Pairs of 0.2, 0.5 and 0.8: the larger is 0.5, 0.8 and 0.8, the smaller 0.2, 0.2 and 0.5.
    assert best_at_k([0.5, 0.2, 0.8], 2) == pytest.approx(2.1 / 3)
    assert worst_at_k([0.5, 0.2, 0.8], 2) == pytest.approx(0.9 / 3)


def test_the_likeliest_of_k_by_hand() -> None:
    # The likeliest is wrong, and in 2 of 3 pairs; of the third pair the right one is taken.
    assert chosen_at_k([0, 1, 0], [-0.1, -0.5, -0.9], 2) == pytest.approx(1 / 3)
    # Equal keys: half of each.
    assert chosen_at_k([0, 1], [-0.5, -0.5], 2) == 0.5


@pytest.mark.parametrize(
    ("answers", "values", "k", "value"),
    [
        # The pairs of A A B C: AA gives A; AB twice, AC twice: a tie, half of A; BC: half of B, which is wrong as C is.
        ("AABC", (1, 1, 0, 0), 2, (1 + 4 * 0.5 + 0) / 6),
        ("AABC", (1, 1, 0, 0), 3, (1 + 1 + 1 / 3 + 1 / 3) / 4),  # AAB, AAC: A; ABC twice: a third of each
        ("AABC", (1, 1, 0, 0), 4, 1),
        ("ABBC", (1, 0, 0, 0), 4, 0),  # most say B
        ("AB--", (1, 0, 0, 0), 2, (0.5 + 2 * 1 + 2 * 0 + 0) / 6),  # AB; A- twice; B- twice; -- votes for nothing
        ("----", (0, 0, 0, 0), 3, 0),
        ("A", (1,), 1, 1),
    ],
)
def test_majority_by_hand(answers: str, values: Sequence[float], k: int, value: float) -> None:
    assert majority_at_k([None if a == "-" else a for a in answers], values, k) == pytest.approx(value, rel=1e-12)


samples = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", None]),
        st.sampled_from([0.0, 0.25, 1.0]),
        st.sampled_from([-3.0, -2.0, -1.5, -1.0]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(samples, st.data())
def test_all_of_them_are_the_mean_over_all_subsets(
    drawn: list[tuple[str | None, float, float]], data: st.DataObject
) -> None:
    answers, values, keys = (list(column) for column in zip(*drawn, strict=True))
    n = len(drawn)
    k = data.draw(st.integers(1, n))

    def likeliest(subset: Sequence[int]) -> float:
        most = max(keys[at] for at in subset)
        return fmean(values[at] for at in subset if keys[at] == most)

    assert best_at_k(values, k) == pytest.approx(over_subsets(n, k, lambda s: max(values[at] for at in s)))
    assert worst_at_k(values, k) == pytest.approx(over_subsets(n, k, lambda s: min(values[at] for at in s)))
    assert chosen_at_k(values, keys, k) == pytest.approx(over_subsets(n, k, likeliest))
    # Samples with one answer have one value in nearly every task; where they have not, the mean of the answer's own.
    by_answer = {answer: fmean(v for a, v in zip(answers, values, strict=True) if a == answer) for answer in answers}
    alike = [by_answer[answer] for answer in answers]
    expected = over_subsets(n, k, lambda s: plurality(answers, alike, s))
    assert majority_at_k(answers, values, k) == pytest.approx(expected)


@given(samples)
def test_one_sample_is_the_mean(drawn: list[tuple[str | None, float, float]]) -> None:
    answers, values, keys = (list(column) for column in zip(*drawn, strict=True))
    mean = pytest.approx(fmean(values))
    for value in (best_at_k(values, 1), worst_at_k(values, 1), chosen_at_k(values, keys, 1)):
        assert value == mean
    assert majority_at_k(answers, values, 1) == mean


def test_many_samples_are_no_larger_than_a_float() -> None:
    # Half of 2,200 say A and are right, the others B. Of three either two say the same, or all: A as often as B.
    assert majority_at_k(["A", "B"] * 1100, [1.0, 0.0] * 1100, 3) == pytest.approx(0.5, rel=1e-9)
    assert majority_at_k(["A", "A", "B"] * 12, [1.0, 1.0, 0.0] * 12, 36) == pytest.approx(1)
    assert best_at_k([1.0] + [0.0] * 2999, 1500) == pytest.approx(0.5)
