"""Intervals: hand-computed values, a slow oracle, coverage by simulation, and every way of having none."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.stats import identity, mean_interval, ratio_interval, ratio_intervals, share_interval


def ratio(numerator, denominator):
    return numerator / denominator


def slow_bca(rows, value, resamples, seed):
    """BCa written from Efron's formulas, one resample at a time."""
    rng, normal, n = np.random.default_rng(seed), NormalDist(), len(rows)
    drawn = sorted(value(rows[rng.integers(0, n, n)]) for _ in range(resamples))
    z0 = normal.inv_cdf(sum(d < value(rows) for d in drawn) / resamples)
    left_out = np.array([value(np.delete(rows, i, axis=0)) for i in range(n)])
    away = left_out.mean() - left_out
    a = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    ends = []
    for z in (normal.inv_cdf(0.025), normal.inv_cdf(0.975)):
        ends.append(np.quantile(drawn, normal.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))))
    return ends


@pytest.mark.parametrize(
    ("finish", "value"),
    [(identity, lambda rows: rows[:, 0].mean()), (ratio, lambda rows: rows[:, 0].sum() / rows[:, 1].sum())],
)
def test_interval_equals_a_slow_bca(finish, value):
    rng = np.random.default_rng(4)
    rows = np.column_stack([rng.exponential(3, 25), rng.exponential(3, 25) + 1])
    rows = rows[:, :1] if finish is identity else rows
    fast, slow = ratio_interval(rows, finish), slow_bca(rows, value, 8000, seed=5)
    # Monte-Carlo error of a 2.5% quantile from 2000 and 8000 resamples: about 0.03 widths; 0.1 is over 3 of them.
    assert np.allclose([fast.low, fast.high], slow, atol=0.1 * (slow[1] - slow[0]))


def test_ratio_is_of_sums_not_the_mean_of_ratios():
    # 20 prompts 1/1, 20 prompts 0/9: ratio of sums 20/200 = 0.1, mean of ratios 0.5.
    interval = ratio_interval(np.array([[1.0, 1.0], [0.0, 9.0]] * 20), ratio)
    assert interval.low < 0.1 < interval.high < 0.5


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_coverage(kind):
    """400 intervals over 30 prompts. If coverage were 0.90, fewer than 332 hits would come with probability 6e-6; if it
    were 0.975, 400 hits with 4e-5. The stream is fixed, so the test cannot fail by chance once it has passed."""
    rng, hits = np.random.default_rng(11), 0
    for _ in range(400):
        if kind == "mean":
            interval, truth = mean_interval(rng.normal(5, 2, 30).tolist()), 5.0
        else:  # mean 2 over mean 4
            rows = np.column_stack([rng.normal(2, 0.5, 30), rng.normal(4, 0.5, 30)])
            interval, truth = ratio_interval(rows, ratio), 0.5
        hits += interval.low <= truth <= interval.high
    assert 332 <= hits < 400


def test_same_data_same_interval():
    values = np.random.default_rng(0).random(15).tolist()
    assert mean_interval(values) == mean_interval(values)


def test_fewer_than_ten_prompts():
    for interval in (mean_interval([0.1 * i for i in range(9)]), share_interval(4, 9)):
        assert (interval.low, interval.high, interval.reason) == (
            None,
            None,
            "9 prompts: an interval needs at least 10",
        )
    assert mean_interval([1.0]).reason == "1 prompt: an interval needs at least 10"
    assert mean_interval([]).reason == "0 prompts: an interval needs at least 10"
    assert mean_interval([0.1 * i for i in range(10)]).reason is None


@pytest.mark.parametrize(
    "rows",
    [
        [[0.1]] * 12,  # its mean is 0.1 only up to rounding
        [[float(i), 3.0 * i] for i in range(1, 13)],  # every ratio is 1/3
    ],
)
def test_equal_values_have_no_interval(rows):
    interval = ratio_interval(np.array(rows), identity if len(rows[0]) == 1 else ratio)
    assert interval.low is interval.high is None
    assert interval.reason == "resampling the prompts does not change the value"


def test_resamples_without_a_denominator():
    # Only one of 10 prompts has a denominator: 0.9^10 = 35% of the resamples have none.
    interval = ratio_interval(np.array([[1.0, 2.0]] + [[0.0, 0.0]] * 9), ratio)
    assert interval.low is interval.high is None
    assert interval.reason == "some resamples of the prompts have no value"


def test_wilson_by_hand():
    # 5 of 20, z = 1.96: centre (0.25 + z^2/40) / (1 + z^2/20) = 0.34602/1.19207 = 0.29027,
    # half z sqrt(0.25*0.75/20 + z^2/1600) / 1.19207 = 1.95996 * sqrt(0.0117759) / 1.19207 = 0.17842
    interval = share_interval(5, 20)
    assert interval.low == pytest.approx(0.1119, abs=1e-4)
    assert interval.high == pytest.approx(0.4687, abs=1e-4)


def test_wilson_of_none_and_all():
    # 0 of 10: (0, z^2 / (n + z^2)) = 3.8415 / 13.8415 = 0.27754; all of 10 is its mirror image
    assert share_interval(0, 10).low == pytest.approx(0, abs=1e-12)
    assert share_interval(0, 10).high == pytest.approx(0.27754, abs=1e-5)
    assert share_interval(10, 10).low == pytest.approx(0.72246, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_ends_are_finite_or_a_reason_is_given(values):
    interval = mean_interval(values)
    if interval.reason is None:
        assert math.isfinite(interval.low)
        assert math.isfinite(interval.high)
        rounding = 1e-9 * max(map(abs, values))
        assert min(values) - rounding <= interval.low < interval.high <= max(values) + rounding
    else:
        assert interval.low is interval.high is None


def test_many_at_once_are_bit_for_bit_the_single_ones():
    rng = np.random.default_rng(3)
    metrics = [
        (rng.exponential(1, (prompts, 2 if i % 2 else 1)) * 10.0 ** rng.integers(-9, 9), ratio if i % 2 else identity)
        for i, prompts in enumerate([12, 30, 9, 30, 12, 30, 0, 30] * 20)
    ]
    assert ratio_intervals(metrics) == [ratio_interval(*one) for one in metrics]
    assert ratio_intervals([]) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2.0**-200, 2.0**-30, 1024.0]))
def test_the_unit_does_not_matter(seed, unit):
    rows = np.random.default_rng(seed).exponential(1, (14, 1))
    plain, scaled = ratio_interval(rows, identity), ratio_interval(unit * rows, identity)
    assert (scaled.low, scaled.high) == (unit * plain.low, unit * plain.high)
