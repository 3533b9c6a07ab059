"""Rules that transformers lacks, against slow oracles of their definitions; the order of a chain; how far it looks."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies import (
    XTC,
    DynamicTemperature,
    MinP,
    Mirostat,
    PLess,
    Sample,
    TailFree,
    Temperature,
    TopK,
    TopNSigma,
    TopP,
    Typical,
    chain,
)
from decodebench.strategies.candidates import Candidates
from decodebench.strategies.sampling import Sampler
from decodebench.strategies.step.scores import Scores
from engine_runs import view_of
from sampler_inputs import BITS, logits
from sampler_oracles import ORACLES, STEPS, Probabilities, chained, softmax

SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)


def left_by(sampler: Sampler, logits_BV: Tensor, width: int | None = None) -> Candidates:
    """What the sampler's rules leave of the `width` largest; None: of all."""
    view = view_of(logits_BV)
    width = logits_BV.shape[1] if width is None else min(width, logits_BV.shape[1])
    found = Candidates.of(view.scores, view.physical_B, width, view.draws)
    for rule in sampler.rules():
        found = rule(found)
    return found


def probabilities(found: Candidates) -> Probabilities:
    kept = found.kept_BK[0]
    return dict(zip(found.ids_BK[0, kept].tolist(), found.p_BK[0, kept].tolist(), strict=True))


def raw(logits_BV: Tensor) -> Probabilities:
    return softmax({token: score for token, score in enumerate(logits_BV[0].tolist()) if score > -math.inf})


def assert_same(mine: Probabilities, theirs: Probabilities) -> None:
    assert sorted(mine) == sorted(token for token in theirs)
    for token, share in theirs.items():
        assert mine[token] == pytest.approx(share, rel=1e-4, abs=1e-9)


def without_underflow(logits_BV: Tensor) -> Tensor:
    """Python's loops take a logarithm of each probability: logits at most 60 apart."""
    return logits_BV.maximum(logits_BV.max() - 60).where(logits_BV > -torch.inf, -torch.inf)


@SETTINGS
@given(which=st.sampled_from(ORACLES), logits_BV=logits())
def test_rules_that_transformers_lacks_follow_their_definitions(which, logits_BV):
    sampler, oracle = which
    logits_BV = without_underflow(logits_BV[:, :400])
    logits_BV[0, 0] = 0.0 if logits_BV.max() == -torch.inf else logits_BV[0, 0]
    assert_same(probabilities(left_by(sampler, logits_BV)), oracle(raw(logits_BV)))


@SETTINGS
@given(order=st.permutations(list(STEPS)), logits_BV=logits())
def test_a_chain_applies_its_rules_in_the_given_order(order, logits_BV):
    logits_BV = without_underflow(logits_BV[:, :80])
    logits_BV[0, 0] = 0.0 if logits_BV.max() == -torch.inf else logits_BV[0, 0]
    expected = raw(logits_BV)
    for name in order:
        expected = STEPS[name](expected)
    assert_same(probabilities(left_by(chained(order), logits_BV)), expected)


LLAMA = ["top_p", "min_p", "temperature"]


@pytest.mark.parametrize(
    ("sampler", "kept"),
    [  # of p = 1/2, 1/4, 1/8, 1/8, whose log2 are -1, -2, -3, -3
        (TopNSigma(top_n_sigma=1.0), [0]),  # deviation sqrt(11/16) = 0.829: -1 - 0.829 is above -2
        (TopNSigma(top_n_sigma=1.5), [0, 1]),  # -1 - 1.244 is below it
        (TailFree(tfs_z=0.9), [0]),  # differences 1/4, 1/8, 0, of these 1/8, 1/8: half of it at 0, all at 1
        (TailFree(tfs_z=0.4), [0]),  # index 0 is not looked at: one token always stays
        (PLess(), [0]),  # 1/4 + 1/16 + 2/64 = 11/32 > 1/4
        (PLess(p_less="norm", temperature=0.5), [0]),  # of p = 16/22, 4/22, 1/22, 1/22: (4 * 0.566 - 1) / 3 = 0.42
        (PLess(p_less="norm", temperature=2.0), [0, 1, 2, 3]),  # (4 * 0.273 - 1) / 3 = 0.03
        (XTC(xtc_probability=1.0, xtc_threshold=0.2), [1, 2, 3]),
        (XTC(xtc_probability=1.0, xtc_threshold=0.1), [3]),  # the last of all four
        (XTC(xtc_probability=1.0, xtc_threshold=0.3), [0, 1, 2, 3]),
        (Sample(temperature=1.0, top_k=None, top_p=0.9, min_p=0.4, order=LLAMA), [0, 1]),
        (Sample(temperature=0.5, top_k=None, top_p=0.9, min_p=0.4, order=LLAMA), [0, 1]),  # temperature comes last
        (Sample(temperature=0.5, top_k=None, top_p=0.9, min_p=0.4), [0]),  # comes first: 4/22 is a quarter of 16/22
    ],
)
def test_kept_sets_by_hand(sampler, kept):
    assert sorted(probabilities(left_by(sampler, BITS))) == kept


def test_flat_scores():
    """All equal: n-sigma, p-less and XTC below 1/V keep all; the tail of a flat curve begins at z of its length."""
    flat_BV = torch.zeros(1, 200)
    for sampler in (TopNSigma(), PLess(), PLess(p_less="norm"), XTC(xtc_probability=1.0)):
        assert len(probabilities(left_by(sampler, flat_BV))) == 200
    # 198 equal differences: (i + 1) / 198 is above 0.9 first at i = 178
    assert sorted(probabilities(left_by(TailFree(tfs_z=0.9), flat_BV))) == list(range(178))


# --- how far the rules look -----------------------------------------------------------------------------------------


def open_chain(order: list[str], **numbers: Any) -> Sample:
    """XTC, with a coin that falls on both sides, and others."""
    return Sample(
        **{"top_k": None, "top_p": None, "xtc_probability": 0.6, "xtc_threshold": 0.01, "order": order} | numbers
    )


EVERY_RULE: list[Sampler] = [
    *(sampler for sampler, _ in ORACLES),
    chained(["temperature", "top_p", "tfs_z", "top_n_sigma", "xtc"]),
    chained(["xtc", "top_n_sigma", "temperature", "tfs_z", "top_p"]),
    chained(["tfs_z", "xtc", "temperature", "top_p", "top_n_sigma"]),
    Sample(top_k=None, top_p=None, typical_p=0.8, dynatemp_range=0.5, dynatemp_exponent=2.0, p_less="norm"),
    open_chain(["xtc", "temperature"], xtc_threshold=0.001),
    open_chain(["xtc", "top_p", "temperature", "eta_cutoff"], top_p=0.95, eta_cutoff=0.01),
    open_chain(["xtc", "temperature", "top_n_sigma"], top_n_sigma=2.0),
    open_chain(["xtc", "temperature", "typical_p"], typical_p=0.6),
    open_chain(["xtc", "temperature", "p_less"], p_less="norm"),
    open_chain(["xtc", "temperature", "tfs_z"], tfs_z=0.9),
    Sample(top_k=3000, top_h=0.9, min_p=1e-9),
]


@pytest.fixture(scope="module")
def wide_BV() -> Tensor:
    """Rows of 5,000 scores: peaked to flat, with ties, banned tokens, one token above all, all equal."""
    generator = torch.Generator().manual_seed(5)
    rows = (
        torch.randn(12, 5000, generator=generator)
        * torch.tensor([8.0, 4, 3, 2, 1, 0.5, 0.1, 0.001, 3, 2, 4, 0])[:, None]
    )
    rows[8] = (rows[8] * 4).round() / 4
    rows[9, torch.rand(5000, generator=generator) < 0.99] = -torch.inf
    rows[10, 77] = 60.0
    return rows


@pytest.mark.parametrize("sampler", EVERY_RULE, ids=lambda s: f"{type(s).__name__}-{EVERY_RULE.index(s)}")
def test_how_far_is_looked_changes_nothing(sampler, wide_BV, monkeypatch):
    """The same tokens when the whole vocabulary is sorted at once, and when it is looked at in many steps."""
    tokens = []
    for widths in (chain.WIDTHS, (), (1, 2, 3, 100, 700, 4999)):
        monkeypatch.setattr(chain, "WIDTHS", widths)
        tokens.append(sampler.step(view_of(wide_BV), {}).emit_B.tolist())
    assert tokens[0] == tokens[1] == tokens[2]


@pytest.mark.parametrize("sampler", EVERY_RULE, ids=lambda s: f"{type(s).__name__}-{EVERY_RULE.index(s)}")
@pytest.mark.parametrize("width", [64, 1024])
def test_what_is_known_of_a_row_is_what_all_of_it_says(sampler, width, wide_BV):
    """Kept tokens, and the sums over what is left, of the rows for which the width was enough."""
    narrow, whole = left_by(sampler, wide_BV, width), left_by(sampler, wide_BV)
    for b in narrow.known_B.nonzero().squeeze(1).tolist():
        mine, theirs = narrow.kept_BK[b], whole.kept_BK[b]
        if narrow.open:  # then all is kept but what was dropped
            mine, theirs = ~mine & (narrow.logit_BK[b] > -torch.inf), ~theirs & (whole.logit_BK[b] > -torch.inf)
        assert narrow.ids_BK[b, mine].tolist() == whole.ids_BK[b, theirs].tolist()
        for name in ("log_z_B", "entropy_B", "count_B", "spread_B"):
            assert getattr(narrow, name)[b] == pytest.approx(float(getattr(whole, name)[b]), rel=1e-9, abs=1e-9), name


def test_peaked_rows_are_decided_among_few():
    """What a sort of the whole vocabulary would cost is not paid where a language model is as peaked as they are."""
    logits_BV = torch.randn(8, 5000, generator=torch.Generator().manual_seed(1)) * 4
    for sampler in EVERY_RULE[:8]:
        assert left_by(sampler, logits_BV, 1024).known_B.all(), sampler


def test_sums_over_what_is_left_are_those_of_the_definition(wide_BV):
    """With the tail in play and tokens dropped: against sums over the very tokens."""
    found = left_by(
        Sample(temperature=1.7, top_k=None, top_p=None, xtc_probability=1.0, xtc_threshold=0.004), wide_BV, 300
    )
    for b in found.known_B.nonzero().squeeze(1).tolist():
        scores = wide_BV[b].double() / 1.7
        scores[found.ids_BK[b, ~found.kept_BK[b]]] = -torch.inf
        scores = scores[scores > -torch.inf]
        assert float(found.log_z_B[b]) == pytest.approx(float(scores.logsumexp(-1)), abs=1e-5)
        assert float(found.entropy_B[b]) == pytest.approx(float(torch.special.entr(scores.softmax(-1)).sum()), abs=2e-5)
        assert float(found.log_sum_B(2)[b]) == pytest.approx(float((2 * scores).logsumexp(-1)), abs=1e-5)
        assert float(found.count_B[b]) == len(scores)
        assert float(found.spread_B[b]) == pytest.approx(float(scores.std(correction=0)), abs=1e-5)


# --- what equals what -----------------------------------------------------------------------------------------------


@settings(SETTINGS, max_examples=25)
@given(logits_BV=logits(), seed=st.integers(0, 1000))
def test_numbers_that_keep_everything_change_nothing(logits_BV, seed):
    pure = int(Temperature().step(view_of(logits_BV, seed=seed), {}).emit_B)
    huge = Mirostat(mirostat_tau=1e4)
    assert int(huge.step(view_of(logits_BV, seed=seed), huge.start(1, torch.device("cpu"))).emit_B) == pure
    for sampler in (TopNSigma(top_n_sigma=1e6), Sample(temperature=1.0, top_k=None, top_p=None, min_p=1e-30)):
        assert int(sampler.step(view_of(logits_BV, seed=seed), {}).emit_B) == pure


@settings(SETTINGS, max_examples=25)
@given(logits_BV=logits(), seed=st.integers(0, 1000))
def test_numbers_that_keep_one_value_are_greedy(logits_BV, seed):
    best = float(logits_BV.max())
    tiny = Mirostat(mirostat_tau=1e-9)
    tokens = [tiny.step(view_of(logits_BV, seed=seed), tiny.start(1, torch.device("cpu"))).emit_B]
    for sampler in (
        TopNSigma(top_n_sigma=1e-9),
        Sample(dynatemp_range=0.3, dynatemp_exponent=1.0, top_k=1, top_p=None),
    ):
        tokens.append(sampler.step(view_of(logits_BV, seed=seed), {}).emit_B)
    assert [float(logits_BV[0, int(token)]) for token in tokens] == [best] * 3


@pytest.mark.parametrize(
    ("alone", "number"),
    [
        (TopK(top_k=7), "top_k"),
        (TopP(top_p=0.7), "top_p"),
        (MinP(min_p=0.1), "min_p"),
        (Typical(), "typical_p"),
        (TopNSigma(), "top_n_sigma"),
        (TailFree(), "tfs_z"),
        (PLess(), "p_less"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_alone_in_sample_is_the_strategy_of_its_name(alone, number, wide_BV):
    numbers: dict[str, Any] = {"top_k": None, "top_p": None, number: getattr(alone, number)}
    sample = Sample(temperature=1.0, **numbers)
    assert sample.rules() == alone.rules()
    assert sample.step(view_of(wide_BV), {}).emit_B.equal(alone.step(view_of(wide_BV), {}).emit_B)


def test_the_default_order_is_that_of_generate():
    everything = Sample(
        dynatemp_range=0.1, dynatemp_exponent=1.0, top_h=0.5, min_p=0.1, typical_p=0.9, epsilon_cutoff=0.1,
        eta_cutoff=0.1, top_n_sigma=1.0, tfs_z=0.9, p_less="plain", xtc_probability=0.5, xtc_threshold=0.1,
    )  # fmt: skip
    assert tuple(rule.name for rule in everything.rules()) == chain.ORDER


# --- what is refused, and what transformers is told -----------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        ["top_k", "top_p"],  # the temperature is on
        ["temperature", "top_k"],
        ["temperature", "top_k", "top_p", "top_p"],
        ["temperature", "top_k", "top_p", "min_p"],  # it is off
        ["temperature", "top_k", "nucleus"],
        ["temperature", "top_k", 3],
        [],
        "temperature, top_k, top_p",
        7,
    ],
    ids=str,
)
def test_an_order_that_is_not_the_rules_that_are_on(order):
    with pytest.raises(ConfigError) as raised:
        Sample(order=order)
    allowed = "null, or a list that has each rule that is on once: temperature, top_k, top_p"
    assert str(raised.value) == f"strategy.order={order}: allowed is {allowed}"


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ({"xtc_threshold": 0.1}, "xtc_threshold"),
        ({"xtc_probability": 0.5}, "xtc_threshold"),
        ({"dynatemp_exponent": 1.0}, "dynatemp_exponent"),
        ({"dynatemp_range": 0.1}, "dynatemp_exponent"),
        ({"temperature": 0.5, "dynatemp_range": 0.5, "dynatemp_exponent": 1.0}, "dynatemp_range"),
    ],
)
def test_numbers_that_go_together(numbers, name):
    with pytest.raises(ConfigError, match=f"^strategy.{name}="):
        Sample(**numbers)


@pytest.mark.parametrize(
    ("sampler", "theirs"),
    [
        (Sample(), True),
        (Sample(order=["temperature", "top_k", "top_p"]), True),
        (Sample(order=["top_k", "top_p", "temperature"]), False),
        (Sample(eta_cutoff=0.1, top_h=0.5, top_k=None, top_p=None), True),
        (Sample(tfs_z=0.9), False),
        (DynamicTemperature(), False),
        (Mirostat(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_transformers_has(sampler, theirs):
    """Its fields where it has all rules in this order; else only what holds of every sampler."""
    fields = sampler.generation_config()
    assert sampler.in_transformers == theirs
    assert ("temperature" in fields) == theirs
    assert {name: fields[name] for name in ("do_sample", "num_beams", "num_return_sequences")} == {
        "do_sample": True,
        "num_beams": 1,
        "num_return_sequences": 3,
    }


def test_scores_are_read_where_they_lie():
    """XTC alone draws from the whole row: what it drops there is dropped in a copy."""
    logits_BV = torch.linspace(-3, 3, 200).repeat(2, 1)
    before = logits_BV.clone()
    scores = Scores(logits_BV)
    for sampler in (XTC(xtc_probability=1.0, xtc_threshold=0.01), DynamicTemperature()):
        view = view_of(logits_BV)
        view.scores = scores
        token_B = sampler.step(view, {}).emit_B
        assert logits_BV.equal(before)
        assert (token_B >= 0).all()
