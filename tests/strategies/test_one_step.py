"""One step without an engine: what is kept, what may be, and how likely it is."""

import math

import pytest
import torch
from torch import Tensor

from decodebench.strategies import (
    XTC,
    Beam,
    Greedy,
    MinP,
    Mirostat,
    ModelFacts,
    Sample,
    Sampler,
    Temperature,
    TopK,
    TopP,
    Typical,
)
from decodebench.strategies.one_step import Kept, kept_first, scores_after_penalties
from engine_runs import EVERY_STRATEGY, view_of
from known_logits import CONSTANT, TIE, TOKENS, VOCABULARY, ids, logits_of

FACTS = ModelFacts(vocabulary=VOCABULARY, eos_ids=(2,))
FIVE = "ABCDE"


def of(
    sampler: Sampler, probabilities: dict[str, float] = CONSTANT, prompt: str = "Z", tolerance: float = 1e-3
) -> Kept:
    return kept_first(sampler, torch.tensor(logits_of(probabilities)), ids(prompt), FACTS, tolerance)


def letters(mask_V: Tensor) -> str:
    return "".join(sorted(TOKENS[int(at)] for at in mask_V.nonzero()))


def shares(kept: Kept) -> list[float]:
    """Of A to E, to four places."""
    return [round(float(kept.probability_V[token]), 4) for token in ids(FIVE)]


# p = .4 .3 .15 .1 .05; .4 + .3 = .7 less than .75, so C is the last; .4 / .85, .3 / .85, .15 / .85
@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (TopP(top_p=0.75), [0.4706, 0.3529, 0.1765, 0, 0]),
        # square roots of p: .6325 .5477 .3873 .3162 .2236, sum 2.1073; .3001 .2599 .1838 are .7438 together
        (Sample(temperature=2.0, top_k=None, top_p=0.7), [0.4035, 0.3494, 0.2471, 0, 0]),
        # before the temperature: with .69 A and B alone; .6325 / 1.1802
        (
            Sample(temperature=2.0, top_k=None, top_p=0.69, order=["top_p", "temperature"]),
            [0.5359, 0.4641, 0, 0, 0],
        ),
        # heads: of A to D only D stays, .1 / .15 and .05 / .15; tails: as it was; one half each
        (XTC(xtc_probability=0.5, xtc_threshold=0.09), [0.2, 0.15, 0.0750, 0.3833, 0.1917]),
        (XTC(xtc_probability=1.0, xtc_threshold=0.12), [0, 0, 0.5, 0.3333, 0.1667]),
        # at first 2 bits: A has 1.32, B 1.74, C 2.74
        (Mirostat(mirostat_tau=1.0), [0.5714, 0.4286, 0, 0, 0]),
    ],
)
def test_probabilities_worked_out_by_hand(sampler: Sampler, expected: list[float]) -> None:
    kept = of(sampler)
    assert shares(kept) == pytest.approx(expected, abs=2e-4)
    assert float(kept.probability_V.sum()) == pytest.approx(1)


def test_what_lies_off_every_boundary_must_be_kept() -> None:
    kept = of(TopP(top_p=0.75))
    assert (letters(kept.may_V), letters(kept.must_V)) == ("ABC", "ABC")


# A and B are 5e-8 short of .70; D is .25 of A
@pytest.mark.parametrize(
    ("sampler", "may", "must"),
    [(TopP(top_p=0.70), "ABC", "AB"), (MinP(min_p=0.25), "ABCD", "ABC"), (Typical(typical_p=0.7), "ABC", "AB")],
)
def test_what_lies_on_a_boundary_may_be_kept(sampler: Sampler, may: str, must: str) -> None:
    kept = of(sampler)
    assert (letters(kept.may_V), letters(kept.must_V)) == (may, must)


def test_of_tokens_that_tie_each_may_be_the_last() -> None:
    kept = of(TopK(top_k=2), TIE)
    assert (letters(kept.may_V), letters(kept.must_V)) == ("ABC", "A")


def test_a_larger_tolerance_reaches_farther() -> None:
    # the odds of .66 are 1.941, and exp(.2) times them are those of .703
    assert letters(of(TopP(top_p=0.66), tolerance=0.01).may_V) == "AB"
    assert letters(of(TopP(top_p=0.66), tolerance=0.2).may_V) == "ABC"
    assert letters(of(TopP(top_p=0.66), tolerance=0.2).must_V) == "AB"


def test_a_penalty_reads_the_prompt() -> None:
    # the logit of A is 5 + ln .4 = 4.084, of which 1.5 makes 2.722: exp(2.722 - 5) = .1026 of .7026
    kept = of(Temperature(repetition_penalty=1.5), prompt="ZA")
    expected = 0.4 ** (1 / 1.5) * math.exp(5 / 1.5 - 5)
    assert float(kept.probability_V[ids("A")[0]]) == pytest.approx(expected / (0.6 + expected), rel=1e-4)


def test_a_search_edits_log_probs() -> None:
    logits = torch.tensor([logits_of(CONSTANT)])
    of_beam = scores_after_penalties(Beam(repetition_penalty=1.5), logits, [ids("ZA")], [2], facts=FACTS)
    of_greedy = scores_after_penalties(Greedy(repetition_penalty=1.5), logits, [ids("ZA")], [2], facts=FACTS)
    assert float(of_beam[0, ids("A")[0]]) == pytest.approx(1.5 * math.log(0.4), rel=1e-4)
    assert float(of_greedy[0, ids("A")[0]]) == pytest.approx((5 + math.log(0.4)) / 1.5, rel=1e-4)


@pytest.mark.parametrize(
    "name", [name for name, one in EVERY_STRATEGY.items() if type(one).__module__.endswith(("sampling", "composed"))]
)
def test_our_own_draws_come_as_often_as_they_should(name: str) -> None:
    """4,000 draws of the strategy's own step; chi-square with 14 degrees of freedom is above 42.6 once in 10,000."""
    sampler = EVERY_STRATEGY[name]
    assert isinstance(sampler, Sampler)
    logits = torch.randn(1, 15, generator=torch.Generator().manual_seed(1)) * 2
    kept = kept_first(sampler, logits[0], (0,), ModelFacts(vocabulary=15), 1e-3)
    view = view_of(logits.expand(4000, -1).contiguous())
    drawn = torch.bincount(sampler.step(view, sampler.start(4000, view.device)).emit_B, minlength=15)
    due = 4000 * kept.probability_V
    assert int(drawn[due == 0].sum()) == 0
    assert float(((drawn - due).square() / due)[due > 0].sum()) < 42.6


def test_a_wide_vocabulary_gives_what_all_of_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(3000, generator=torch.Generator().manual_seed(0)) * 3
    facts = ModelFacts(vocabulary=3000)
    for sampler in (TopP(top_p=0.9), TopP(top_p=0.9999), Temperature(), XTC(), Typical()):
        whole = kept_first(sampler, logits, (1,), facts, 1e-3)
        monkeypatch.setattr("decodebench.strategies.one_step._WIDTH", 64)
        narrow = kept_first(sampler, logits, (1,), facts, 1e-3)
        monkeypatch.undo()
        assert torch.allclose(whole.probability_V, narrow.probability_V)
        assert torch.equal(whole.may_V, narrow.may_V)
        assert torch.equal(whole.must_V, narrow.must_V)
