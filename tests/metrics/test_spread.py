"""Compression ratio and Vendi score: values by hand, the definitions written out slowly, and what has no value."""

import gzip
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.metrics.spread import compression_ratio, vendi_score

VECTORS = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.floats(-5, 5), min_size=width, max_size=width).filter(lambda v: np.linalg.norm(v) > 1e-3),
        min_size=1,
        max_size=8,
    )
)


def slow_vendi(rows):
    """exp(-trace(K/N log(K/N))) with every cosine written out, on the N x N kernel."""
    n = len(rows)
    kernel = [
        [sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b) for b in rows] for a in rows
    ]
    eigenvalues = np.linalg.eigh(np.array(kernel) / n)[0]
    return math.exp(-sum(v * math.log(v) for v in eigenvalues if v > 0))


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        ([[3.0, 4.0]], 1.0),
        ([[1.0, 0.0]] * 5, 1.0),  # one text five times
        ([[2.0, 0.0], [0.0, 1.0]], 2.0),  # eigenvalues 1/2 1/2: exp(log 2)
        ([[1.0, 0, 0], [0, 5.0, 0], [0, 0, 0.1]], 3.0),
        # cosine 1/2: eigenvalues of [[1, 1/2], [1/2, 1]]/2 are 3/4 and 1/4: exp(3/4 log(4/3) + 1/4 log 4) = 4 / 3^0.75
        ([[1.0, 0.0], [1.0, math.sqrt(3)]], 4 / 3**0.75),  # 1.7548
        ([[1.0, 0.0], [-1.0, 0.0]], 1.0),  # opposite: eigenvalues 1 and 0, as if equal
        # twice x, once y: 2/3 and 1/3: exp(2/3 log(3/2) + 1/3 log 3) = 3 / 2^(2/3)
        ([[1.0, 0.0], [4.0, 0.0], [0.0, 1.0]], 3 / 2 ** (2 / 3)),  # 1.8899
    ],
)
def test_vendi_by_hand(rows, value):
    assert vendi_score(np.array(rows)) == pytest.approx(value)


@pytest.mark.parametrize(
    "rows", [np.empty((0, 4)), np.empty((0, 0)), [[1.0, 0.0], [0.0, 0.0]], [[1.0, math.nan]], [[math.inf, 1.0]]]
)
def test_vendi_without_a_value(rows):
    assert vendi_score(np.array(rows)) is None


@settings(deadline=None)
@given(VECTORS)
def test_vendi_is_its_definition(rows):
    # x log x of an eigenvalue that is 0 up to rounding (1e-17) is 4e-16: the tolerance covers eight of them.
    assert vendi_score(np.array(rows)) == pytest.approx(slow_vendi(rows), rel=1e-9)


@settings(deadline=None)
@given(VECTORS, st.floats(0.1, 10))
def test_vendi_keeps_its_range_and_does_not_change_with_copies_order_or_scale(rows, scale):
    embeddings = np.array(rows)
    value = vendi_score(embeddings)
    assert 1 <= value <= min(embeddings.shape)
    for same in (embeddings[::-1] * scale, np.concatenate([embeddings] * 3)):
        assert vendi_score(same) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("texts", [[], [""], ["", "", ""]])
def test_compression_without_a_character(texts):
    assert compression_ratio(texts) is None


def test_compression_by_hand():
    # A gzip file is 18 bytes of frame and the deflated data: "a" becomes 3 bytes (3 bits of head, 8 of a, 7 of end).
    assert compression_ratio(["a"]) == 1 / 21
    # Joined by newlines: 3 bytes a \n b, deflated to 3 + 3 x 8 + 7 = 34 bits, 5 bytes.
    assert compression_ratio(["a", "b"]) == 3 / 23
    assert compression_ratio([" "]) == 1 / 21  # white space is text


def test_compression_is_the_sizes_and_stays_the_same():
    texts = ["그 사람은 웃었다.", "the quick brown fox", "the quick brown dog"] * 20
    data = "\n".join(texts).encode()
    value = compression_ratio(texts)
    assert value == compression_ratio(texts)
    # Nothing is lost: what is divided by is the size of a file that holds these bytes.
    packed = gzip.compress(data, 6, mtime=0)
    assert gzip.decompress(packed) == data
    assert value == len(data) / len(packed)
    assert compression_ratio([unicodedata.normalize("NFD", text) for text in texts]) == value


def test_repeated_texts_compress_better_and_only_within_the_window():
    rng = np.random.default_rng(0)
    different = ["".join(map(chr, rng.integers(97, 123, 400))) for _ in range(100)]
    same = compression_ratio(different[:1] * 100)
    assert same > 50 > 2 > compression_ratio(different) > 1
    # 40 kB away, a second copy of all texts is out of gzip's sight; right behind its first, each is found.
    beyond, beside = different * 2, [text for text in different for _ in range(2)]
    assert compression_ratio(beyond) == pytest.approx(compression_ratio(different), rel=0.01)
    assert compression_ratio(beside) > 1.8 * compression_ratio(different)


def test_compression_takes_text_that_is_no_valid_unicode():
    assert compression_ratio(["\ud800"]) == 3 / 23  # three bytes of a lone surrogate, 3 + 3 x 9 + 7 = 37 bits


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=50), max_size=10))
def test_compression_is_positive_or_missing(texts):
    value = compression_ratio(texts)
    assert (value is None) == (not any(text.strip("\n") for text in texts))
    assert value is None or value > 0
