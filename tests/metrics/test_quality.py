"""measure(): aggregation over samples and prompts by hand, units, perplexity, and everything that has no value."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.errors import ConfigError, StoreError
from decodebench.metrics import METRICS, measure
from metrics_data import EOS, by_name, generation


def test_order_and_identity_of_rows():
    rows = measure([generation([1, 2])])
    assert [row.metric for row in rows] == [metric.name for metric in METRICS]
    assert {(row.cell, row.model, row.strategy) for row in rows} == {("c1", "tiny", "greedy")}
    assert measure([]) == []


def test_samples_are_averaged_within_their_prompt():
    rows = by_name(
        measure(
            [
                generation([1, 1], prompt_id="a", sample=0),  # distinct_1 1/2, 2 tokens
                generation([1, 2], prompt_id="a", sample=1),  # 2/2
                generation([1, 1, 1, 1], prompt_id="b"),  # 1/4, 4 tokens
            ]
        )
    )
    # prompt a: (1/2 + 1) / 2 = 3/4; prompt b: 1/4; mean 1/2. The three texts alone would give 7/12.
    assert rows["distinct_1"].value == 0.5
    assert rows["length"].value == 3.0  # (2 + 4) / 2
    assert rows["distinct_1"].n == 2
    # 2-grams, unique and all: prompt a (1, 1) twice -> (1, 1); prompt b (1, 3); 1 - (1 + 1) / (1 + 3) = 1/2
    assert rows["rep_2"].value == 0.5


def test_pooled_ratio_is_the_ratio_of_sums_for_equal_sample_counts():
    texts = [[1, 2, 1, 2], [3], [4, 4, 4], [5, 6, 7, 8]]  # the one-token text adds (0, 0) and is not left out
    cells = [generation(ids, prompt_id=f"p{i // 2}", sample=i % 2) for i, ids in enumerate(texts)]
    # unique 2-grams 2 + 0 + 1 + 3 = 6; all 3 + 0 + 2 + 3 = 8
    assert by_name(measure(cells))["rep_2"].value == pytest.approx(1 - 6 / 8)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=30), min_size=1, max_size=5))
def test_diversity_is_the_product_of_its_row(texts):
    rows = by_name(measure([generation(ids, prompt_id=f"p{i}") for i, ids in enumerate(texts)]))
    product = math.prod(1 - rows[f"rep_{n}"].value for n in (2, 3, 4))
    assert rows["diversity"].value == pytest.approx(product)


def test_search_answers_with_rank_0_but_costs_all():
    ranks = [
        generation([1, 2, 3], sample=0, is_search=True, computed_tokens=20),
        generation([1, 1, 1, 1], sample=1, is_search=True, computed_tokens=0),
    ]
    rows = by_name(measure(ranks))
    assert rows["distinct_1"].value == 1.0
    assert rows["length"].value == 3.0
    assert rows["delivered_tokens"].value == 7.0  # 3 + 4
    assert rows["computed_tokens"].value == 20.0
    assert by_name(measure(ranks[1:]))["length"].reason == "no text"  # rank 0 was not stored


def test_perplexity_by_hand():
    half, eighth = math.log(1 / 2), math.log(1 / 8)
    rows = by_name(
        measure(
            [
                generation([1, 2, EOS], prompt_id="a", token_logprobs=(half, half, half), finish_reason="eos"),
                generation([1], prompt_id="b", token_logprobs=(eighth,)),
            ]
        )
    )
    # over tokens: (3 ln 2 + ln 8) / 4 = 6/4 ln 2 -> 2^1.5; over texts: (2 + 8) / 2. The EOS is scored.
    assert rows["perplexity"].value == pytest.approx(2**1.5)
    assert rows["perplexity_text"].value == pytest.approx(5.0)
    assert rows["perplexity"].direction == "none"


@given(st.floats(-20, -0.01), st.integers(1, 30))
def test_perplexity_of_equal_tokens_is_one_over_their_probability(logprob, tokens):
    rows = by_name(measure([generation([1] * tokens, token_logprobs=(logprob,) * tokens)]))
    assert rows["perplexity"].value == pytest.approx(math.exp(-logprob))
    assert rows["perplexity_text"].value == pytest.approx(math.exp(-logprob))


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_logprob_that_is_not_finite(bad):
    rows = by_name(measure([generation([1, 2]), generation([1, 2], prompt_id="q", token_logprobs=(-1.0, bad))]))
    for name in ("perplexity", "perplexity_text"):
        assert rows[name].value is None
        assert rows[name].reason == "prompt 'q', sample 0: not a finite number"
        assert rows[name].n == 0
    assert rows["distinct_1"].value == 1.0  # the others do not suffer


def test_a_perplexity_that_overflows():
    rows = by_name(measure([generation([1], token_logprobs=(-1000.0,))]))
    assert rows["perplexity"].reason == "the value is not a finite number"
    assert rows["perplexity_text"].reason == "prompt 'p1', sample 0: not a finite number"


def test_short_texts_are_left_out_and_told():
    rows = by_name(measure([generation([1], prompt_id="a"), generation([1, 2, 1], prompt_id="b")]))
    assert (rows["distinct_2"].value, rows["distinct_2"].n) == (1.0, 1)  # 12 21; prompt a has no 2-gram
    assert rows["distinct_2"].reason == "1 prompt: an interval needs at least 10"
    assert (rows["rep_2"].value, rows["rep_2"].n) == (0.0, 1)
    for name in ("distinct_4", "rep_4", "diversity"):
        assert (rows[name].value, rows[name].reason, rows[name].n) == (None, "no text has 4 tokens", 0)


def test_empty_texts():
    rows = by_name(measure([generation([], text=""), generation([5], prompt_id="b", text=" \n")]))
    assert rows["empty_share"].value == 1.0
    assert rows["length"].value == 0.5
    assert rows["eos_share"].value == 0.0
    nothing = by_name(measure([generation([])]))
    assert nothing["perplexity"].reason == nothing["perplexity_text"].reason == "no text has a token"
    assert nothing["loop_share"].value == 0.0


def test_eos_is_no_content():
    rows = by_name(measure([generation([5, 5, EOS], finish_reason="eos")]))
    assert rows["length"].value == 2.0
    assert rows["distinct_1"].value == 0.5
    assert rows["eos_share"].value == 1.0
    assert rows["delivered_tokens"].value == 3.0


def test_loop_share_counts_texts():
    loop, prose = [1, 2] * 20, list(range(40))
    rows = by_name(measure([generation(ids, sample=i) for i, ids in enumerate([loop, prose, prose, prose])]))
    assert rows["loop_share"].value == 0.25


def test_units_and_their_suffix():
    one = generation([1, 2, 3, 4, 5], text="a b  a")
    characters, words = by_name(measure([one], unit="characters")), by_name(measure([one], unit="words"))
    assert characters["length_characters"].value == 6.0  # a _ b _ _ a
    assert characters["distinct_1_characters"].value == 0.5  # a b _ of 6
    assert words["length_words"].value == 3.0
    assert words["length_words"].unit == "words"
    assert words["distinct_1_words"].value == pytest.approx(2 / 3)
    assert words["diversity_words"].reason == "no text has 4 words"
    # What does not depend on the unit keeps its name.
    assert {metric.name for metric in METRICS if not metric.by_unit} <= words.keys()
    assert not {metric.name for metric in METRICS if metric.by_unit} & words.keys()


def test_korean_is_counted_in_syllables_and_eojeol():
    composed, jamo = "나는 나는", "\u1102\u1161\u1102\u1173\u11ab 나는"  # the first word spelled in jamo
    assert composed != jamo
    for unit, length, distinct in [("characters", 5.0, 3 / 5), ("words", 2.0, 1 / 2)]:  # 나 는 _ 나 는
        for text in (composed, jamo):
            rows = by_name(measure([generation([1], text=text)], unit=unit))
            assert rows[f"length_{unit}"].value == length
            assert rows[f"distinct_1_{unit}"].value == pytest.approx(distinct)


def test_intervals_and_their_reasons():
    few = [generation([1] * (i + 1), prompt_id=f"p{i}") for i in range(9)]
    many = [generation([1] * (i + 1), prompt_id=f"p{i:02}") for i in range(12)]
    short, rows = by_name(measure(few))["length"], by_name(measure(many))
    assert (short.value, short.ci_low, short.reason) == (5.0, None, "9 prompts: an interval needs at least 10")
    assert rows["length"].ci_low < rows["length"].value < rows["length"].ci_high
    assert rows["length"].reason is None
    # Wilson, one text per prompt, 0 of 12: (0, z^2 / (12 + z^2)) = 3.8415 / 15.8415
    assert rows["eos_share"].ci_low == pytest.approx(0, abs=1e-12)
    assert rows["eos_share"].ci_high == pytest.approx(0.24249, abs=1e-5)
    # Two texts per prompt are not independent. At worst they are one: where none of them hits, that is Wilson again.
    twice = by_name(measure(many + [replace(one, sample=1) for one in many]))
    assert (twice["eos_share"].value, twice["eos_share"].ci_high) == (0.0, rows["eos_share"].ci_high)
    ended = [replace(one, sample=1, finish_reason="eos" if at < 6 else "length") for at, one in enumerate(many)]
    half = by_name(measure(many + ended))["eos_share"]
    assert (
        half.value == 0.25
    )  # 6 of 24 texts; over 12 prompts with a half each or nothing, 0.25 +- 0.14 by the bootstrap
    assert 0.05 < half.ci_low < 0.15
    assert 0.35 < half.ci_high < 0.45


def test_the_order_of_the_store_does_not_matter():
    texts = [generation(list(range(i)) * 2, prompt_id=f"p{i}", sample=s) for i in range(1, 13) for s in (0, 1)]
    assert measure(texts) == measure(texts[::-1])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=12))
def test_values_are_finite_or_have_a_reason(texts):
    for row in measure([generation(ids, prompt_id=f"p{i}") for i, ids in enumerate(texts)]):
        assert (row.value is None) == (row.n == 0)
        assert row.reason or (row.value is not None and row.ci_low is not None and row.ci_high is not None)
        assert all(number is None or math.isfinite(number) for number in (row.value, row.ci_low, row.ci_high))


def test_rows_that_cannot_be_of_one_cell():
    one = generation([1])
    with pytest.raises(StoreError, match="2 cells measured as one: c1, c2"):
        measure([one, replace(one, cell="c2")])
    with pytest.raises(StoreError, match="prompt 'p1', sample 0 is stored 2 times"):
        measure([one, one])
    with pytest.raises(StoreError, match="0 token_logprobs for 1 token_ids"):
        measure([replace(one, token_logprobs=())])


def test_unknown_unit():
    with pytest.raises(
        ConfigError,
        match=r"metrics.unit=wrod: allowed: characters, jamo, morphemes, tokens, words; did you mean words\?",
    ):
        measure([generation([1])], unit="wrod")
