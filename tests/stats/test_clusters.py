"""Clusters of prompts: the same prompt twice tells nothing new, in no interval, test or rank."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from decodebench.stats import (
    compare,
    identity,
    mean_interval,
    paired,
    ratio_interval,
    share_interval,
    standings,
    subsample,
    subsample_interval,
)
from decodebench.stats.clusters import cluster_numbers, effective_prompts

RNG = np.random.default_rng(3)
ROWS = RNG.gamma(2.0, 3.0, (20, 2)) + np.array([0.0, 9.0])
OTHERS = ROWS + RNG.normal((1.0, 0.0), 1.0, (20, 2))
TWICE = [at // 2 for at in range(40)]


def twice(rows):
    return np.repeat(rows, 2, axis=0)


def ratio(a, b):
    return a / b


@pytest.mark.parametrize(("finish", "columns"), [(identity, 1), (ratio, 2)])
def test_every_prompt_twice_has_the_interval_of_every_prompt_once(finish, columns):
    once = ratio_interval(ROWS[:, :columns], finish)
    double = ratio_interval(twice(ROWS[:, :columns]), finish, TWICE)
    assert (double.low, double.high) == pytest.approx((once.low, once.high), rel=1e-9)
    naive = ratio_interval(twice(ROWS[:, :columns]), finish)
    # sqrt(19 / 39) of the width by the formula of a mean, which the bootstrap comes near
    assert (naive.high - naive.low) / (once.high - once.low) == pytest.approx(math.sqrt(0.5), abs=0.08)


def test_every_prompt_twice_has_the_test_of_every_prompt_once():
    once, double = paired(ROWS, OTHERS, ratio), paired(twice(ROWS), twice(OTHERS), ratio, TWICE)
    assert double.n == 40
    assert (double.df, double.changed) == (19, 20)
    assert (double.value, double.standard_error) == pytest.approx((once.value, once.standard_error), rel=1e-9)
    naive = paired(twice(ROWS), twice(OTHERS), ratio)
    a, b, c = (compare([each], "higher")[0] for each in (once, double, naive))
    assert (b.p, b.low, b.high) == pytest.approx((a.p, a.low, a.high), rel=1e-9)
    assert c.p < a.p / 2


def test_clusters_of_different_sizes_by_hand():
    """The mean over prompts is a ratio over clusters, sum of values / sum of sizes: its linearised standard error is
    sqrt(C / (C - 1) sum over clusters of (sum - mean size)^2) / prompts (Cochran 1977), which the jackknife nears."""
    sizes = [1, 2, 3] * 20
    clusters = [at for at, size in enumerate(sizes) for _ in range(size)]
    level = RNG.normal(0, 1, 60)
    values = level[clusters] + RNG.normal(0, 0.2, 120)
    sums = np.bincount(clusters, values)
    error = math.sqrt(60 / 59 * ((sums - values.mean() * np.array(sizes)) ** 2).sum()) / 120
    found = paired(values[:, None], np.zeros((120, 1)), identity, clusters)
    assert found.standard_error == pytest.approx(error, rel=0.05)
    interval = mean_interval(values, clusters)
    half = stats.t.ppf(0.975, 59) * error
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert error > 1.3 * values.std() / math.sqrt(120)


def test_a_share_counts_a_cluster_once():
    wilson = binomtest(6, 20).proportion_ci(method="wilson")
    found = share_interval(12, 40, TWICE)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), rel=1e-9)
    assert share_interval(0, 40, TWICE) == share_interval(0, 20)
    # 38 single prompts and two of one text: 40^2 / (38 + 4)
    assert effective_prompts([*range(38), "a", "a"], 40) == pytest.approx(1600 / 42)


def test_subsets_leave_whole_clusters_out():
    values = twice(ROWS[:, :1])[:, 0]
    seen = []

    def of(kept):
        seen.append(kept)
        return float(values[kept].mean())

    double, once = subsample(of, 40, clusters=TWICE), subsample(lambda kept: float(ROWS[kept, 0].mean()), 20)
    of_cluster = [np.bincount(np.array(TWICE)[kept], minlength=20) for kept in seen]
    assert all(sorted(counts.tolist()) == [0, 0, *[2] * 18] for counts in of_cluster)
    assert all((np.diff(kept) > 0).all() for kept in seen)
    assert (double.prompts, double.clusters) == (40, 20)
    assert (double.standard_error, double.df) == pytest.approx((once.standard_error, once.df), rel=1e-9)


def test_every_prompt_twice_ranks_as_every_prompt_once():
    values = np.stack([ROWS, OTHERS, OTHERS - 0.3], axis=1)
    once, double = standings(values, ["higher", "lower"]), standings(twice(values), ["higher", "lower"], TWICE)
    naive = standings(twice(values), ["higher", "lower"])
    for a, b, c in zip(once, double, naive, strict=True):
        assert (a.n, b.n) == (20, 40)
        assert b.mean_rank == pytest.approx(a.mean_rank)
        assert (b.mean_rank_interval.low, b.mean_rank_interval.high) == pytest.approx(
            (a.mean_rank_interval.low, a.mean_rank_interval.high)
        )
        # The tied matches that are added weigh less beside twice as many.
        widths = [each.strength_interval.high - each.strength_interval.low for each in (a, b, c)]
        assert widths[1] == pytest.approx(widths[0], rel=0.1)
        assert widths[2] < 0.8 * widths[1]


def test_fewer_than_ten_clusters_have_no_interval():
    clusters = [at % 9 for at in range(40)]
    told = "9 clusters of 40 prompts: an interval needs at least 10"
    rows = twice(ROWS)
    assert ratio_interval(rows, ratio, clusters).reason == told
    assert share_interval(3, 40, clusters).reason == told
    assert paired(rows, rows + 1, ratio, clusters).reason == told
    assert subsample_interval(1.0, subsample(lambda kept: 1.0, 40, clusters=clusters), 40).reason == told
    assert standings(np.stack([rows, rows + 1], axis=1), ["higher"] * 2, clusters)[0].strength_interval.reason == told


def test_prompts_that_are_their_own_clusters_change_nothing():
    names = [f"p{at}" for at in range(20)]
    assert ratio_interval(ROWS, ratio, names) == ratio_interval(ROWS, ratio)
    assert paired(ROWS, OTHERS, ratio, names) == paired(ROWS, OTHERS, ratio)
    assert share_interval(3, 20, names) == share_interval(3, 20)


def test_the_clusters_of_other_prompts_are_refused():
    assert cluster_numbers(["b", "a", "b"], 3).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="the clusters of 2 prompts for 3"):
        cluster_numbers(["a", "b"], 3)
