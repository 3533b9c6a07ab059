"""n-gram counts and loops against hand tables, definitions written out slowly, and properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.metrics.repetition import distinct, diversity, diversity_counts, loop_period, ngram_counts, rep

SMALL_TEXTS = st.lists(st.integers(0, 2), max_size=40)


@pytest.mark.parametrize(
    ("units", "n", "counts"),
    [
        ("abab", 1, (2, 4)),  # a b
        ("abab", 2, (2, 3)),  # ab ba | ab
        ("abab", 3, (2, 2)),  # aba bab
        ("abab", 4, (1, 1)),  # abab: the last n-gram counts
        ("abab", 5, (0, 0)),
        ("", 1, (0, 0)),
        ("a", 1, (1, 1)),
        ("a", 2, (0, 0)),
        ("aaaa", 2, (1, 3)),
    ],
)
def test_ngram_counts_by_hand(units, n, counts):
    assert ngram_counts(units, n) == counts
    assert distinct(units, n) == ((counts[0] / counts[1],) if counts[1] else None)


def test_diversity_by_hand():
    # 1 2 1 2 3: 2-grams 12 21 12 23 -> 3/4; 3-grams 121 212 123 -> 3/3; 4-grams 1212 2123 -> 2/2; product 3/4
    counts = diversity_counts([1, 2, 1, 2, 3])
    assert counts == (3, 4, 3, 3, 2, 2)
    assert diversity(*counts) == 0.75
    assert rep(*counts[:2]) == 0.25


@given(SMALL_TEXTS, st.integers(1, 4))
def test_counts_equal_the_definition(units, n):
    seen = []
    for start in range(len(units)):
        ngram = units[start : start + n]
        if len(ngram) == n:
            seen.append(ngram)
    first_seen = [ngram for place, ngram in enumerate(seen) if ngram not in seen[:place]]
    assert ngram_counts(units, n) == (len(first_seen), len(seen))


@given(SMALL_TEXTS.filter(len), st.integers(1, 4))
def test_distinct_is_a_share_and_repeating_the_text_lowers_it(units, n):
    value = distinct(units, n)
    if value is None:
        assert len(units) < n
        return
    assert 0 < value[0] <= 1
    # Every n-gram of the other copies was there before; only the n - 1 across the seam may be new.
    unique, total = ngram_counts(units * 20, n)
    assert unique <= ngram_counts(units, n)[0] + n - 1
    # With L >= n units: unique <= L - n + 1 + n - 1 = L, total = 20 L - n + 1 > 19 L.
    assert unique / total < 1 / 19


@given(SMALL_TEXTS)
def test_names_of_units_do_not_matter(units):
    renamed = [f"u{unit}" for unit in units]
    assert ngram_counts(units, 2) == ngram_counts(renamed, 2)
    assert loop_period(units) == loop_period(renamed)


def slow_loop_period(units):
    """The definition read aloud: build the loop from one period and compare it with every long enough ending."""
    for period in range(1, 51):
        for length in range(1, len(units) + 1):
            if length < 3 * period or length < 30:
                continue
            ending = list(units[len(units) - length :])
            if ending == (ending[:period] * length)[:length]:
                return period
    return None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 1), max_size=8),
    st.lists(st.integers(0, 1), min_size=1, max_size=60),
    st.integers(20, 190),
    st.lists(st.integers(0, 1), max_size=1),
)
def test_loop_equals_the_definition(start, unit, length, end):
    units = start + (unit * length)[:length] + end
    assert loop_period(units) == slow_loop_period(units)


@pytest.mark.parametrize(
    ("units", "period"),
    [
        ([], None),
        ([7], None),
        ([7] * 29, None),  # 29 units: 30 are needed
        ([7] * 30, 1),
        ([1, 2, 3] * 10, 3),  # 30 units
        ([1, 2, 3] * 9 + [1, 2], None),  # 29 units
        ([9] * 5 + [1, 2, 3] * 10, 3),  # what came before does not matter
        ([1, 2, 3] * 10 + [4], None),  # the loop was left again
        (list(range(7)) * 4 + [0, 1], 7),  # 30 units: 4 periods and 2 units more
        (list(range(7)) * 4 + [0], None),
        (list(range(50)) * 3, 50),
        ((list(range(50)) * 3)[1:], None),  # 149 of 150 units
        (list(range(51)) * 3, None),  # the period is too long
        ([3, 4] * 50, 2),  # the smallest period, not 4, 6, ...
    ],
)
def test_loop_by_hand(units, period):
    assert loop_period(units) == period


@given(st.lists(st.integers(0, 5), max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_repeating_a_unit_long_enough_is_a_loop(start, unit):
    found = loop_period(start + unit * 30)  # 30 periods cover at least 30 units
    assert found is not None
    assert found <= len(unit)
