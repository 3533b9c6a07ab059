"""Metrics against the position in the text, by hand: bins, their widths, what is averaged, and what has no value."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from decodebench.metrics import measure_curves
from decodebench.metrics.corpus import corpus
from metrics_data import EOS, generation, given, reading


def points(texts, readings=(), unit="tokens"):
    """The points by curve and start."""
    found = measure_curves(corpus(texts, unit=unit, readings=readings), unit=unit)
    assert len({(point.curve, point.start) for point in found}) == len(found)
    return {(point.curve, point.start): point for point in found}


def surprising(*surprisals, **fields):
    """A text whose tokens have these surprisals; no token comes twice."""
    return generation(range(1, len(surprisals) + 1), token_logprobs=tuple(-s for s in surprisals), **fields)


def test_means_over_eight_positions():
    found = points([surprising(*[1.0] * 8, 3.0, 4.0, prompt_id="a"), surprising(*[2.0] * 8, prompt_id="b")])
    first, last = found["surprisal", 0], found["surprisal", 8]
    assert (first.value, first.start, first.stop, first.n) == (1.5, 0, 8, 2)  # (1 + 2) / 2
    assert (last.value, last.start, last.stop, last.n) == (3.5, 8, 16, 1)  # (3 + 4) / 2: only a reaches it
    assert (first.cell, first.model, first.strategy, first.unit) == ("c1", "tiny", "greedy", "tokens")
    assert first.version == "1"
    assert (first.ci_low, first.reason) == (None, "2 prompts: an interval needs at least 10")
    assert ("entropy", 0) not in found  # nobody read them


def test_samples_are_averaged_within_their_prompt():
    found = points(
        [
            surprising(*[1.0] * 8, prompt_id="a"),
            surprising(*[4.0] * 4, prompt_id="a", sample=1),
            surprising(*[5.0] * 2, prompt_id="b"),
        ]
    )
    # a: (8 * 1 + 4 * 4) / 12 = 2; b: 5
    assert (found["surprisal", 0].value, found["surprisal", 0].n) == ((2 + 5) / 2, 2)


def test_of_a_search_only_the_best_text_counts():
    found = points([surprising(1.0, 1.0, is_search=True), surprising(*[9.0] * 20, sample=1, is_search=True)])
    assert {key: p.value for key, p in found.items() if key[0] == "surprisal"} == {("surprisal", 0): 1.0}


@pytest.mark.parametrize(
    ("length", "width", "count"),
    [(1, 8, 1), (8, 8, 1), (9, 8, 2), (256, 8, 32), (257, 16, 17), (512, 16, 32), (513, 32, 17), (1100, 64, 18)],
)
def test_points_grow_wider_where_they_would_be_too_many(length, width, count):
    # 257 / 16 = 16.1 points, 513 / 32 = 16.03, 1100 / 64 = 17.2
    values = [float(at) for at in range(length)]
    found = [p for (curve, _), p in points([surprising(*values), surprising(1.0, prompt_id="q")]).items()
             if curve == "surprisal"]  # fmt: skip
    assert [p.start for p in found] == [width * at for at in range(count)]
    assert all(p.stop - p.start == width for p in found)
    ends = [min(width * (at + 1), length) for at in range(count)]
    means = [np.mean(values[p.start : end]) for p, end in zip(found, ends, strict=True)]
    # the text of one token with 1.0 has a part in the first point alone
    assert found[0].value == pytest.approx((means[0] + 1.0) / 2)
    assert [p.value for p in found[1:]] == pytest.approx(means[1:])


def test_repetition_by_hand():
    # 1 2 3 4 1 2 3 4 1 2: the 4-grams that end at 3, 4, 5, 6 are new, those at 7, 8, 9 are not; 0 to 2 end none.
    found = points([generation([1, 2, 3, 4] * 2 + [1, 2])])
    assert found["rep_4", 0].value == 1 / 5
    assert found["rep_4", 8].value == 1.0
    # the EOS has a surprisal and is no unit of the text
    ended = points([generation([*range(1, 9), EOS], finish_reason="eos")])
    assert {start for curve, start in ended if curve == "surprisal"} == {0, 8}
    assert {start for curve, start in ended if curve == "rep_4"} == {0}


def test_units_of_curves():
    found = points([generation([1] * 9, text="a b a b a b")], unit="words")
    # a b a b, b a b a, a b a b: the third again; by token nothing changes
    assert (found["rep_4", 0].value, found["rep_4", 0].unit) == (pytest.approx(1 / 3), "words")
    assert {(p.unit, p.start) for p in found.values() if p.curve == "surprisal"} == {("tokens", 0), ("tokens", 8)}


def test_entropy_is_the_scorers():
    a, b = generation([1, 2, 3], prompt_id="a"), generation([1], prompt_id="b")
    found = points([a, b], readings=[reading(a, token_entropies=(1.0, 2.0, 6.0))])
    assert (found["entropy", 0].value, found["entropy", 0].n) == (3.0, 1)  # b was not read


def test_people_have_curves_too():
    people = [given([1, 2], prompt_id="a", token_logprobs=(-2.0, -4.0))]
    point = points(people)["surprisal", 0]
    assert (point.strategy, point.cell, point.value) == ("human", "h", 3.0)
    without = [given([], text="a b c d e", prompt_id="a")]  # of a file: no tokens
    assert {curve for curve, _ in points(without, unit="words")} == {"rep_4"}


@pytest.mark.parametrize("texts", [[generation([])], [generation([5])], [generation([EOS], finish_reason="eos")]])
def test_texts_too_short_for_a_point_have_none(texts):
    assert ("rep_4", 0) not in points(texts)
    assert all(point.value is not None for point in points(texts).values())


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
@pytest.mark.parametrize("strategy", ["greedy", "human"])
def test_a_number_that_is_not_finite_takes_its_point_alone(bad, strategy):
    texts = [surprising(*[1.0] * 16, prompt_id=f"p{at:02}", strategy=strategy, finish_reason="end") for at in range(12)]
    texts[3] = generation(range(16), prompt_id="p03", strategy=strategy, token_logprobs=(-1.0,) * 15 + (bad,))
    readings = [reading(text) for text in texts]
    readings[5] = reading(texts[5], token_entropies=(1.0,) * 15 + (-bad,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = points(texts, readings=readings)
    for curve in ("surprisal", "entropy"):
        lost, kept = found[curve, 8], found[curve, 0]
        assert (lost.value, lost.reason, lost.n) == (None, "not a finite number for every text", 0)
        assert (lost.ci_low, lost.ci_high) == (None, None)
        assert kept.value is not None
        assert kept.n == 12


def test_intervals_over_prompts():
    found = points([surprising(*[float(at)] * 8, prompt_id=f"p{at:02}") for at in range(1, 13)])
    point = found["surprisal", 0]
    assert point.value == 6.5
    assert point.ci_low < 6.5 < point.ci_high
    assert point.reason is None


@settings(deadline=None, max_examples=30)
@drawn(
    st.lists(st.lists(st.floats(0, 50), max_size=40), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_any_order_of_the_store_and_a_slow_definition(lists, random):
    texts = [surprising(*values, prompt_id=f"p{at // 2}", sample=at % 2) for at, values in enumerate(lists)]
    found = points(texts)
    assert points(random.sample(texts, len(texts))) == found
    for (curve, start), point in found.items():
        if curve == "surprisal":
            of_prompts = [
                [value for values in lists[at : at + 2] for value in values[start : point.stop]]
                for at in range(0, len(lists), 2)
            ]
            means = [np.mean(values) for values in of_prompts if values]
            assert (point.value, point.n) == (pytest.approx(np.mean(means)), len(means))
