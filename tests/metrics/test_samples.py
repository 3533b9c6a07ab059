"""Metrics between the samples of a prompt: against sacrebleu, hand numbers, and slow definitions."""

from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from decodebench.metrics.samples import distinct_texts, pair_distinct, self_bleu

PROMPTS = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=2, max_size=4)


def sacrebleu_mean(texts):
    """sacrebleu's own sentence score of each text, except for what it cannot say: two empty texts are the same."""
    bleu, scores = BLEU(effective_order=True, tokenize="none"), []
    for at, text in enumerate(texts):
        others = texts[:at] + texts[at + 1 :]
        joined = [" ".join(f"u{unit}" for unit in units) for units in (text, *others)]
        both_empty = not text and [] in [list(other) for other in others]
        scores.append(1.0 if both_empty else bleu.sentence_score(joined[0], joined[1:]).score / 100)
    return fmean(scores)


@settings(deadline=None)
@given(PROMPTS)
def test_self_bleu_is_that_of_sacrebleu(texts):
    # Equal up to the rounding of 100 * exp(log(100) ...): equal texts have 100.00000000000004 there, and 1 here.
    assert self_bleu(texts) == pytest.approx(sacrebleu_mean(texts), abs=1e-12)


def test_self_bleu_of_long_texts_is_that_of_sacrebleu():
    texts = [[(7 * i * i + at * i) % 50 for i in range(200 + at)] for at in range(3)]
    assert self_bleu(texts) == pytest.approx(sacrebleu_mean(texts), abs=1e-12)
    assert 0 < self_bleu(texts) < 1


def test_self_bleu_by_hand_and_how_other_smoothings_differ():
    # abcd against abxd: 1-grams a b d 3/4, 2-grams ab 1/3, 3-grams 0/2, 4-grams 0/1; the other way round the same.
    # "exp": the first 0 becomes 1/2, the second 1/4: 1/(2 2) and 1/(4 1). (3/4 1/3 1/4 1/4)^(1/4) = (1/64)^(1/4)
    assert self_bleu(["abcd", "abxd"]) == pytest.approx(64**-0.25)  # 0.35355
    # nltk smooths by nothing unless asked (a 0 stands as the smallest float, so BLEU is 0 to 154 places); its method1,
    # which Zhu et al. 2018 use, puts 0.1 for a 0: (3/4 1/3 0.1/2 0.1/1)^(1/4). That is "floor" in sacrebleu.
    method1 = BLEU.compute_bleu([3, 1, 0, 0], [4, 3, 2, 1], 4, 4, smooth_method="floor", smooth_value=0.1)
    assert method1.score / 100 == pytest.approx(0.00125**0.25)  # 0.18803
    # nltk's method3 is "exp". But in nltk a text of 2 units has 0/1 of 3- and 4-grams, which are then smoothed: two
    # equal texts have (1 1 0.1 0.1)^(1/4) = 0.316 by method1. Here they are equal:
    assert self_bleu(["ab", "ab"]) == 1.0


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        ([], None),
        (["abc"], None),
        (["", ""], 1.0),  # both are empty, so they are the same
        (["", "a"], 0.0),
        (["a", "a"], 1.0),
        (["a", "b"], 0.0),
        (["", "", "a"], 2 / 3),  # each empty text has its like, a has none
        (["abcde", "abcde"], 1.0),
        (["abcde", "fghij"], 0.0),
        # aa against a: 1-grams 1/2 (clipped), 2-grams 0/1 -> 1/2: (1/2 1/2)^(1/2); a against aa: 1/1 exp(1 - 2/1)
        (["aa", "a"], (0.5 + 2.718281828459045**-1) / 2),
    ],
)
def test_self_bleu_of_few_and_short_texts(texts, value):
    assert self_bleu(texts) == (None if value is None else pytest.approx(value))


@settings(deadline=None)
@given(PROMPTS, st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_units_matter(texts, random):
    mixed = random.sample([["unit", *(f"u{unit}" for unit in text)][1:] for text in texts], len(texts))
    assert self_bleu(mixed) == pytest.approx(self_bleu(texts))
    assert distinct_texts(mixed) == distinct_texts(texts)
    for n in (1, 2, 3):
        assert pair_distinct(mixed, n) == pytest.approx(pair_distinct(texts, n))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(2, 4))
def test_equal_texts(text, copies):
    assert self_bleu([text] * copies) == 1.0
    assert distinct_texts([text] * copies) == 1.0


@pytest.mark.parametrize(
    ("texts", "n", "value"),
    [
        ([], 1, None),
        (["ab"], 1, None),
        (["", ""], 1, None),
        (["a", "b"], 2, None),  # no text has two units
        (["ab", "cd"], 2, 1.0),  # ab cd: bc is across the seam
        (["ab", "ab"], 2, 0.5),
        (["abab", "abc"], 1, 3 / 7),  # a b c of 4 + 3
        (["abab", "abc"], 2, 3 / 5),  # ab ba bc of 3 + 2
        (["ab", ""], 2, 1.0),  # ab of 1 + 0
        (["aa", "bb", "aa"], 1, (2 / 4 + 1 / 4 + 2 / 4) / 3),
        (["ab", "cd", "", "x"], 2, 1.0),  # five pairs with a 2-gram; that of "" and x is left out
    ],
)
def test_pair_distinct_by_hand(texts, n, value):
    assert pair_distinct(texts, n) == (None if value is None else pytest.approx(value))


@settings(deadline=None)
@given(PROMPTS, st.integers(1, 5))
def test_pair_distinct_is_its_definition(texts, n):
    values = []
    for pair in combinations(texts, 2):
        grams = [tuple(text[at : at + n]) for text in pair for at in range(len(text) - n + 1)]
        if grams:
            values.append(len(set(grams)) / len(grams))
    assert pair_distinct(texts, n) == (pytest.approx(fmean(values)) if values else None)


@pytest.mark.parametrize(
    ("texts", "value"),
    [([], None), (["a"], None), (["", ""], 1), (["a", "b", "a"], 2), (["", "a", "ab"], 3), ([[1], (1,)], 1)],
)
def test_distinct_texts_by_hand(texts, value):
    assert distinct_texts(texts) == value
