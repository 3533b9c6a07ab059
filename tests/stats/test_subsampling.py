"""Subsampling: exact for means, a slow oracle, pairs, and every way of having none."""

import math

import numpy as np
import pytest
from scipy import stats

from decodebench.stats import compare, identity, paired, paired_subsamples, subsample, subsample_interval


def mean_of(values):
    return lambda kept: float(values[kept].mean())


def distinct_of(texts):
    return lambda kept: len(np.unique(texts[kept])) / texts[kept].size


def test_all_leave_one_out_subsets_of_a_mean_are_its_standard_error():
    # 12 prompts lack 1 (a tenth, rounded): 12 subsets, all of them used; the jackknife of a mean is s / sqrt(n)
    values = np.random.default_rng(1).random(12)
    seen = subsample(mean_of(values), 12)
    assert len(seen.values_S) == 12
    assert seen.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(12))
    assert seen.df == 5.5  # 1 / (1/11 + 1/11)


def test_random_subsets_of_a_mean():
    values = np.random.default_rng(1).random(300)
    seen = subsample(mean_of(values), 300)
    # 100 subsets: the relative error of their spread is 1 / sqrt(2 * 99) = 7%; 0.25 is over 3 of them
    assert seen.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(300), rel=0.25)
    assert seen.df == pytest.approx(1 / (1 / 299 + 1 / 99))


def test_subsets_lack_a_tenth_and_repeat_nothing():
    sizes = []

    def of(kept):
        assert (np.diff(kept) > 0).all()
        sizes.append(len(kept))
        return float(kept[0] + kept.mean())

    subsample(of, 40)
    assert sizes == [36] * 100


def test_the_interval_is_around_the_value_of_the_whole_set():
    texts = np.random.default_rng(7).integers(0, 400, (50, 20))
    of = distinct_of(texts)
    value, seen = of(np.arange(50)), subsample(of, 50)
    half = stats.t(seen.df).ppf(0.975) * seen.standard_error
    found = subsample_interval(value, of, 50)
    assert [found.low, found.high] == pytest.approx([value - half, value + half])
    assert found == subsample_interval(value, seen, 50)
    # smaller sets have larger values: an interval made of them would lie above
    assert seen.values_S.min() > value


def test_a_bootstrap_would_miss_what_subsampling_finds():
    """The issue's example: resamples repeat texts, so that distinct lies far below the value that it is about."""
    rng = np.random.default_rng(7)
    of = distinct_of(rng.integers(0, 4000, (50, 20)))
    value = of(np.arange(50))
    drawn = [of(rng.integers(0, 50, 50)) for _ in range(200)]
    assert max(drawn) < value
    found = subsample_interval(value, of, 50)
    assert found.low < value < found.high


def test_none_with_a_reason():
    few = subsample_interval(0.5, lambda kept: 0.5, 9)
    assert (few.low, few.high, few.reason) == (None, None, "9 prompts: an interval needs at least 10")
    missing = subsample_interval(0.5, lambda kept: None if 3 in kept else 0.5, 20)
    assert (missing.low, missing.reason) == (None, "some subsets of the prompts have no value")
    assert subsample_interval(0.5, lambda kept: math.nan, 20).reason == missing.reason
    flat = subsample_interval(0.5, lambda kept: 0.1 * 5, 20)
    assert (flat.low, flat.reason) == (None, "leaving prompts out does not change the value")


def test_pairs_see_the_same_subsets():
    rng = np.random.default_rng(4)
    b = rng.normal(0, 5, 12)
    a = b + rng.normal(1, 1, 12)
    found = paired_subsamples(a.mean(), subsample(mean_of(a), 12), b.mean(), subsample(mean_of(b), 12))
    rows = paired(a[:, None], b[:, None], identity)
    assert (found.value, found.standard_error) == pytest.approx((rows.value, rows.standard_error))
    assert found.changed is None
    assert compare([found], "higher")[0].verdict == "better"


def test_pairs_without_an_answer():
    a, b, few = subsample(mean_of(np.arange(20.0)), 20), subsample(lambda kept: None, 20), subsample(mean_of, 5)
    found = paired_subsamples(1.0, a, 0.5, b)
    assert (found.value, found.standard_error, found.reason) == (0.5, None, "some subsets of the prompts have no value")
    assert paired_subsamples(None, a, 0.5, a).reason == "one of the two has no value"
    with pytest.raises(ValueError, match="20 and 5 prompts are not pairs"):
        paired_subsamples(1.0, a, 1.0, few)
    same = compare([paired_subsamples(1.0, a, 1.0, a)], "higher")[0]
    assert (same.verdict, same.reason) == ("indistinguishable", "the two are equal for every prompt")


def test_coverage_of_distinct():
    """200 sets of 30 texts of 40 words by Zipf's law. If coverage were 0.85, 182 hits or more would come with
    probability 8e-3; if it were 0.95, fewer with 6e-3. The stream is fixed, so the test cannot fail by chance."""
    rng = np.random.default_rng(9)
    chance = 1 / np.arange(1, 2001)
    everything = np.arange(30)
    draw = lambda: rng.choice(2000, (30, 40), p=chance / chance.sum())  # noqa: E731
    truth = np.mean([distinct_of(draw())(everything) for _ in range(1000)])
    hits = 0
    for _ in range(200):
        of = distinct_of(draw())
        found = subsample_interval(of(everything), of, 30)
        hits += found.low <= truth <= found.high
    assert hits >= 182
