"""Differences and ranks of strategies: what is pooled, what is paired, families, and what cannot be told."""

import numpy as np
import pytest
from scipy import stats

from decodebench.errors import ConfigError
from decodebench.metrics import score_timings
from decodebench.scoring.comparing import Arms, differences, ranking
from decodebench.stats.differences import holm
from metrics_data import generation, given, reading, scores, timing

NO_SCORER = "no scorer has read the texts (scorer.id=self, or another model)"


def arms_of(*cells, prompts="p", into=None, seconds=(), **how):
    """Arms of (strategy, texts); cells of one strategy are its seeds."""
    arms = Arms() if into is None else into
    for at, (strategy, texts) in enumerate(cells):
        entry = {"id": f"c{at}", "model": "m", "prompts": prompts, "strategy": strategy}
        timed = score_timings([timing(e2e_s=seconds[at])]) if seconds else []
        arms.add(entry, [*scores(texts, **({} if strategy == "human" else how)).values(), *timed])
    return arms


def long(*lengths, first=0, **fields):
    """Texts of these lengths, one for each prompt, no token twice."""
    return [generation(range(n), prompt_id=f"p{first + at:02}", **fields) for at, n in enumerate(lengths)]


def texts(*lists, **fields):
    return [generation(ids, prompt_id=f"p{at:02}", **fields) for at, ids in enumerate(lists)]


def found(arms, metric, against=None):
    """The differences in one metric by strategy."""
    return {each.strategy: each for each in differences(arms, against) if each.metric == metric}


# --- seeds and prompts ---


def test_seeds_are_averaged_within_each_prompt():
    first, second, control = (
        [3, 5, 4, 8, 9, 2, 6, 7, 5, 1],
        [5, 5, 8, 2, 7, 6, 4, 9, 3, 3],
        [2, 4, 5, 6, 5, 2, 4, 9, 3, 1],
    )
    arms = arms_of(("greedy", long(*control)), ("top_p", long(*first)), ("top_p", long(*second)))
    each = found(arms, "length")["top_p"]
    means = [4, 5, 6, 5, 8, 4, 5, 8, 4, 2]  # (3 + 5) / 2, (5 + 5) / 2, ...
    assert (each.value, each.n) == (pytest.approx((51 - 41) / 10), 10)
    student = stats.ttest_rel(means, control)
    assert each.p == pytest.approx(student.pvalue)
    assert (each.ci_low, each.ci_high) == pytest.approx(tuple(student.confidence_interval(0.95)))
    assert (each.against, each.unit, each.direction, each.version) == ("greedy", "tokens", "none", "1")
    assert (each.verdict, each.comparisons, each.p_holm) == ("higher", 1, each.p)


def test_samples_first_then_seeds_then_prompts():
    three = [generation(range(n), prompt_id="p00", sample=s) for s, n in enumerate([2, 4, 6])]
    arms = arms_of(("a", long(1)), ("b", three), ("b", long(10)))
    # samples (2 + 4 + 6) / 3 = 4, seeds (4 + 10) / 2 = 7; all texts alike would be 22 / 4
    assert found(arms, "length")["b"].value == 7 - 1
    assert found(arms, "length")["b"].reason == "1 prompt: an interval needs at least 10"
    assert found(arms, "length")["b"].verdict == "cannot tell"


def test_prompts_that_both_have():
    arms = arms_of(("a", long(*[3] * 12)), ("b", long(*range(1, 11), first=5)), ("c", long(1, 2, first=40)))
    each = found(arms, "length")
    # p05 to p11: 1 to 7, minus 3
    assert (each["b"].value, each["b"].n) == (4 - 3, 7)
    assert (each["c"].value, each["c"].n, each["c"].verdict) == (None, 0, "cannot tell")
    assert each["c"].reason == "the two have no prompt in common"


def test_a_ratio_of_sums():
    # rep_2: unique / all 2-grams. a: 1 1 1 -> 1 of 2, twelve times; b: prompt p00 has 1 2 3 4 5 -> 4 of 4, else as a.
    a, b = texts(*[[1, 1, 1]] * 12), texts([1, 2, 3, 4, 5], *[[1, 1, 1]] * 11)
    each = found(arms_of(("a", a), ("b", b)), "rep_2")["b"]
    # (1 - 15/26) - (1 - 12/24), not the mean of ratios (1 - 13/24) - 1/2
    assert each.value == pytest.approx(12 / 24 - 15 / 26)
    assert (each.n, each.verdict) == (12, "indistinguishable")
    assert each.reason == "only 1 prompts differ: fewer than 6 cannot show a difference"
    # pseudo-values: 12 v - 11 v_(-i), v_(-i) = 1 - 11/22 without p00, 1 - 14/24 without another
    pseudo = np.array([12 * (11 / 26) - 11 * (1 / 2)] + [12 * (11 / 26) - 11 * (10 / 24)] * 11) - 1 / 2
    half = stats.t.ppf(0.975, 11) * pseudo.std(ddof=1) / np.sqrt(12)
    assert each.ci_low == pytest.approx(each.value - half)


# --- sets of texts ---


def test_a_set_is_compared_on_equal_subsets():
    rng = np.random.default_rng(1)
    a, b = ([rng.integers(0, top, 12).tolist() for _ in range(10)] for top in (40, 60))
    each = found(arms_of(("a", texts(*a)), ("b", texts(*b))), "set_distinct_1")["b"]

    def distinct(lists):
        pooled = [unit for ids in lists for unit in ids]
        return len(set(pooled)) / len(pooled)

    # Ten prompts: each left out once. sqrt((10 - 1) / 1) times the spread of the ten differences.
    without = [distinct(b[:i] + b[i + 1 :]) - distinct(a[:i] + a[i + 1 :]) for i in range(10)]
    error, df = 3 * np.std(without), 1 / (1 / 9 + 1 / 9)
    assert each.value == pytest.approx(distinct(b) - distinct(a))
    assert each.p == pytest.approx(2 * stats.t.sf(each.value / error, df))
    assert each.ci_low == pytest.approx(each.value - stats.t.ppf(0.975, df) * error)
    assert (each.n, each.comparisons) == (10, 1)


def test_seeds_of_a_set_are_averaged_on_each_subset():
    a = texts(*[[at, at + 1, 5] for at in range(12)])
    b, c = (texts(*[[at * step, 7] for at in range(12)]) for step in (1, 3))
    each = found(arms_of(("a", a), ("b", b), ("b", c)), "set_distinct_1")["b"]
    one, two = (found(arms_of(("a", a), ("b", of)), "set_distinct_1")["b"] for of in (b, c))
    assert each.value == pytest.approx((one.value + two.value) / 2)
    assert each.n == 12


def test_sets_of_different_prompts_are_not_paired():
    few, other = texts(*[[1, 2]] * 12), long(*[2] * 11, first=1) + long(2, first=40)
    for shifted in (other, other[:-1]):  # as many prompts, and fewer
        each = found(arms_of(("a", few), ("b", shifted)), "set_distinct_1")["b"]
        assert each.value is not None
        assert (each.verdict, each.reason) == ("cannot tell", "the two have values of different prompts")
    seeds = found(arms_of(("a", few), ("b", few), ("b", other)), "set_distinct_1")["b"]
    assert seeds.reason == "a value of the whole set, not taken of the same parts of it"
    # as many texts reach 4 tokens in both, but others
    a, b = long(*[4] * 12, 1, 1), long(1, 1, *[4] * 12)
    each = found(arms_of(("a", a), ("b", b), leading=4), "set_distinct_2_first4")["b"]
    assert each.reason == "the two have values of different prompts"


def test_a_set_of_few_prompts():
    each = found(arms_of(("a", texts([1, 1])), ("b", texts([1, 2]))), "set_distinct_1")["b"]
    assert (each.value, each.verdict) == (0.5, "cannot tell")
    assert each.reason == "1 prompt: an interval needs at least 10"


# --- against whom ---


def test_the_first_strategy_is_the_control_unless_another_is_named():
    cells = (("beam", long(1, 2)), ("greedy", long(3, 4)), ("human", long(5, 6)))
    assert {s: d.value for s, d in found(arms_of(*cells), "length").items()} == {"greedy": 2, "human": 4}
    assert {s: d.value for s, d in found(arms_of(*cells), "length", "greedy").items()} == {"beam": -2, "human": 2}
    assert {s: d.value for s, d in found(arms_of(*cells), "length", "human").items()} == {"beam": -4, "greedy": -2}
    with pytest.raises(
        ConfigError, match=r"^metrics.against=greedi: allowed: beam, greedy, human; did you mean greedy\?$"
    ):
        differences(arms_of(*cells), "greedi")
    assert differences(arms_of(cells[0]), None) == []  # nothing to compare with


def test_strategies_are_compared_within_a_prompt_set():
    arms = arms_of(("a", long(1)), ("b", long(3)), prompts="ko")
    arms_of(("b", long(5)), ("c", long(9)), prompts="en", into=arms)
    every = [d for d in differences(arms, None) if d.metric == "length"]
    assert [(d.prompts, d.strategy, d.against, d.value) for d in every] == [("ko", "b", "a", 2), ("en", "c", "b", 4)]
    named = [d for d in differences(arms, "a") if d.metric == "length"]
    assert [(d.prompts, d.strategy) for d in named] == [("ko", "b")]  # en has no a


def test_people_are_compared_and_not_ranked():
    people = [given(range(4), prompt_id=f"p{at:02}") for at in range(12)]
    arms = arms_of(("a", long(*[4] * 12)), ("b", long(*range(1, 13))), ("human", people), people=people)
    assert set(found(arms, "length")) == {"b", "human"}
    # Distances from people are no measure of people: a family of one.
    assert {s: d.comparisons for s, d in found(arms, "length_w1").items()} == {"b": 1}
    assert found(arms, "length_w1")["b"].value == pytest.approx((3 + 2 + 1 + 0 + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8) / 12)
    assert [rank.strategy for rank in ranking(arms, ["distinct_1"])] == ["a", "b"]


# --- families, and what is missing ---


def test_each_metric_is_a_family():
    rng = np.random.default_rng(3)
    control, *others = (long(*rng.integers(2, 2 + spread, 12)) for spread in (4, 6, 9, 30))
    ones = long(*[1] * 12)
    arms = arms_of(("a", control), *zip("bcd", others, strict=True), ("e", ones))
    lengths, pairs = found(arms, "length"), found(arms, "distinct_2")
    assert {each.comparisons for each in lengths.values()} == {4}
    p = np.array([each.p for each in lengths.values()])
    assert [each.p_holm for each in lengths.values()] == pytest.approx(holm(p).tolist())
    assert lengths["e"].verdict == "lower"
    # e has no 2-gram, and is not counted among those compared
    assert {strategy: each.comparisons for strategy, each in pairs.items()} == dict.fromkeys("bcde", 3)
    assert (pairs["e"].value, pairs["e"].verdict, pairs["e"].n) == (None, "cannot tell", 0)
    assert pairs["e"].reason == "no text has 2 tokens"
    # nobody has a loop onset, nobody read: no rows
    assert not found(arms, "loop_onset")
    assert not found(arms, "coherence")


def test_a_control_without_a_value():
    ours = long(*[2] * 12)
    arms = arms_of(("a", long(*[1] * 12)), ("b", ours))
    assert found(arms, "distinct_2")["b"].reason == "no text has 2 tokens"
    read = scores(ours, readings=[reading(text) for text in ours])
    arms.add({"id": "x", "model": "m", "prompts": "p", "strategy": "c"}, list(read.values()))
    assert (found(arms, "entropy")["c"].value, found(arms, "entropy")["c"].reason) == (None, NO_SCORER)


def test_one_seed_without_a_value():
    arms = arms_of(("a", long(*[3] * 12)), ("b", long(*[2] * 12)), ("b", long(*[1] * 12)))
    assert found(arms, "length")["b"].value == 1.5 - 3
    # The second seed of b has no 2-gram at all, and says nothing: b is its first seed, of different tokens as a is.
    assert (found(arms, "distinct_2")["b"].value, found(arms, "distinct_2")["b"].n) == (0.0, 12)
    none = found(arms_of(("a", long(*[3] * 12)), ("b", long(*[1] * 12)), ("b", long(*[1] * 12))), "distinct_2")["b"]
    assert (none.value, none.reason, none.verdict) == (None, "no text has 2 tokens", "cannot tell")


def test_a_seed_without_an_ngram_adds_zeros_to_a_ratio_as_a_sample_does():
    # rep_2 of p0: seed 0 has 3 2-grams, 1 of them unique, seed 1 none; p1: (1, 3), (3, 3) -> 1 - (1/2 + 2) / (3/2 + 3)
    seeds = ("b", texts([1, 1, 1, 1], [1, 1, 1, 1])), ("b", texts([9], [1, 2, 3, 4]))
    control = texts([1, 2], [1, 2])  # nothing is repeated: 0
    assert found(arms_of(("a", control), *seeds), "rep_2")["b"].value == pytest.approx(1 - 2.5 / 4.5)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_log_prob_that_is_not_finite_is_told(bad):
    broken = [*long(*[1] * 11), generation([1], prompt_id="p11", token_logprobs=(bad,))]
    each = found(arms_of(("a", long(*[1] * 12)), ("b", broken)), "surprisal")["b"]
    assert (each.value, each.verdict) == (None, "cannot tell")
    assert each.reason == "prompt 'p11', sample 0: not a finite number"


# --- ranking ---

SAME, DIFFERENT = [1, 1, 1, 1], [1, 2, 3, 4]  # distinct_1 is 1/4, and 1


def test_a_ranking_by_hand():
    a, b = texts(*[DIFFERENT] * 8, *[SAME] * 2), texts(*[SAME] * 8, *[DIFFERENT] * 2)
    first, second = ranking(arms_of(("a", a), ("b", b)), ["distinct_1"])
    assert (first.strategy, first.front, first.n, first.metrics) == ("a", True, 10, ("distinct_1",))
    assert (second.strategy, second.front) == ("b", False)
    assert (first.mean_rank, second.mean_rank) == pytest.approx((1.2, 1.8))  # (8 + 2 * 2) / 10, (8 * 2 + 2) / 10
    # 8 wins to 2, and one tied match: strengths are half of log(8.5 / 2.5) apart from 0
    assert (first.strength, second.strength) == pytest.approx((np.log(8.5 / 2.5) / 2, -np.log(8.5 / 2.5) / 2))
    # seeds are averaged within the prompt: a second seed that turns two prompts into ties
    half = texts(*[SAME] * 2, *[DIFFERENT] * 6, *[SAME] * 2)
    first, _ = ranking(arms_of(("a", a), ("b", b), ("a", half)), ["distinct_1"])
    assert first.mean_rank == pytest.approx(1.2)  # (1 + 1/4) / 2 still beats 1/4


def test_what_a_ranking_goes_by_where_nothing_is_chosen():
    cells = (("a", texts(*[DIFFERENT] * 10)), ("b", texts(*[SAME] * 10)))
    assert ranking(arms_of(*cells), None)[0].metrics == ("diversity", "loop_share")
    assert ranking(arms_of(*cells, seconds=(1, 2)), None)[0].metrics == ("diversity", "loop_share", "e2e_s")
    for how, names in (
        ({"unit": "words"}, ("diversity_words", "loop_share_words")),
        ({"compat": "simctg", "leading": 3}, ("loop_share",)),  # a text of four units has no 4-gram for that script
        ({"leading": 3}, ("diversity", "loop_share")),
    ):
        assert ranking(arms_of(*cells, **how), None)[0].metrics == names
    five = (("a", texts(*[[*DIFFERENT, 5]] * 10)), ("b", texts(*[[*SAME, 1]] * 10)))
    chosen = ranking(arms_of(*five, unit="jamo", compat="simctg"), None)[0].metrics
    assert chosen == ("diversity_simctg_jamo", "loop_share_jamo")


def test_latency_counts_where_it_was_timed():
    equal = texts(*[DIFFERENT] * 10)
    ranks = ranking(arms_of(("a", equal), ("b", equal), ("c", equal), seconds=(2.0, 1.0, 3.0)), ["distinct_1", "e2e_s"])
    assert [rank.front for rank in ranks] == [False, True, False]
    # Ten prompts where all are equal, rank 2, and the one that was timed: ranks 2, 1, 3.
    assert [rank.mean_rank for rank in ranks] == pytest.approx([2.0, 21 / 11, 23 / 11])
    assert found(arms_of(("a", equal), ("b", equal), seconds=(2.0, 1.0)), "e2e_s")["b"].value == -1.0


def test_metrics_that_nothing_can_be_ranked_by():
    arms = arms_of(("a", texts(DIFFERENT)), ("b", texts(SAME)))
    few = r"allowed are the \d+ metrics of measurements.csv that have a value and a direction, such as "
    with pytest.raises(ConfigError, match=rf"^metrics.rank_by=diversty: was not measured; {few}diversity"):
        ranking(arms, ["distinct_1", "diversty"])
    with pytest.raises(ConfigError, match=rf"^metrics.rank_by=length: was not measured; {few}"):
        ranking(arms, ["length"])
    assert ranking(arms_of(("a", texts(SAME)), ("human", texts(SAME))), None) == []  # one strategy is in no order


def test_a_strategy_without_a_value_is_ranked_by_what_it_has():
    arms = arms_of(("a", texts(*[DIFFERENT] * 10)), ("b", texts(*[SAME] * 10)), ("c", texts(*[[]] * 10)))
    a, b, c = ranking(arms, ["distinct_1"])
    assert (a.front, b.front, c.front) == (True, False, False)
    assert (a.mean_rank, c.mean_rank, c.n, c.tie) == (None, None, 0, None)  # no prompt has a value of all three
    assert c.reason


# --- lengths ---


def looping(length, period, **fields):
    """Twelve texts of so many tokens, which come again after `period` of them."""
    return [generation([n % period for n in range(length)], prompt_id=f"p{at:02}", **fields) for at in range(12)]


def test_a_strategy_that_stops_early_is_not_first_for_being_short():
    """40 tokens with a period of 30 repeat less than 120 with one of 60, which has more to say."""
    arms = arms_of(("early", looping(40, 30)), ("late", looping(120, 60)), leading=32)
    early, late = ranking(arms, None)
    assert early.metrics == ("diversity_first32", "loop_share")
    assert early.mean_rank > late.mean_rank
    told = "mean lengths differ, from 40 tokens (early) to 120 (late): shorter texts repeat less, so that "
    same = "resampling the prompts does not change the value"
    assert {early.reason, late.reason} == {f"{same}; {told}loop_share favours what stops early"}
    # Chosen by hand it is what was chosen, and said.
    early, late = ranking(arms, ["diversity"])
    assert (early.metrics, early.mean_rank) == (("diversity",), 1.0)
    assert early.reason == f"{same}; {told}diversity favours what stops early"
    assert ranking(arms, ["diversity_first32"])[0].reason == same


def test_where_not_all_have_the_leading_units_the_ranking_says_what_it_favours():
    arms = arms_of(("early", looping(20, 19)), ("late", looping(120, 60)), leading=32)
    early, _ = ranking(arms, None)
    assert early.metrics == ("diversity", "loop_share")
    assert early.reason.endswith("so that diversity, loop_share favours what stops early")


def test_lengths_within_a_tenth_are_alike():
    for longer, metrics in ((44, ("diversity", "loop_share")), (45, ("diversity_first32", "loop_share"))):
        ranks = ranking(arms_of(("a", looping(40, 30)), ("b", looping(longer, 30)), leading=32), None)
        assert ranks[0].metrics == metrics
        assert ("mean lengths differ" in ranks[0].reason) == (longer == 45)
