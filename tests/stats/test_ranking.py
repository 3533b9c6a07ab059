"""Ranks: fronts by hand, Bradley-Terry against closed forms and a bootstrap, ties in chains, few prompts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.stats import Interval, no_interval, pareto_front, standings
from decodebench.stats.ranking import bradley_terry, tie_groups


def interval(low, high):
    return Interval(low=low, high=high)


def test_pareto_front_by_hand():
    # quality (higher) and time (lower): a is best in quality, c in time, b between; d is worse than b in both,
    # e as good as b and slower, f lacks a value
    values = np.array([[3, 9], [2, 5], [1, 1], [1.5, 6], [2, 6], [np.nan, 0]])
    assert pareto_front(values, ["higher", "lower"]) == [True, True, True, False, False, False]


def test_equal_strategies_are_both_on_the_front():
    assert pareto_front(np.array([[1.0, 2], [1, 2], [0, 2]]), ["higher", "higher"]) == [True, True, False]
    assert pareto_front(np.array([[np.nan], [0.0]]), ["higher"]) == [False, True]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_the_front_is_what_nothing_dominates(points):
    def dominated(p):
        return any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)

    front = pareto_front(np.array(points, dtype=float), ["higher", "higher"])
    assert front == [not dominated(p) for p in points]
    assert any(front)


def test_a_metric_without_direction_ranks_nothing():
    for ranking in (lambda d: pareto_front(np.ones((2, 1)), d), lambda d: standings(np.ones((12, 2, 1)), d)):
        with pytest.raises(ValueError, match="without direction"):
            ranking(["none"])


def test_two_strategies_have_the_log_odds_of_their_wins():
    # 14 wins of 20, one tied match more: odds 14.5 / 6.5, strengths +-log(odds) / 2
    values = np.array([[[1.0], [0.0]]] * 14 + [[[0.0], [1.0]]] * 6)
    found = standings(values, ["higher"])
    half = math.log(14.5 / 6.5) / 2
    assert [one.strength for one in found] == pytest.approx([half, -half])
    # The error of log odds of 21 matches with chance p = 14.5/21: half of 1 / sqrt(21 p (1-p)), times sqrt(21/20);
    # the sum of squares is 14 (1-p)^2 + 6 p^2 + (0.5-p)^2 where the model has 21 p (1-p).
    p = 14.5 / 21
    squares = 14 * (1 - p) ** 2 + 6 * p**2 + (0.5 - p) ** 2
    error = math.sqrt(21 / 20 * squares) / (2 * 21 * p * (1 - p))
    t_19 = 2.0930
    assert found[0].strength_interval.high - half == pytest.approx(t_19 * error, rel=1e-4)
    assert [one.mean_rank for one in found] == pytest.approx([1.3, 1.7])
    assert found[0].mean_rank_interval.low < 1.3 < found[0].mean_rank_interval.high
    assert {one.n for one in found} == {20}


def test_ties_are_half_a_win_and_share_ranks():
    values = np.array([[[1.0], [1.0], [0.0]]] * 12)
    a, b, c = standings(values, ["higher"])
    assert a.strength == pytest.approx(b.strength)
    assert (a.mean_rank, b.mean_rank, c.mean_rank) == (1.5, 1.5, 3.0)
    assert (a.tie, b.tie, c.tie) == (1, 1, 2)
    assert a.reason == "resampling the prompts does not change the value"  # of the mean rank


def test_lower_is_better_turns_the_order_round():
    values = np.random.default_rng(0).normal(0, 1, (30, 4, 2))
    up, down = standings(values, ["higher", "higher"]), standings(-values, ["lower", "lower"])
    assert up == down


def test_errors_are_those_of_resampled_prompts():
    rng = np.random.default_rng(6)
    better = 0.4 * np.arange(4) + rng.normal(0, 1, (60, 4))
    wins = (better[:, :, None] > better[:, None, :]).astype(float)
    strength, error = bradley_terry(wins)
    drawn = [bradley_terry(wins[rng.integers(0, 60, 60)])[0] for _ in range(500)]
    assert strength.mean() == pytest.approx(0, abs=1e-9)
    # 500 resamples: relative error of a spread 1 / sqrt(1000) = 3%; the two methods differ by order 1/60
    assert error == pytest.approx(np.std(drawn, axis=0), rel=0.12)


def test_one_that_wins_always_has_a_finite_strength_and_width():
    values = np.array([[[2.0], [1.0]]] * 50)
    best, worst = standings(values, ["higher"])
    # 50.5 to 0.5
    assert best.strength == pytest.approx(math.log(101) / 2)
    assert 0 < best.strength_interval.low < best.strength < best.strength_interval.high
    assert (best.tie, worst.tie) == (1, 2)


def test_a_strategy_without_values_and_prompts_without_values():
    values = np.random.default_rng(0).normal(0, 1, (20, 3, 2))
    values[:, 2] = np.nan
    values[0, 1] = np.nan
    a, b, none = standings(values, ["higher", "higher"])
    assert (a.n, b.n, none.n) == (19, 19, 0)
    assert (none.strength, none.tie, none.reason) == (None, None, "met no other strategy")
    assert a.strength is not None
    assert (a.mean_rank, a.reason) == (None, "no prompt has a value of every strategy")


@pytest.mark.parametrize("prompts", [0, 1, 9])
def test_few_prompts(prompts):
    values = np.random.default_rng(0).normal(0, 1, (prompts, 2, 1))
    found = standings(values, ["higher"])[0]
    assert found.strength_interval.low is found.mean_rank_interval.low is found.tie is None
    assert found.n == prompts
    assert (found.strength is None) == (prompts == 0)
    assert (
        found.reason
        == {
            0: "met no other strategy",
            1: "1 prompt: an interval needs at least 10",
            9: "9 prompts: an interval needs at least 10",
        }[prompts]
    )


def test_a_single_strategy_meets_no_other():
    found = standings(np.ones((12, 1, 1)), ["higher"])[0]
    assert (found.strength, found.reason, found.mean_rank) == (None, "met no other strategy", 1.0)


def test_chains_of_ties_by_hand():
    # a (4..6) and b (3..5) overlap, b and c (2..3.5) too, a and c do not: c begins a group, d (1..2.5) joins it
    intervals = [interval(2, 3.5), interval(4, 6), interval(1, 2.5), interval(3, 5), no_interval("few")]
    assert tie_groups([3.0, 5.0, 2.0, 4.0, 1.0], intervals) == [2, 1, 2, 1, None]
    # b and c both overlap the wide a, not each other: c is not in their group
    assert tie_groups([5.0, 4.0, 3.0], [interval(0, 10), interval(3.5, 4.5), interval(2, 3)]) == [1, 1, 2]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 3)), max_size=10))
def test_members_of_a_group_overlap_in_pairs(drawn):
    intervals = [interval(v - w, v + w) for v, w in drawn]
    groups = tie_groups([v for v, _ in drawn], intervals)
    for i, a in enumerate(intervals):
        for j, b in enumerate(intervals):
            if groups[i] == groups[j]:
                assert a.low <= b.high
                assert b.low <= a.high
    assert sorted(set(groups)) == list(range(1, len(set(groups)) + 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_strategies_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    values, order = rng.normal(0, 1, (15, 4, 2)), rng.permutation(4)
    plain, other = standings(values, ["higher", "lower"]), standings(values[:, order], ["higher", "lower"])
    for place, arm in enumerate(order):
        assert other[place].strength == pytest.approx(plain[arm].strength, abs=1e-6)
        assert other[place].mean_rank == pytest.approx(plain[arm].mean_rank)
