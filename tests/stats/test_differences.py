"""Paired differences: pseudo-values and Holm by hand, scipy's paired t, verdicts, and error rates by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from decodebench.stats import Estimate, compare, identity, paired, pseudo_values
from decodebench.stats.differences import bound, fewest_changes, holm, sign_floor, step_levels, t_p_values


def ratio(a, b):
    return a / b


def column(values):
    return np.array(values, dtype=float)[:, None]


def estimate(value=1.0, error=0.1, n=50, **fields):
    return Estimate(value=value, standard_error=error, n=n, df=n - 1.0, **fields)


# Holm: p = 0.01, 0.04, 0.03, 0.005 -> sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04 -> the
# last is raised to 0.06. The first two are at most 0.05; the third stops the procedure at level 0.05 / 2.
P = np.array([0.01, 0.04, 0.03, 0.005])


def test_holm_by_hand():
    assert holm(P) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert step_levels(P, 0.05) == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert step_levels(np.array([0.001, 0.002]), 0.05) == pytest.approx([0.025, 0.05])
    assert holm(np.empty(0)).tolist() == step_levels(np.empty(0)).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_rejects_what_the_procedure_rejects_in_any_order(p, random):
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for step, i in enumerate(order):
        if p[i] * (len(p) - step) > 0.05:
            break
        rejected.add(i)
    assert {i for i, one in enumerate(holm(np.array(p))) if one <= 0.05} == rejected
    levels = step_levels(np.array(p))
    assert {i for i, one in enumerate(p) if one <= levels[i]} >= rejected
    shuffled = random.sample(range(len(p)), len(p))
    assert holm(np.array(p)[shuffled]).tolist() == holm(np.array(p))[shuffled].tolist()
    assert step_levels(np.array(p)[shuffled]).tolist() == levels[shuffled].tolist()


def test_pseudo_values_by_hand():
    # sums 6 and 12: value 1/2; without (1, 2): 5/10; without (2, 6): 4/6; without (3, 4): 3/8
    # 3 * 1/2 - 2 * (1/2, 2/3, 3/8) = 1/2, 1/6, 3/4
    assert pseudo_values(np.array([[1.0, 2], [2, 6], [3, 4]]), ratio) == pytest.approx([1 / 2, 1 / 6, 3 / 4])
    assert pseudo_values(column([1, 5, 9]), identity) == pytest.approx([1, 5, 9])


def test_one_pair_of_means_is_the_paired_t_test():
    rng = np.random.default_rng(3)
    a = rng.normal(1, 1, 30)
    b = a + rng.normal(0.3, 1, 30)
    test = stats.ttest_rel(a, b)
    found = compare([paired(column(a), column(b), identity)], "higher")[0]
    assert found.p == found.p_holm == pytest.approx(test.pvalue)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert [found.low, found.high] == pytest.approx([*test.confidence_interval(0.95)])


def test_a_ratio_is_compared_by_its_own_value():
    rng = np.random.default_rng(5)
    a, b = (np.column_stack([rng.exponential(1, 200), rng.exponential(1, 200) + 1]) for _ in range(2))
    found = paired(a, b, ratio)
    assert found.value == pytest.approx(a[:, 0].sum() / a[:, 1].sum() - b[:, 0].sum() / b[:, 1].sum())
    # the delta method: variance of (x - r y) / mean y, differences paired
    lines = [(r[:, 0] - r[:, 0].sum() / r[:, 1].sum() * r[:, 1]) / r[:, 1].mean() for r in (a, b)]
    assert found.standard_error == pytest.approx(np.std(lines[0] - lines[1], ddof=1) / math.sqrt(200), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2.0**-20, 4.0, 2.0**30]))
def test_neither_the_order_of_prompts_nor_the_unit_matters(seed, unit):
    rng = np.random.default_rng(seed)
    a, b, order = rng.normal(0, 1, 20), rng.normal(0.5, 1, 20), rng.permutation(20)
    plain = compare([paired(column(a), column(b), identity)], "lower")[0]
    other = compare([paired(unit * column(a[order]), unit * column(b[order]), identity)], "lower")[0]
    assert other.p == pytest.approx(plain.p)
    assert other.verdict == plain.verdict
    for name in ("value", "low", "high", "detectable"):
        assert getattr(other, name) == pytest.approx(unit * getattr(plain, name), abs=1e-12 * unit)


@pytest.mark.parametrize(
    ("value", "direction", "verdict"),
    [
        (1.0, "higher", "better"),
        (-1.0, "higher", "worse"),
        (1.0, "lower", "worse"),
        (-1.0, "lower", "better"),
        (1.0, "none", "higher"),
        (-1.0, "none", "lower"),
        (0.1, "higher", "indistinguishable"),
    ],
)
def test_verdicts(value, direction, verdict):
    assert compare([estimate(value)], direction)[0].verdict == verdict


def test_a_family_by_hand():
    # t = 10, 3 and 1 with 49 degrees of freedom: p = 1.9e-13, 0.0042 and 0.32; the levels are 0.05 / 3, / 2 and / 1
    found = compare([estimate(0.3), estimate(1.0), estimate(0.1)], "higher")
    t = stats.t(49)
    p = [2 * t.sf(3), 2 * t.sf(10), 2 * t.sf(1)]
    assert [f.p for f in found] == pytest.approx(p)
    assert [f.p_holm for f in found] == pytest.approx([2 * p[0], 3 * p[1], p[2]])
    assert [f.verdict for f in found] == ["better", "better", "indistinguishable"]
    assert [f.high - f.value for f in found] == pytest.approx([0.1 * t.ppf(1 - 0.05 / k / 2) for k in (2, 3, 1)])
    assert [f.detectable for f in found] == pytest.approx([0.1 * (t.ppf(1 - 0.05 / 6) + t.ppf(0.8))] * 3)
    assert {f.comparisons for f in found} == {3}


def test_what_cannot_be_compared_is_not_counted():
    nine = paired(column(range(9)), column(range(1, 10)), identity)
    none = paired(np.zeros((12, 2)), np.ones((12, 2)), ratio)
    found = compare([nine, estimate(), none, paired(np.empty((0, 1)), np.empty((0, 1)), identity)], "higher")
    assert [f.verdict for f in found] == ["cannot tell", "better", "cannot tell", "cannot tell"]
    assert [f.reason for f in found] == [
        "9 prompts: an interval needs at least 10",
        None,
        "one of the two has no value",
        "no prompt has both",
    ]
    assert (found[0].value, found[0].p, found[0].low, found[0].n) == (-1.0, None, None, 9)
    assert found[1].comparisons == 1
    assert compare([], "higher") == []


def test_prompts_that_one_lacks_are_left_out():
    a, b = np.arange(12.0), np.arange(12.0) ** 2
    a[3] = b[7] = np.nan
    kept = [i for i in range(12) if i not in (3, 7)]
    assert paired(column(a), column(b), identity) == paired(column(a[kept]), column(b[kept]), identity)


def test_one_prompt_that_holds_the_whole_denominator():
    rows = np.zeros((12, 2))
    rows[0] = [1, 2]
    assert paired(rows, np.ones((12, 2)), ratio).reason == "without one of the prompts there is no value"


def test_equal_pairs():
    values = column(np.random.default_rng(0).random(20))
    found = compare([paired(values, values.copy(), identity), estimate()], "higher")
    assert (found[0].value, found[0].p, found[0].p_holm, found[0].low) == (0.0, 1.0, 1.0, None)
    assert (found[0].verdict, found[0].reason) == ("indistinguishable", "the two are equal for every prompt")
    assert found[0].comparisons == 2


def test_the_same_difference_for_every_prompt_has_no_width():
    values = column(np.random.default_rng(0).random(20))
    found = compare([paired(values + 0.1, values, identity)], "higher")[0]
    # 20 of 20 in one direction: a sign test gives 2 / 2^20
    assert (found.p, found.verdict, found.low) == (2**-19, "better", None)
    assert found.reason == "the difference is the same for every prompt: no interval"


def test_few_changed_prompts_are_no_evidence():
    # log2(2 m / 0.05): 5.3 for one comparison, 9.2 for 15
    assert [fewest_changes(m) for m in (1, 15)] == [6, 10]
    assert sign_floor(np.array([0, 1, 5, 6])).tolist() == [1, 1, 2**-4, 2**-5]
    assert sign_floor(np.array([0, 1, 5]), tail="above").tolist() == [1, 2**-1, 2**-5]
    for changed, verdict in ((5, "indistinguishable"), (6, "better")):
        hits = column([1] * changed + [0] * (200 - changed))
        found = compare([paired(hits, np.zeros((200, 1)), identity)], "higher")[0]
        # the t test alone: 5 of 200 gives t = 2.26, p = 0.025
        assert found.p == 2.0 ** (1 - changed)
        assert found.verdict == verdict
        assert (found.low > 0) == (verdict == "better")
    assert compare([paired(column([1] * 5 + [0] * 195), np.zeros((200, 1)), identity)], "higher")[0].reason == (
        "only 5 prompts differ: fewer than 6 cannot show a difference"
    )


def test_one_sided_against_a_margin():
    value, error, df = np.array([0.5]), np.array([0.2]), np.array([19.0])
    t = stats.t(19)
    assert t_p_values(value, error, df, margin=0.1, tail="above") == pytest.approx(t.sf(2))
    assert t_p_values(value, error, df, margin=0.1, tail="below") == pytest.approx(t.cdf(2))
    lower = bound(value, error, df, 0.05)
    assert lower == pytest.approx(0.5 - t.ppf(0.95) * 0.2)
    assert t_p_values(value, error, df, margin=float(lower[0]), tail="above") == pytest.approx(0.05)
    flat = np.zeros(1)
    assert t_p_values(flat, flat, df, tail="above").tolist() == [1.0]
    assert t_p_values(flat, flat, df, margin=0.1, tail="above").tolist() == [1.0]
    assert t_p_values(flat, flat, df, margin=-0.1, tail="above").tolist() == [0.0]


@pytest.mark.parametrize("kind", ["normal", "lognormal", "rare"])
def test_family_wise_error(kind):
    """1,000 families of 8 with nothing different, over 40 prompts. If a false claim came with probability 0.05, more
    than 75 would come with probability 3e-4. The stream is fixed: the test cannot fail by chance once it passed."""
    rng, alarms = np.random.default_rng(8), 0
    for _ in range(1000):
        if kind == "normal":
            arms, other = rng.normal(0, 1, (8, 40)), rng.normal(0, 1, 40)
        elif kind == "lognormal":
            arms, other = rng.lognormal(0, 1, (8, 40)), rng.lognormal(0, 1, 40)
        else:
            arms, other = rng.binomial(1, 0.05, (8, 40)) * 1.0, rng.binomial(1, 0.05, 40) * 1.0
        found = compare([paired(column(arm), column(other), identity) for arm in arms], "higher")
        alarms += any(f.verdict != "indistinguishable" for f in found)
    assert alarms <= 75


def test_power_at_the_detectable_difference():
    """2,000 pairs over 30 prompts, shifted by what is detectable at the true spread. If power were 0.75, at least 1560
    would be found with probability 1e-3; if it were 0.85, at most 1640 with 1e-4. At 0.80, a false alarm comes with
    0.02, but the stream is fixed."""
    rng = np.random.default_rng(2)
    t = stats.t(29)
    shift = (t.ppf(0.975) + t.ppf(0.8)) / math.sqrt(30)
    pairs = [paired(column(rng.normal(shift, 1, 30)), np.zeros((30, 1)), identity) for _ in range(2000)]
    found = sum(compare([pair], "higher")[0].verdict == "better" for pair in pairs)
    assert 1560 <= found <= 1640
