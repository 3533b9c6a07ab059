"""Clusters of prompts: the same prompt twice tells nothing new, in no interval, test or rank."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest

from decodebench.stats import (
    clustered_share_interval,
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
from decodebench.stats.clusters import cluster_numbers, effective_clusters, joined
from decodebench.stats.intervals import bootstrap_confidence

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
    """The same resamples, at the level of Student's t: sqrt(20 / 19) 2.093 / 1.96 = 1.096 times as wide."""
    once = ratio_interval(ROWS[:, :columns], finish)
    double = ratio_interval(twice(ROWS[:, :columns]), finish, TWICE)
    assert double.low < once.low < once.high < double.high
    assert (double.high - double.low) / (once.high - once.low) == pytest.approx(1.096, abs=0.03)
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
    """Every prompt twice, and both agree: 20 prompts, though 19 degrees of freedom alone would make it wider."""
    wilson = binomtest(6, 20).proportion_ci(method="wilson")
    found = clustered_share_interval([1] * 12 + [0] * 28, TWICE)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), rel=1e-9)
    assert clustered_share_interval([0] * 40, TWICE) == share_interval(0, 20)
    assert clustered_share_interval([1] * 40, TWICE) == share_interval(20, 20)
    # 38 single prompts and two of one text: 40^2 / (38 + 4)
    assert effective_clusters(cluster_numbers([*range(38), "a", "a"], 40)) == pytest.approx(1600 / 42)


def test_a_share_of_clusters_that_do_not_agree_by_hand():
    """20 clusters of 4 with 1, 2, 1, 2, ... hits: sums differ from their mean 1.5 by 0.5 each, so the variance of the
    share 0.375 is 20 / 19 * 20 * 0.25 / 80^2 = 0.000822, that of 285 independent prompts; there are no more than 80,
    and t with 19 degrees of freedom (2.093) makes 80 * (1.96 / 2.093)^2 = 70.15 of them."""
    values = [float(at < 1 + cluster % 2) for cluster in range(20) for at in range(4)]
    found = clustered_share_interval(values, [cluster for cluster in range(20) for _ in range(4)])
    n, z = 80 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 19)) ** 2, stats.norm.ppf(0.975)
    assert n == pytest.approx(70.15, abs=0.01)
    ends = [0.375 + z**2 / (2 * n) + side * z * math.sqrt(0.375 * 0.625 / n + z**2 / (4 * n**2)) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx([end / (1 + z**2 / n) for end in ends])
    # 10 clusters with no hit and 10 with 3: sums differ by 1.5, variance 20 / 19 * 20 * 2.25 / 80^2, 31.7 prompts
    split = [float(at < 3 * (cluster % 2)) for cluster in range(20) for at in range(4)]
    wide = clustered_share_interval(split, [cluster for cluster in range(20) for _ in range(4)])
    n = 0.375 * 0.625 / (20 / 19 * 45 / 6400) * (z / stats.t.ppf(0.975, 19)) ** 2
    assert wide.high - wide.low == pytest.approx(
        2 * z / (1 + z**2 / n) * math.sqrt(0.375 * 0.625 / n + z**2 / (4 * n**2))
    )


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
        assert b.mean_rank_interval.low <= a.mean_rank_interval.low
        assert b.mean_rank_interval.high >= a.mean_rank_interval.high
        # The tied matches that are added weigh less beside twice as many.
        widths = [each.strength_interval.high - each.strength_interval.low for each in (a, b, c)]
        assert widths[1] == pytest.approx(widths[0], rel=0.1)
        assert widths[2] < 0.8 * widths[1]


def test_fewer_than_ten_clusters_have_no_interval():
    clusters = [at % 9 for at in range(40)]
    told = "9 clusters of 40 prompts: an interval needs at least 10"
    rows = twice(ROWS)
    assert ratio_interval(rows, ratio, clusters).reason == told
    assert clustered_share_interval([1] * 3 + [0] * 37, clusters).reason == told
    assert paired(rows, rows + 1, ratio, clusters).reason == told
    assert subsample_interval(1.0, subsample(lambda kept: 1.0, 40, clusters=clusters), 40).reason == told
    assert standings(np.stack([rows, rows + 1], axis=1), ["higher"] * 2, clusters)[0].strength_interval.reason == told


def test_one_cluster_and_such_as_are_worth_too_few_have_no_interval():
    one, uneven = ["speech"] * 40, [0] * 25 + [*range(15)]
    # 40^2 / (26^2 + 14) = 2.3 clusters of equal size
    told = "15 clusters of 40 prompts, so unequal that they are worth 2.3 of equal size: an interval needs at least 5"
    rows = twice(ROWS)
    for clusters, reason in ((one, "1 cluster of 40 prompts: an interval needs at least 10"), (uneven, told)):
        assert ratio_interval(rows, ratio, clusters).reason == reason
        assert clustered_share_interval([1.0] * 20 + [0.0] * 20, clusters).reason == reason
        difference = paired(rows, rows + 1, ratio, clusters)
        assert (difference.reason, difference.n) == (reason, 40)
        (claimed,) = compare([difference], "higher")
        assert (claimed.verdict, claimed.p, claimed.low, claimed.reason) == ("cannot tell", None, None, reason)
        assert subsample_interval(1.0, subsample(lambda kept: 1.0, 40, clusters=clusters), 40).reason == reason
        for place in standings(np.stack([rows, rows + 1], axis=1), ["higher"] * 2, clusters):
            assert (place.strength_interval.reason, place.mean_rank_interval.reason) == (reason, reason)
            assert (place.tie, place.reason) == (None, reason)


def test_unequal_clusters_have_the_degrees_of_freedom_of_as_many_equal_ones():
    clusters = [0] * 4 + [1] * 4 + [at // 2 for at in range(4, 36)]
    # two of 4 and sixteen of 2: 40^2 / (2 * 16 + 16 * 4) = 16.67
    rows = twice(ROWS)
    assert paired(rows, twice(OTHERS), ratio, clusters).df == pytest.approx(1600 / 96 - 1)
    found = subsample(lambda kept: float(rows[kept, 0].mean()), 40, clusters=clusters)
    assert found.df == pytest.approx(1 / (1 / (1600 / 96 - 1) + 1 / 99))
    # sqrt(C / (C - 1)) t at C = 16.67: 1.0314 * 2.1236 = 2.1903, of which the normal distribution has 97.15% inside
    assert bootstrap_confidence(cluster_numbers(clusters, 40)) == pytest.approx(0.9715, abs=1e-4)


def test_labels_of_several_kinds_are_joined():
    """a and b by their speech, b and c by their text, d and e by nothing that others have, f by a label alone."""
    speech = {"a": "1962", "b": "1962", "d": "1970", "f": "1984"}
    text = {"a": "x", "b": "y", "c": "y", "d": "1962", "e": "z"}
    assert joined(speech, text) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e", "f": "f"}
    assert joined(text) == {"a": "a", "b": "b", "c": "b", "d": "d", "e": "e"}
    assert joined() == {}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_joined_labels_are_connected_components(labels):
    kinds = [{str(at): row[kind] for at, row in enumerate(labels)} for kind in range(3)]
    found = joined(*kinds)
    reach = {a: {b for b in found if any(kind[a] == kind[b] for kind in kinds)} for a in found}
    for _ in found:  # the slow way: who is reached by one step more
        reach = {a: set().union(*(reach[b] for b in near)) for a, near in reach.items()}
    assert all((found[a] == found[b]) == (b in reach[a]) for a in found for b in found)


def test_prompts_that_are_their_own_clusters_change_nothing():
    names = [f"p{at}" for at in range(20)]
    assert ratio_interval(ROWS, ratio, names) == ratio_interval(ROWS, ratio)
    assert paired(ROWS, OTHERS, ratio, names) == paired(ROWS, OTHERS, ratio)
    assert clustered_share_interval([1] * 3 + [0] * 17, names) == share_interval(3, 20)


def test_the_clusters_of_other_prompts_are_refused():
    assert cluster_numbers(["b", "a", "b"], 3).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="the clusters of 2 prompts for 3"):
        cluster_numbers(["a", "b"], 3)
