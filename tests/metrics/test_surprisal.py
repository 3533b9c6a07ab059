"""Surprisal, entropy, their gap, bits per character, coherence, binned curves: by hand, slowly, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodebench.metrics.surprisal import (
    binned,
    bits_and_characters,
    coherence,
    entropy_sum,
    gap_sum,
    logprob_sum,
    mean_surprisal,
    perplexity,
    ratio,
    text_surprisal,
)
from decodebench.records import Reading

HALF, QUARTER = math.log(1 / 2), math.log(1 / 4)


def reading(logprobs=(), entropies=None):
    entropies = (0.0,) * len(logprobs) if entropies is None else entropies
    return Reading(
        cell="c1",
        prompt_id="p1",
        sample=0,
        scorer="self",
        token_ids=tuple(range(len(logprobs))),
        token_logprobs=tuple(logprobs),
        token_entropies=tuple(entropies),
        embedding=(),
        prompt_embedding=(),
    )


def test_surprisal_by_hand():
    # 1/2 and 1/4: log 2 + 2 log 2 over 2 tokens
    assert text_surprisal([HALF, QUARTER]) == (pytest.approx(1.5 * math.log(2)),)
    assert coherence(reading([HALF, QUARTER])) == (pytest.approx(-1.5 * math.log(2)),)
    # Of a set each token weighs the same: texts of 1 and 3 tokens, (1 + 2 + 2 + 2) log 2 / 4, not the mean of 1 and 2.
    sums = np.array([logprob_sum([HALF]), logprob_sum([QUARTER] * 3)]).mean(axis=0)
    assert mean_surprisal(*sums) == pytest.approx(7 / 4 * math.log(2))
    assert mean_surprisal(*sums) == pytest.approx(np.log(perplexity(*sums)))


def test_a_sure_text_has_no_surprisal_and_no_minus():
    for value in (
        text_surprisal([0.0])[0],
        mean_surprisal(np.float64(0), np.float64(2)),
        bits_and_characters([0.0], "a")[0],
    ):
        assert value == 0
        assert math.copysign(1, value) == 1


def test_no_token_has_no_value():
    assert text_surprisal([]) is None
    assert coherence(reading()) is None
    assert gap_sum(reading()) == entropy_sum([]) == (0.0, 0.0)


def test_numbers_that_are_not_finite_go_through():
    assert text_surprisal([-math.inf, -1.0]) == (math.inf,)
    assert coherence(reading([-math.inf, -1.0])) == (-math.inf,)
    assert bits_and_characters([-math.inf], "a") == (math.inf, 1.0)
    assert gap_sum(reading([-math.inf], [1.0])) == (math.inf, 1.0)
    assert math.isnan(text_surprisal([math.nan])[0])
    assert math.isnan(gap_sum(reading([-1.0], [math.nan]))[0])


def test_entropy_and_gap_by_hand():
    assert entropy_sum([1.0, 2.5]) == (3.5, 2.0)
    # surprisals 1 and 4, entropies 2 and 1.5: (1 - 2) + (4 - 1.5) = 1.5 over 2 tokens
    assert gap_sum(reading([-1.0, -4.0], [2.0, 1.5])) == (1.5, 2.0)
    assert ratio(*gap_sum(reading([-1.0, -4.0], [2.0, 1.5]))) == 0.75
    with pytest.raises(ValueError, match="zip"):
        gap_sum(reading([-1.0, -4.0], [2.0]))


def drawn_gap(rng, texts, length, kept):
    """The gap of texts drawn from a chain over 5 tokens, each step from the `kept` likeliest ones; its standard error.

    Every surprisal and entropy is of the untruncated chain, whose next distribution depends on the last token.
    """
    chain = rng.dirichlet(np.full(5, 0.7), size=5)
    gaps = []
    for _ in range(texts):
        last, logprobs, entropies = 0, [], []
        for _ in range(length):
            p = chain[last]
            shown = np.where(p >= np.sort(p)[-kept], p, 0)
            last = rng.choice(5, p=shown / shown.sum())
            logprobs.append(float(np.log(p[last])))
            entropies.append(float(-(p * np.log(p)).sum()))
        gaps.append(ratio(*gap_sum(reading(logprobs, entropies))))
    return np.mean(gaps), np.std(gaps, ddof=1) / math.sqrt(texts)


def test_texts_drawn_from_the_scorer_have_no_gap_and_truncated_ones_a_negative_one():
    """The mean of 400 texts is normal enough: 4 standard errors are exceeded with probability 6e-5. The streams are
    fixed, so what passed once passes."""
    gap, error = drawn_gap(np.random.default_rng(3), 400, 30, kept=5)
    assert abs(gap) < 4 * error
    gap, error = drawn_gap(np.random.default_rng(3), 400, 30, kept=2)
    assert gap < -4 * error


@pytest.mark.parametrize(
    ("logprobs", "text", "sums"),
    [
        ([HALF, QUARTER], "abcd", (3.0, 4.0)),  # 1 + 2 bits
        ([QUARTER], "가", (2.0, 1.0)),
        ([QUARTER], "\u1100\u1161", (2.0, 1.0)),  # the same syllable in jamo
        ([QUARTER], "", (2.0, 0.0)),  # an EOS alone: bits without a character
        ([], "abc", (0.0, 0.0)),  # a text without tokens is not certain
        ([HALF], " ", (1.0, 1.0)),
    ],
)
def test_bits_and_characters_by_hand(logprobs, text, sums):
    assert bits_and_characters(logprobs, text) == pytest.approx(sums)


def test_binned_by_hand():
    # positions 0 1 | 2 3 | 4: texts 1 2 3 4 5 and 10 20 30
    sums, counts = binned([[1, 2, 3, 4, 5], [10, 20, 30]], 2)
    assert sums.tolist() == [33, 37, 5]
    assert counts.tolist() == [4, 3, 1]


def test_binned_leaves_out_positions_without_a_value_and_lets_the_infinite_through():
    sums, counts = binned([[1, math.nan, math.nan, math.nan, math.inf]], 2)
    assert sums.tolist() == [1, 0, math.inf]
    assert counts.tolist() == [1, 0, 1]


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_binned_without_positions(texts):
    assert [part.tolist() for part in binned(texts, 4)] == [[], []]


def test_binned_refuses_a_width_of_nothing():
    with pytest.raises(ValueError, match="width=0: allowed: 1 or more positions"):
        binned([[1.0]], 0)


@given(st.lists(st.lists(st.floats(-9, 9), max_size=12), max_size=4), st.integers(1, 15))
def test_binned_is_its_definition(texts, width):
    sums, counts = binned(texts, width)
    assert len(sums) == len(counts) == -(-max(map(len, texts), default=0) // width)
    for b in range(len(sums)):
        inside = [value for text in texts for value in text[b * width : (b + 1) * width]]
        assert sums[b] == pytest.approx(sum(inside), abs=1e-9)
        assert counts[b] == len(inside) > 0
