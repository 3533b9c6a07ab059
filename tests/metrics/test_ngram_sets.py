"""What is counted over a set of texts: distinct, EAD and Zipf by hand, against slow definitions, and on subsets."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from decodebench.metrics.repetition import NgramSet, ead, zipf_exponent

SETS = st.lists(st.lists(st.text("abc", max_size=8), max_size=3), max_size=6)


def slow_frequencies(texts_by_prompt, n):
    return Counter(
        text[start : start + n]
        for texts in texts_by_prompt
        for text in texts
        for start in range(len(text))
        if len(text[start : start + n]) == n
    )


def test_distinct_over_a_set_by_hand():
    texts = [["abab", "b"], ["aba"], [], ["c"]]
    # 2-grams: ab ba ab | ab ba: 2 unique of 5. Across the ends of texts there is none.
    grams = NgramSet(texts, 2)
    assert grams.counts() == (2, 5)
    assert grams.distinct() == 2 / 5
    assert sorted(grams.frequencies()) == [2, 3]  # ba, ab
    assert grams.distinct(np.array([1])) == 1.0  # ab ba
    assert grams.counts(np.array([0, 3])) == (2, 3)
    # no prompt with a 2-gram, and no prompt at all
    for none in (np.array([2, 3]), np.array([], dtype=np.intp)):
        assert grams.counts(none) == (0, 0)
        assert grams.distinct(none) is None
        assert len(grams.frequencies(none)) == 0
    # 1-grams: a b a b b a b a c
    assert NgramSet(texts, 1).counts() == (3, 9)


@pytest.mark.parametrize("texts", [[], [[]], [[""]], [["a"], ["b", "c"]]])
def test_a_set_without_ngrams(texts):
    grams = NgramSet(texts, 2)
    assert grams.counts() == (0, 0)
    assert grams.distinct() is None
    assert len(grams.frequencies()) == 0


def test_units_need_no_order():
    assert NgramSet([[[("a", 1), 7, None, ("a", 1), 7]]], 2).counts() == (3, 4)


@given(SETS, st.integers(1, 5), st.data())
def test_every_subset_equals_the_definition(texts, n, data):
    grams = NgramSet(texts, n)
    chosen = data.draw(st.lists(st.sampled_from(range(len(texts))), unique=True)) if texts else []
    index = np.array(chosen, dtype=np.intp)
    slow = slow_frequencies([texts[prompt] for prompt in chosen], n)
    assert grams.counts(index) == (len(slow), slow.total())
    assert sorted(grams.frequencies(index)) == sorted(slow.values())
    assert grams.counts(index[::-1]) == grams.counts(np.concatenate([index, index])) == grams.counts(index)
    assert grams.counts() == grams.counts(np.arange(len(texts)))


def test_numbers_that_would_not_fit_in_a_product():
    # 400 units in 12-grams: 400^12 = 1.7e31 is beyond 64 bits.
    text = list(range(400))
    assert NgramSet([[text], [text[::-1]], [text]], 12).counts() == (2 * 389, 3 * 389)


@pytest.mark.parametrize(
    ("unique", "total", "vocabulary", "value"),
    [
        (2, 2, 2, 4 / 3),  # 2 / (2 (1 - 1/4))
        (1, 1, 10, 1.0),  # 1 / (10 (1 - 9/10))
        (3, 4, 3, 81 / 65),  # 3 / (3 (1 - (2/3)^4)) = 1 / (65 / 81)
        (1, 9, 1, 1.0),  # one thing only: it is always the one expected
        (0, 0, 10, None),
    ],
)
def test_ead_by_hand(unique, total, vocabulary, value):
    assert ead(unique, total, vocabulary) == (value if value is None else pytest.approx(value, rel=1e-15))


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_ead_equals_exact_arithmetic(vocabulary, total):
    expected = vocabulary * (1 - Fraction(vocabulary - 1, vocabulary) ** total)
    assert ead(7, total, vocabulary) == pytest.approx(float(7 / expected), rel=1e-12)


def test_ead_of_a_vocabulary_beyond_what_floats_tell_apart():
    # ((V - 1) / V) rounds to 1: the plain formula divides by 0. Nothing comes twice by chance: EAD is distinct.
    assert ead(150, 200, 262_144.0**4) == pytest.approx(0.75, rel=1e-12)


def test_ead_needs_a_vocabulary():
    with pytest.raises(ValueError, match="a vocabulary of 0: allowed is 1 or more"):
        ead(1, 1, 0)


def test_zipf_by_hand():
    # frequency c / rank^s on ranks 1, 2, 4 has slope -s, but ranks are 1, 2, 3: take frequencies 36, 9, 4 = 36 / r^2
    assert zipf_exponent(np.array([9.0, 36.0, 4.0])) == pytest.approx(2.0)
    # two ranks: log(8 / 4) / log(2 / 1)
    assert zipf_exponent(np.array([4.0, 8.0])) == pytest.approx(1.0)
    equal = zipf_exponent(np.full(7, 0.3))
    assert equal == 0.0
    assert math.copysign(1, equal) == 1  # not -0.0
    for few in ([], [5.0]):
        assert zipf_exponent(np.array(few)) is None


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=60), st.integers(2, 80))
def test_zipf_equals_the_regression_of_scipy(frequencies, ranks):
    largest = sorted(frequencies, reverse=True)[:ranks]
    slope = linregress(np.log(np.arange(1, len(largest) + 1)), np.log(largest)).slope
    assert zipf_exponent(np.array(frequencies, dtype=float), ranks) == pytest.approx(-slope, abs=1e-12)


def test_zipf_leaves_out_the_tail_beyond_rank_5000():
    head = 1e6 / np.arange(1, 5001)
    assert zipf_exponent(np.concatenate([np.ones(3000), head])) == pytest.approx(1.0, rel=1e-12)


def test_zipf_of_a_subset():
    grams = NgramSet([["aaab"], ["ab"], ["cccc"]], 1)
    # without the last prompt: a 4, b 2
    assert zipf_exponent(grams.frequencies(np.array([0, 1]))) == pytest.approx(1.0)
