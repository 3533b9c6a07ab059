"""n-grams, repeated passages and loops against hand tables, definitions written out slowly, and properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.metrics.repetition import (
    distinct,
    diversity,
    leading,
    longest_repeat,
    loop_onset,
    loop_period,
    ngram_counts,
    rep,
    repeated_positions,
    seq_rep,
)

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
    assert distinct(*counts) == ((counts[0] / counts[1],) if counts[1] else None)
    assert seq_rep(*counts) == ((1 - counts[0] / counts[1],) if counts[1] else None)


def test_diversity_by_hand():
    # 1 2 1 2 3: 2-grams 12 21 12 23 -> 3/4; 3-grams 121 212 123 -> 3/3; 4-grams 1212 2123 -> 2/2; product 3/4
    counts = [count for n in (2, 3, 4) for count in ngram_counts([1, 2, 1, 2, 3], n)]
    assert counts == [3, 4, 3, 3, 2, 2]
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
    value = distinct(*ngram_counts(units, n))
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


# --- the script of SimCTG -------------------------------------------------------------------------------------------


def simctg(texts):
    """What the script's `measure_repetition_and_diversity` comes to, told in other words.

    Words of each text; an n-gram counts only where another word follows it. Unique and all n-grams are summed over the
    texts; rep-n is in percent, rounded to two places, and the diversity is the product of the rounded values.
    """
    percent = []
    for n in (2, 3, 4):
        unique = total = 0
        for text in texts:
            words = text.split()
            followed = {}
            for place, _follower in enumerate(words[n:]):
                followed.setdefault(" ".join(words[place : place + n]), []).append(place)
            unique += len(followed)
            total += sum(map(len, followed.values()))
        percent.append(round(100 * (1 - unique / total), 2))
    product = 1.0
    for value in percent:
        product *= 1 - value / 100
    return (*percent, product)


@pytest.mark.parametrize(
    ("text", "n", "counts"),
    [
        ("a b a b", 2, (2, 2)),  # ab ba, and not the last ab
        ("a b a b", 3, (1, 1)),
        ("a b a b", 4, (0, 0)),  # its only 4-gram is its last
        ("a b", 2, (0, 0)),
        ("a", 2, (0, 0)),
        ("", 2, (0, 0)),
    ],
)
def test_the_last_ngram_dropped_by_hand(text, n, counts):
    assert ngram_counts(text.split(), n, drop_last=True) == counts


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=5, max_size=30).map(" ".join), min_size=1, max_size=6))
def test_published_tables_can_be_matched(texts):
    counts = [[c for n in (2, 3, 4) for c in ngram_counts(text.split(), n, drop_last=True)] for text in texts]
    u2, t2, u3, t3, u4, t4 = map(sum, zip(*counts, strict=True))
    *percent, product = simctg(texts)
    assert [round(100 * rep(unique, total), 2) for unique, total in [(u2, t2), (u3, t3), (u4, t4)]] == percent
    # Each rounded factor is off by 0.00005 at most, the others are at most 1 (1e-12: floating point).
    assert diversity(u2, t2, u3, t3, u4, t4) == pytest.approx(product, abs=3 * 0.00005 + 1e-12)


# --- where, and how long --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "n", "repeated"),
    [
        ("abab", 1, [False, False, True, True]),
        ("abab", 2, [False, False, True]),
        ("aaaa", 2, [False, True, True]),
        ("ab", 3, []),
        ("", 1, []),
    ],
)
def test_repeated_positions_by_hand(units, n, repeated):
    assert repeated_positions(units, n) == repeated


@given(SMALL_TEXTS, st.integers(1, 4))
def test_repeated_positions_are_seq_rep_laid_out(units, n):
    repeated = repeated_positions(units, n)
    ngrams = [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]
    assert repeated == [ngram in ngrams[:place] for place, ngram in enumerate(ngrams)]
    unique, total = ngram_counts(units, n)
    assert (sum(repeated), len(repeated)) == (total - unique, total)


@pytest.mark.parametrize(
    ("units", "length"),
    [
        ("", 0),
        ("a", 0),
        ("abc", 0),
        ("aba", 1),
        ("aa", 1),
        ("aaaa", 3),  # at 0 and at 1: the places overlap
        ("ababab", 4),  # abab at 0 and at 2
        ("abcxabcy", 3),
        ("abcdexabcdeyabcd", 5),
        ("banana", 3),  # ana
    ],
)
def test_longest_repeat_by_hand(units, length):
    assert longest_repeat(units) == length


def slow_longest_repeat(units):
    """Every pair of places, compared for as long as they agree."""
    longest = 0
    for one in range(len(units)):
        for other in range(one + 1, len(units)):
            length = 0
            while other + length < len(units) and units[one + length] == units[other + length]:
                length += 1
            longest = max(longest, length)
    return longest


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 30), st.integers(0, 30))
def test_longest_repeat_equals_the_definition(units, start, length):
    units = units + units[start : start + length]  # so that long repeats are tried too
    assert longest_repeat(units) == slow_longest_repeat(units)
    assert longest_repeat([f"u{unit}" for unit in units]) == longest_repeat(units)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(2, 6))
def test_a_text_written_several_times_repeats_all_but_one(units, times):
    assert longest_repeat(units * times) >= len(units) * (times - 1)


@pytest.mark.parametrize(
    ("units", "onset"),
    [
        ([], None),
        ([7] * 29, None),
        ([7] * 30, 0),
        ([1, 2] + [7] * 40, 2),
        ([9] * 5 + [1, 2, 3] * 10, 5),  # where the first 1 2 3 begins, not the second
        ([9, 3] + [1, 2, 3] * 10, 1),  # the 3 before fits the period too
        ([9, 2, 3] + [1, 2, 3] * 10 + [1], 1),
        ([1, 2, 3] * 10 + [9] + [1, 2, 3] * 10, 31),  # the loop was left: only the last one counts
        ([1, 2, 3] * 10 + [4], None),
        ([*range(100), *list(range(7)) * 5], 100),
    ],
)
def test_loop_onset_by_hand(units, onset):
    assert loop_onset(units) == onset


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=12),
    st.lists(st.integers(0, 2), min_size=1, max_size=9),
    st.integers(20, 60),
)
def test_loop_onset_equals_the_definition(start, unit, length):
    units = start + (unit * length)[:length]
    period, onset = loop_period(units), loop_onset(units)
    if period is None:
        assert onset is None
        return
    # The shortest cut after which the rest is nothing but its own first period over and over.
    slow = next(s for s in range(len(units)) if units[s:] == (units[s : s + period] * len(units))[: len(units) - s])
    assert onset == slow <= len(units) - max(3 * period, 30)


@pytest.mark.parametrize(("length", "cut"), [(0, ()), (2, (1, 2)), (3, (1, 2, 3)), (4, None)])
def test_leading_units(length, cut):
    assert leading((1, 2, 3), length) == cut
