"""Metrics of whole sets, on leading units, as a published script counts, and against references: all by hand."""

import gzip
import math

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from decodebench.metrics import METRICS
from decodebench.metrics.corpus import corpus
from metrics_data import generation, given, reading, scores

LEADING = [m.name for m in METRICS if m.repeats]


# --- one text for each prompt ---


def test_a_set_has_one_text_of_each_prompt():
    samples = {"a": [[1, 1], [1, 2], [3, 4]], "b": [[1, 1], [2, 3], [5, 6]]}
    texts = [generation(ids, prompt_id=p, sample=s) for p, of in samples.items() for s, ids in enumerate(of)]
    found = scores(texts)
    # the first samples 1 1 1 1: 1 of 4; the second 1 2 2 3: 3 of 4; the third 3 4 5 6: 4 of 4. Mean 2/3, not 6 of 12.
    assert found["set_distinct_1"].value == pytest.approx((1 / 4 + 3 / 4 + 1) / 3)
    assert found["set_distinct_1"].n == 2
    # 2-grams: 11 11 | 12 23 | 34 56: 1 of 2, 2 of 2, 2 of 2
    assert found["set_distinct_2"].value == pytest.approx((1 / 2 + 1 + 1) / 3)
    # gzip of each set by itself
    sizes = [len(f"{a}\n{b}") / len(gzip.compress(f"{a}\n{b}".encode(), 6, mtime=0)) for a, b in
             [("1 1", "1 1"), ("1 2", "2 3"), ("3 4", "5 6")]]  # fmt: skip
    assert found["compression_ratio"].value == pytest.approx(sum(sizes) / 3)


def test_more_samples_make_no_larger_set():
    # The more texts, the smaller distinct-n: pooled, three equal samples would have a third of it.
    one = [generation([i, i + 1, 7, 8], prompt_id=f"p{i:02}") for i in range(12)]
    three = [generation(text.token_ids, prompt_id=text.prompt_id, sample=s) for text in one for s in range(3)]
    a, b = scores(one, vocabulary=100), scores(three, vocabulary=100)
    for name in ("set_distinct_1", "set_distinct_2", "ead", "zipf", "compression_ratio"):
        assert (b[name].value, b[name].n) == (pytest.approx(a[name].value), 12), name
        assert b[name].interval.low == pytest.approx(a[name].interval.low)


def test_where_prompts_have_different_numbers_of_samples_every_prompt_is_in_every_set():
    """One prompt of 101 with a fourth sample was the whole set once: the other hundred counted for nothing."""
    few = {f"p{at:03}": 3 for at in range(100)} | {"more": 4}
    texts = [
        generation([at, sample, 7, 7], prompt_id=prompt_id, sample=sample)
        for at, (prompt_id, samples) in enumerate(few.items())
        for sample in range(samples)
    ]
    people = [given([1, 2, 3], prompt_id=prompt_id) for prompt_id in few]
    ragged, even = (scores(of, people=people, vocabulary=200) for of in (texts, texts[:-1]))
    assert ragged["length_w1"].value == 1.0
    for name in ("set_distinct_1", "set_distinct_2", "ead", "zipf", "compression_ratio", "length_w1", "distinct_1_w1"):
        assert (ragged[name].n, ragged[name].value) == (101, even[name].value), name
        assert ragged[name].interval == even[name].interval


def test_one_prompt_with_one_sample_leaves_one_set_of_all_prompts():
    texts = [generation([1], prompt_id="a"), generation([2], prompt_id="b"), generation([1], prompt_id="b", sample=1)]
    assert [list(one.prompts) for one in corpus(texts).sets()] == [["a", "b"]]
    assert (scores(texts)["set_distinct_1"].value, scores(texts)["set_distinct_1"].n) == (1.0, 2)


def test_a_search_whose_best_text_is_too_short_leaves_the_other_prompts():
    """Its second text has the leading units, and does not count."""
    texts = [
        generation(range(2 if (at, rank) == (0, 0) else 4), prompt_id=f"p{at}", sample=rank, is_search=True)
        for at in range(3)
        for rank in range(2)
    ]
    assert [list(one.prompts) for one in corpus(texts).leading(3).sets()] == [["p1", "p2"]]
    found = scores(texts, leading=3)["set_distinct_1_first3"]
    assert (found.value, found.n) == (0.5, 2)


def test_only_prompts_with_something_to_count_are_counted():
    """49 of 50 texts are too short for a 4-gram: one prompt has a value, and one is too few for an interval."""
    texts = [generation([1, 2, 3, 4] if at == 0 else [at], prompt_id=f"p{at}") for at in range(50)]
    found = scores(texts)["set_distinct_4"]
    assert (found.value, found.n, found.interval.reason) == (1.0, 1, "1 prompt: an interval needs at least 10")


def test_an_interval_keeps_to_what_the_metric_can_be():
    texts = [generation(list(range(20 * at, 20 * at + 20)), prompt_id=f"p{at:02}") for at in range(12)]
    texts[3] = generation([0] * 20, prompt_id="p03")
    found = scores(texts)["set_distinct_1"].interval
    assert 0 < found.low < found.high <= 1


def test_of_a_search_the_best_text_counts_and_the_ranks_are_compared():
    ranks = [
        generation([1, 2, 3], is_search=True),
        generation([1, 1, 1], sample=1, is_search=True),
        generation([1, 1, 1], sample=2, is_search=True),
    ]
    directions = {0: (1.0, 0.0), 1: (0.0, 1.0), 2: (0.0, 1.0)}
    found = scores(ranks, readings=[reading(rank, embedding=directions[rank.sample]) for rank in ranks])
    assert found["set_distinct_1"].value == 1.0  # 1 2 3, not 3 of 9
    assert found["rep_2"].value == 0.0
    assert found["vendi"].value == 1.0
    assert found["distinct_texts"].value == 2.0
    # pairs of 2-grams: (12 23 | 11 11): 3 of 4, twice; (11 11 | 11 11): 1 of 4
    assert found["pair_distinct_2"].value == pytest.approx((3 / 4 + 3 / 4 + 1 / 4) / 3)
    # cosines: eigenvalues 1/3 and 2/3 -> exp(ln 3 / 3 + 2 ln 1.5 / 3) = 3^(1/3) 1.5^(2/3)
    assert found["vendi_samples"].value == pytest.approx(3 ** (1 / 3) * 1.5 ** (2 / 3))
    only_others = scores(ranks[1:])  # rank 0 was not stored
    assert (only_others["set_distinct_1"].value, only_others["set_distinct_1"].n) == (None, 0)
    assert only_others["distinct_texts"].value == 1.0


def test_vendi_by_hand():
    texts = [generation([1], prompt_id=p) for p in "abcd"]

    def vendi(*embeddings):
        pairs = zip(texts, embeddings, strict=False)
        return scores(texts, readings=[reading(t, embedding=e, prompt_embedding=()) for t, e in pairs])["vendi"].value

    four = [tuple(float(i == at) for i in range(4)) for at in range(4)]
    assert vendi(*four) == pytest.approx(4.0)  # all at right angles
    assert vendi(*[(3.0, 4.0)] * 4) == pytest.approx(1.0)
    assert vendi((1.0, 0.0), (0.0, 2.0), (0.0, 3.0), (5.0, 0.0)) == pytest.approx(2.0)
    # A text that the scorer found no token in has no direction: it is left out, as are those it did not read.
    assert vendi((), (1.0, 0.0)) == 1.0


def test_ead_and_zipf_by_hand():
    found = scores([generation([1, 1, 2], prompt_id="a"), generation([1], prompt_id="b")], vocabulary=10)
    # 2 different of 4 draws from 10: 10 (1 - 0.9^4) = 3.439 expected
    assert found["ead"].value == pytest.approx(2 / 3.439)
    assert found["zipf"].value == pytest.approx(math.log(3) / math.log(2))  # frequencies 3 and 1 on ranks 1 and 2
    unknown = "the size of the vocabulary is known for the tokens of a model only"
    assert scores([generation([1])])["ead"].reason == unknown


# --- leading units ---


def test_the_first_units_alone():
    texts = [
        generation([1, 2, 1, 2, 9, 9, 9, 9, 9], prompt_id="a"),
        generation([1, 2, 3, 4], prompt_id="b"),
        generation([1, 1, 1], prompt_id="c"),  # too short: left out
    ]
    found = scores(texts, leading=4)
    # 1 2 1 2: 2-grams 12 21 12, 2 of 3; 1 2 3 4: 3 of 3
    assert (found["rep_2_first4"].value, found["rep_2_first4"].n) == (pytest.approx(1 - 5 / 6), 2)
    assert found["distinct_1_first4"].value == (2 / 4 + 4 / 4) / 2
    assert found["set_distinct_1_first4"].value == 4 / 8
    assert found["longest_repeat_first4"].value == (2 + 0) / 2
    # all three in full: 12 21 12 29 99 99 99 99 -> 4 of 8; 3 of 3; 11 11 -> 1 of 2
    assert (found["rep_2"].value, found["rep_2"].n) == (pytest.approx(1 - 8 / 13), 3)


def test_leading_units_of_every_repetition_metric_and_of_no_other():
    names = set(scores([generation([1] * 8)], leading=8)) - set(scores([generation([1] * 8)]))
    assert names == {f"{name}_first8" for name in LEADING}
    assert {"rep_4", "diversity", "loop_share", "set_distinct_2"} <= set(LEADING)
    words = scores([generation([1] * 8)], leading=3, unit="words")
    assert {f"{name}_first3_words" for name in LEADING} <= set(words)


def test_no_text_that_is_so_long():
    found = scores([generation([1, 2, 3])], leading=4)
    for name in LEADING:
        short = found[f"{name}_first4"]
        assert (short.value, short.reason, short.n) == (None, "no text has 4 tokens", 0), name


def test_samples_that_are_too_short_are_left_out_of_their_prompt():
    texts = [generation([1, 1, 1, 2], sample=0), generation([5], sample=1), generation([1, 2, 3, 4], sample=2)]
    # 2 of 4 and 4 of 4; the one token would have 1 of 1
    assert scores(texts, leading=4)["distinct_1_first4"].value == (2 / 4 + 4 / 4) / 2


# --- compat=simctg ---


def simctg(texts, n):
    """Unique and all n-grams as that script finds them: its window stops one word before the end of each text."""
    unique = total = 0
    for text in texts:
        words, seen, at = text.split(), set(), 0
        while at + n < len(words):
            seen.add(" ".join(words[at : at + n]))
            total += 1
            at += 1
        unique += len(seen)
    return unique, total


@settings(deadline=None, max_examples=40)
@drawn(st.lists(st.lists(st.sampled_from("abc"), max_size=12).map(" ".join), min_size=1, max_size=4))
def test_the_published_script_is_matched(texts):
    found = scores(
        [generation([1], text=f" {text}\n", prompt_id=f"p{at}") for at, text in enumerate(texts)],
        unit="words",
        compat="simctg",
    )
    product = 1.0
    for n in (2, 3, 4):
        unique, total = simctg(texts, n)
        value = found[f"rep_{n}_simctg_words"].value
        assert value == (pytest.approx(1 - unique / total) if total else None)
        product *= unique / total if total else math.nan
    diversity = found["diversity_simctg_words"].value
    assert math.isnan(product) if diversity is None else diversity == pytest.approx(product)


def test_compat_renames_what_it_changes_and_nothing_else():
    plain, theirs = (scores([generation([1] * 9)], compat=c, leading=5) for c in (None, "simctg"))
    renamed = {f"rep_{n}" for n in (2, 3, 4)} | {"diversity"}
    assert set(plain) - set(theirs) == renamed | {f"{name}_first5" for name in renamed}
    assert set(theirs) - set(plain) == {f"{n}_simctg" for n in renamed} | {f"{n}_simctg_first5" for n in renamed}
    # 1 1 1 1 1: four 2-grams, without the last three: 1 - 1/3
    assert theirs["rep_2_simctg_first5"].value == pytest.approx(2 / 3)
    assert plain["rep_2_first5"].value == pytest.approx(3 / 4)


# --- distances from human references ---


def test_distances_by_hand():
    ours = [generation([1] * 2, prompt_id="a"), generation([1] * 6, prompt_id="b"), generation([1], prompt_id="z")]
    people = [given([1, 2], prompt_id="a"), given([1, 2, 3], prompt_id="b"), given([1] * 9, prompt_id="y")]
    found = scores(ours, people=people)
    # lengths 2 6 against 2 3 (z has no reference, y no text): sorted pairs 2-2 and 6-3, (0 + 3) / 2
    assert (found["length_w1"].value, found["length_w1"].n) == (1.5, 2)
    assert (found["length_w1"].unit, found["length_w1"].metric.direction) == ("tokens", "lower")
    # 1/2 and 1/6 against 1 and 1: (1/2 + 5/6) / 2
    assert found["distinct_1_w1"].value == pytest.approx((1 / 2 + 5 / 6) / 2)
    # log-probs are -1 throughout on both sides
    assert found["perplexity_text_w1"].value == 0.0
    # shares, ratios of sums, sets, costs: none
    assert not {"loop_share_w1", "rep_2_w1", "zipf_w1", "delivered_tokens_w1", "eos_share_w1"} & set(found)
    assert scores(ours, people=people, unit="words")["length_w1_words"].value == 1.5


def test_samples_lie_beside_one_reference_with_their_own_weight():
    ours = [generation([1] * n, sample=s) for s, n in enumerate([1, 1, 4])]
    # 1 1 4 against 2: (1 + 1 + 2) / 3
    assert scores(ours, people=[given([1, 2])])["length_w1"].value == pytest.approx(4 / 3)


NEITHER = "no text has 4 tokens, or none of people's does"


def test_a_distance_of_what_one_side_lacks():
    ours, people = [generation([1, 2, 3, 4])], [given([1])]
    found = scores(ours, people=people)
    assert (found["distinct_4_w1"].value, found["distinct_4_w1"].reason) == (None, NEITHER)
    assert found["coherence_w1"].reason == "no scorer has read the texts (scorer.id=self, or another model)"
    other = scores(ours, people=[given([1], prompt_id="other")])
    assert other["length_w1"].value is None
    assert other["length_w1"].reason


@settings(deadline=None, max_examples=25)
@drawn(st.lists(st.lists(st.integers(0, 4), max_size=8), min_size=1, max_size=6))
def test_the_same_texts_are_at_no_distance(texts):
    ours = [generation(ids, prompt_id=f"p{at}") for at, ids in enumerate(texts)]
    people = [given(ids, prompt_id=f"p{at}") for at, ids in enumerate(texts)]
    for name, each in scores(ours, people=people).items():
        if name.endswith("_w1"):
            assert each.value == 0 or (each.value is None and each.reason), name
