"""The expected best of N trials, against brute force; and the chance to be the best."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.stats import best_of, chance_of_best, expected_best, identity


def test_by_hand() -> None:
    # of 1, 2, 4 two are drawn: max is 2, 4, 4
    assert expected_best(np.array([4.0, 1.0, 2.0])).tolist() == pytest.approx([7 / 3, 10 / 3, 4])
    # the best is the smallest: 1, 1, 2
    assert expected_best(np.array([4.0, 1.0, 2.0]), higher=False).tolist() == pytest.approx([7 / 3, 4 / 3, 1])


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=7), st.booleans())
def test_it_is_the_mean_over_all_subsets(scores: list[float], higher: bool) -> None:
    best = max if higher else min
    slow = [np.mean([best(some) for some in combinations(scores, n)]) for n in range(1, len(scores) + 1)]
    assert expected_best(np.array(scores), higher=higher).tolist() == pytest.approx(slow, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 5), st.booleans(), st.integers(0, 10**6))
def test_the_band_holds_the_curve_of_resampled_prompts(trials: int, higher: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(rng.random((30, 1)), identity) for _ in range(trials)]
    found = best_of([rows], higher=higher)[0]
    assert found.reason is None
    assert found.low_N is not None
    assert found.high_N is not None
    assert (found.low_N < found.high_N).all()
    # the mean of all trials is where every curve begins; from there it goes to the better side
    assert found.values_N[0] == pytest.approx(np.mean([row.mean() for row, _ in rows]))
    assert (np.diff(found.values_N if higher else -found.values_N) >= -1e-12).all()


def test_few_prompts_have_no_band() -> None:
    found = best_of([[(np.ones((9, 1)), identity)]])[0]
    assert (found.low_N, found.reason) == (None, "9 prompts: an interval needs at least 10")
    clustered = best_of([[(np.ones((30, 1)), identity)]], [n // 10 for n in range(30)])[0]
    assert clustered.reason == "3 clusters of 30 prompts: an interval needs at least 10"


def test_the_chance_to_be_the_best() -> None:
    rng = np.random.default_rng(0)
    same = rng.random((40, 1))
    # equal ones share; one that is better at every prompt is always the best
    assert chance_of_best([(same, identity), (same, identity)]).tolist() == [0.5, 0.5]
    assert chance_of_best([(same, identity), (same + 0.1, identity)]).tolist() == [0, 1]
    assert chance_of_best([(same, identity), (same + 0.1, identity)], higher=False).tolist() == [1, 0]
    # wins at half of the prompts by 1, loses at the others by 1: a coin, 2,000 resamples (5 standard errors: 0.056)
    coin = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None]
    chances = chance_of_best([(coin, identity), (0 * coin, identity)])
    assert chances.sum() == pytest.approx(1)
    assert chances[0] == pytest.approx(0.5, abs=0.056)
