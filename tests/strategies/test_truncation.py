"""What samplers keep, and how probable they make it: the same as transformers' warpers on the same logits."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from decodebench.strategies import Epsilon, Eta, MinP, Sample, Temperature, TopH, TopK, TopP, Typical
from decodebench.strategies.candidates import Candidates
from decodebench.strategies.sampling import Sampler
from decodebench.strategies.step.scores import Scores
from engine_runs import view_of
from sampler_inputs import BITS, logits

MARGIN = 1e-5
"""How near to a boundary (in probability, or in nats for typical) two right float32 programs may disagree."""

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)
SHARES = (0.137, 0.413, 0.731, 0.907, 0.953)
"""Uneven, so that equal probabilities do not add up to them and `assume` below rarely has to skip."""

CUTOFFS = (0.00031, 0.0071, 0.083, 0.37)
MIN_PS = (0.0007, 0.013, 0.137, 0.53, 1.0)
TEMPERATURES = st.sampled_from([0.3, 0.75, 1.0, 1.7])
SAMPLERS = st.one_of(
    st.builds(Temperature, temperature=TEMPERATURES),
    st.builds(TopK, temperature=TEMPERATURES, top_k=st.sampled_from([1, 2, 5, 50, 100, 2000])),
    st.builds(TopP, temperature=TEMPERATURES, top_p=st.sampled_from(SHARES)),
    st.builds(MinP, temperature=TEMPERATURES, min_p=st.sampled_from(MIN_PS)),
    st.builds(Typical, temperature=TEMPERATURES, typical_p=st.sampled_from(SHARES)),
    st.builds(TopH, temperature=TEMPERATURES, top_h=st.sampled_from(SHARES)),
    st.builds(Epsilon, temperature=TEMPERATURES, epsilon_cutoff=st.sampled_from(CUTOFFS)),
    st.builds(Eta, temperature=TEMPERATURES, eta_cutoff=st.sampled_from(CUTOFFS)),
    st.builds(
        Sample,
        temperature=TEMPERATURES,
        top_h=st.sampled_from([None, None, *SHARES]),
        top_k=st.sampled_from([None, 1, 7, 50, 200]),
        top_p=st.sampled_from([None, 1.0, *SHARES]),
        min_p=st.sampled_from([None, *MIN_PS]),
        typical_p=st.sampled_from([None, *SHARES]),
        epsilon_cutoff=st.sampled_from([None, *CUTOFFS]),
        eta_cutoff=st.sampled_from([None, *CUTOFFS]),
    ),
)


WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_h": TopHLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
    "epsilon_cutoff": EpsilonLogitsWarper,
    "eta_cutoff": EtaLogitsWarper,
}
"""In the order of `generate`."""


def numbers(sampler: Sampler) -> dict[str, Any]:
    """The numbers that are on, in the order of `generate`."""
    on = {name: getattr(sampler, name, None) for name in WARPERS}
    return {name: number for name, number in on.items() if number is not None}


def warped(sampler: Sampler, logits_BV: Tensor) -> Tensor:
    """What `generate` makes of logits with these numbers."""
    processors = LogitsProcessorList([WARPERS[name](number) for name, number in numbers(sampler).items()])
    return processors(torch.zeros(len(logits_BV), 1, dtype=torch.int64), logits_BV.clone())


def candidates(sampler: Sampler, logits_BV: Tensor, width: int) -> tuple[Candidates, Tensor]:
    """What the sampler keeps of the `width` largest logits, and their ids."""
    found = Candidates.of(Scores(logits_BV), torch.arange(len(logits_BV)), min(width, logits_BV.shape[1]))
    for rule in sampler.rules():
        found = rule(found)
    return found, found.ids_BK


def clear_of_boundaries(sampler: Sampler, logits_BV: Tensor) -> bool:
    """Whether no rule's cut lies so near to a token that float32 could decide otherwise, computed in float64."""
    scores = logits_BV[0].double()
    scores = scores[scores > -torch.inf]
    for name, number in numbers(sampler).items():
        p = torch.softmax(scores, -1)
        entropy = float(torch.special.entr(p).sum())
        if name == "temperature":
            scores = scores / number
        elif name == "top_k":
            scores = scores[scores >= scores.topk(min(number, len(scores))).values[-1]]
        elif name == "top_p":
            scores, by_score = scores.sort(descending=True)
            mass = p[by_score].cumsum(-1)
            if number < 1 and bool(((mass - number).abs() <= MARGIN).any()):
                return False
            scores = scores[mass - p[by_score] < number]
        elif name == "typical_p":
            distance, order = (-p.log() - entropy).abs().sort()
            mass = p[order].cumsum(-1)
            at = min(int((mass < number).sum()), len(mass) - 1)
            other = (distance - distance[at]).abs()
            tied = torch.isclose(scores[order], scores[order][at], rtol=0, atol=1e-9)
            if bool(((mass - number).abs() <= MARGIN).any()) or bool((other[~tied] <= MARGIN).any()):
                return False
            scores = scores[order][distance <= distance[at] + 1e-12]
        elif name == "top_h":
            scores = scores.sort(descending=True).values[:100]
            terms = torch.special.entr(torch.softmax(scores, -1))
            share = terms.cumsum(-1) / terms.sum()
            if len(scores) > 1 and (terms.sum() < 1e-3 or bool(((share - number).abs() <= 1e-4).any())):
                return False
            scores = scores[(share <= number) | (scores.new_tensor(range(len(scores))) == 0)]
        else:
            least = {"min_p": number * float(p.max()), "epsilon_cutoff": number}.get(name)
            least = min(number, number**0.5 * math.exp(-entropy)) if least is None else least
            if number != 1 and bool(((p / least - 1).abs() <= 1e-4).any()):
                return False
            scores = scores[(p >= least) | (p == p.max())]
    return True


@SETTINGS
@given(sampler=SAMPLERS, logits_BV=logits())
def test_kept_values_and_probabilities_are_those_of_transformers(sampler, logits_BV):
    assume(clear_of_boundaries(sampler, logits_BV))
    theirs = warped(sampler, logits_BV)[0]
    found, ids = candidates(sampler, logits_BV, logits_BV.shape[1])
    kept = found.kept_BK[0]
    # transformers sorts unstably, so that of several tied tokens it may keep another one: values, not ids.
    assert Counter(logits_BV[0, ids[0, kept]].tolist()) == Counter(logits_BV[0, theirs > -torch.inf].tolist())
    mine = torch.softmax(found.score_BK[0, kept], -1).sort().values
    torch.testing.assert_close(mine, torch.softmax(theirs, -1)[theirs > -torch.inf].sort().values, rtol=1e-4, atol=1e-8)


@SETTINGS
@given(sampler=SAMPLERS, logits_BV=logits(), width=st.sampled_from([1, 2, 16, 64, 1024]))
def test_a_narrow_look_is_right_whenever_it_says_so(sampler, logits_BV, width):
    """`known_B`: among the `width` largest the rules decided as they do on the whole vocabulary."""
    assume(clear_of_boundaries(sampler, logits_BV))
    narrow, narrow_ids = candidates(sampler, logits_BV, width)
    whole, ids = candidates(sampler, logits_BV, logits_BV.shape[1])
    if not narrow.open and bool(narrow.known_B[0]):
        assert narrow_ids[narrow.kept_BK].tolist() == ids[whole.kept_BK].tolist()


@SETTINGS
@given(sampler=SAMPLERS, logits_BV=logits(), seed=st.integers(0, 1000))
def test_the_token_is_drawn_from_what_transformers_keeps(sampler, logits_BV, seed):
    """The whole step, which looks at 64, 1,024 and more scores: argmax over the warped scores + the request's noise."""
    assume(clear_of_boundaries(sampler, logits_BV))
    view = view_of(logits_BV, seed=seed)
    theirs = warped(sampler, logits_BV)
    token = int(sampler.step(view, {}).emit_B)
    assert bool((logits_BV[0, theirs[0] > -torch.inf] == logits_BV[0, token]).any())
    if len(set(logits_BV[0].tolist())) == logits_BV.shape[1]:  # no ties: the very token
        assert token == int((theirs + view.draws.gumbel_all(logits_BV.shape[1])).argmax())


@settings(SETTINGS, max_examples=40)
@given(logits_BV=logits(), seed=st.integers(0, 1000))
def test_numbers_that_keep_everything_change_nothing(logits_BV, seed):
    vocabulary = logits_BV.shape[1]
    pure = int(Temperature().step(view_of(logits_BV, seed=seed), {}).emit_B)
    for sampler in (
        TopP(top_p=1.0),
        TopK(top_k=vocabulary),
        Sample(temperature=1.0, top_k=None, top_p=None),
        Sample(temperature=1.0, top_k=vocabulary + 5, top_p=1.0),
        MinP(min_p=1e-30),
    ):
        assert int(sampler.step(view_of(logits_BV, seed=seed), {}).emit_B) == pure, sampler


@settings(SETTINGS, max_examples=40)
@given(logits_BV=logits(), seed=st.integers(0, 1000))
def test_numbers_that_keep_one_value_are_greedy(logits_BV, seed):
    best = float(logits_BV.max())
    for sampler in (
        TopK(top_k=1),
        MinP(min_p=1.0),
        TopP(top_p=1e-9),
        TopH(top_h=1e-9),
        Epsilon(epsilon_cutoff=1 - 1e-9),
        Sample(top_k=1, top_p=0.5),
        Sample(top_p=1e-9),
    ):
        token = int(sampler.step(view_of(logits_BV, seed=seed), {}).emit_B)
        assert float(logits_BV[0, token]) == best, sampler


@pytest.mark.parametrize(
    "sampler",
    [TopP(top_p=0.9), MinP(min_p=0.05), Typical(typical_p=0.9), TopK(top_k=2000), Sample(top_k=300)],
    ids=repr,
)
def test_rows_that_need_more_do_not_disturb_the_others(sampler):
    """Of 40,000 tokens: peaked rows are decided among the first 64, others among 1,024 or 16,384, a flat one on all."""
    generator = torch.Generator().manual_seed(3)
    logits_BV = torch.randn(5, 40_000, generator=generator) * torch.tensor([8.0, 0.1, 2.0, 4.0, 8.0])[:, None]
    view = view_of(logits_BV)
    theirs = (warped(sampler, logits_BV) + view.draws.gumbel_all(40_000)).argmax(-1)
    assert sampler.step(view, {}).emit_B.equal(theirs)


def test_input_is_untouched():
    logits_BV = torch.linspace(-3, 3, 200).repeat(2, 1)
    before = logits_BV.clone()
    for sampler in (TopP(repetition_penalty=1.5, no_repeat_ngram_size=1), Typical(), Sample(), Temperature()):
        sampler.step(view_of(logits_BV), {})
        assert logits_BV.equal(before)


@pytest.mark.parametrize(
    ("sampler", "kept"),
    [
        (TopK(top_k=1), [0]),
        (TopK(top_k=3), [0, 1, 2, 3]),  # the third ties with the fourth
        (TopP(top_p=0.4), [0]),  # the mass before token 1 is 0.5: reached
        (TopP(top_p=0.6), [0, 1]),
        (TopP(top_p=0.8), [0, 1, 2]),  # of two that tie the smaller id
        (MinP(min_p=0.4), [0, 1]),  # 0.4 * 0.5 = 0.2 <= 0.25
        (MinP(min_p=0.6), [0]),
        # Surprisals of 1, 2, 3, 3 bits lie 0.75, 0.25, 1.25, 1.25 from the entropy: order 1, 0, then 2 and 3.
        (Typical(typical_p=0.2), [1]),
        (Typical(typical_p=0.7), [0, 1]),
        (Typical(typical_p=0.8), [0, 1, 2, 3]),
        (Sample(temperature=1.0, top_k=2, top_p=0.6), [0]),  # after top-k: 2/3, 1/3
        (Sample(temperature=1.0, top_k=2, top_p=0.7), [0, 1]),
        (Sample(temperature=0.5, top_k=None, top_p=0.7), [0]),  # squares: 16, 4, 1, 1 of 22; 16/22 = 0.727
    ],
)
def test_kept_sets_by_hand(sampler, kept):
    found, ids = candidates(sampler, BITS, 4)
    assert sorted(ids[found.kept_BK].tolist()) == kept
