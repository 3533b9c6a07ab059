"""Stochastic beam search: the draw without replacement that it is, by enumeration, and its steps by hand."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, localcontext
from functools import cache
from itertools import permutations
from typing import Any

import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import gumbel_r, kstest

from beam_oracles import (
    EOS_IDS,
    LIMIT,
    LogProbs,
    Text,
    assert_counts,
    assert_texts_by_hand,
    assert_the_batch_changes_nothing,
    log_probs_of,
    prompts_of,
)
from chains import END, START, A, B, C, Chain
from decodebench.errors import ConfigError
from decodebench.strategies import ModelFacts, StochasticBeam, Temperature
from decodebench.strategies.step.draws import Draws, stream_key
from decodebench.strategies.stochastic_beam import with_largest
from engine_runs import WHOLE, Run, requests_of, run

DRAWS = 2500
MODEL = Chain(start={A: 0.4, B: 0.25, END: 0.3}, a={C: 0.6, END: 0.35}, b={END: 0.8, A: 0.1}, c={END: 0.9})


def tree(limit: int, temperature: float = 1.0) -> dict[Text, float]:
    """Every text of MODEL, with its probability."""
    logits = MODEL.logits.to(torch.float64)
    p = torch.softmax(logits / temperature, -1).tolist()
    found: dict[Text, float] = {}
    open_texts: dict[Text, float] = {(): 1.0}
    for length in range(1, limit + 1):
        last = {text: text[-1] if text else START for text in open_texts}
        grown = {(*text, token): q * p[last[text]][token] for text, q in open_texts.items() for token in range(6)}
        ended = {text: q for text, q in grown.items() if text[-1] == END or length == limit}
        found |= ended
        open_texts = {text: q for text, q in grown.items() if text not in ended}
    return found


@cache  # two tests look at the same draws
def decoded(strategy: StochasticBeam | Temperature, limit: int, count: int = DRAWS) -> Run:
    (request,) = requests_of({"x": strategy}, {"p": (START,)}, limit=limit, eos_ids=(END,))[:1]
    done = run(MODEL, [replace(request, sample=n) for n in range(count)], forward=WHOLE, max_rows=8192)
    assert done.failures == {}
    return done


def texts_of(done: Run, ranks: int, count: int = DRAWS) -> list[tuple[Text, ...]]:
    return [tuple(done.tokens["x", "p", n, rank] for rank in range(ranks)) for n in range(count)]


def without_replacement(p: Mapping[Text, float], ranks: int) -> dict[tuple[Text, ...], float]:
    """The probability of each ordered draw: p of the first, then p over what is left."""
    drawn = {}
    for texts in permutations(p, ranks):
        left, q = 1.0, 1.0
        for text in texts:
            q *= p[text] / left
            left -= p[text]
        drawn[texts] = q
    return drawn


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_it_draws_texts_without_replacement(temperature):
    """The ordered pairs of all 31 texts of up to two tokens, the first alone, and whether a text is among the two.

    2,500 draws, exact binomial tails, false alarm 1e-6 each. Of a pair with probability 0.1 a deviation of 0.037 is
    seen (6.1 standard deviations, as 930 pairs share the false alarm), of a single text 0.032.
    """
    p = tree(2, temperature)
    assert len(p) == 31
    seen = texts_of(decoded(StochasticBeam(num_beams=2, temperature=temperature), 2), 2)
    assert all(len({*texts}) == 2 for texts in seen)
    pairs = without_replacement(p, 2)
    assert_counts(Counter(seen), pairs, among="pairs")
    assert_counts(Counter(texts[0] for texts in seen), p, among="first")
    for text in sorted(p, key=lambda one: -p[one])[:5]:
        q = sum(chance for texts, chance in pairs.items() if text in texts)
        assert_counts(Counter(text in texts for texts in seen), {True: q, False: 1 - q}, among=text)


def test_three_of_a_deeper_tree():
    """Which three, in which order, of the 156 texts of up to three tokens; lists that are rarer than 0.002 are counted
    together. 2,500 draws, false alarm 1e-6; of a probability of 0.05 a deviation of 0.025 is seen."""
    p = tree(3)
    assert len(p) == 156
    often = {text: p[text] for text in sorted(p, key=lambda one: -p[one])[:20]}
    likely = {texts: q for texts, q in without_replacement(often, 3).items() if q > 0.002}
    likely[()] = 1 - sum(likely.values())
    assert likely[()] < 0.5
    seen = texts_of(decoded(StochasticBeam(num_beams=3), 3), 3)
    assert_counts(Counter(texts if texts in likely else () for texts in seen), likely)


def test_the_scores_are_perturbed_log_probs():
    """The largest is standard Gumbel, as the maximum of all texts' log-prob + Gumbel noise, whatever text it is; and
    they come in order. Kolmogorov-Smirnov, 2,500 draws, false alarm 1e-6: a deviation of 0.054 is seen."""
    done = decoded(StochasticBeam(num_beams=3), 3)
    scores = [[float(done.outcomes["x", "p", n, rank].score or 0) for rank in range(3)] for n in range(DRAWS)]
    assert kstest([first for first, _, _ in scores], gumbel_r.cdf).pvalue > 1e-6
    assert all(first > second > third for first, second, third in scores)
    ends = [score[0] for n, score in enumerate(scores) if done.tokens["x", "p", n, 0] == (END,)]
    assert kstest(ends, gumbel_r.cdf).pvalue > 1e-6, "the maximum does not depend on where it is"


def test_one_beam_is_sampling(tiny_models):
    """Token for token, as the noise is shared: sample 0 of strategy=temperature."""
    loaded = tiny_models["llama"]
    rules = {"one": StochasticBeam(num_beams=1, temperature=0.9), "sample": Temperature(temperature=0.9)}
    requests = requests_of(rules, prompts_of(loaded, "ko", "en", "short", "ko_long"), limit=LIMIT, eos_ids=EOS_IDS)
    done = run(loaded.model, requests)
    for (cell, prompt, *_), tokens in done.tokens.items():
        if cell == "one":
            assert tokens == done.tokens["sample", prompt, 0, 0]


# --- its steps ------------------------------------------------------------------------------------------------------


def by_hand(strategy: StochasticBeam, read: LogProbs, prompt: Text, limit: int) -> list[tuple[float, Text]]:
    """Kool et al. 2019, algorithm 1, with the equation for the conditional maximum as it stands, in 60 digits.

    The noise is that of the request at (step, beam, token); the first maximum is not prescribed.
    """
    key = torch.tensor([stream_key(0, prompt)])
    beam: list[tuple[float, float, Text]] = [(0.0, 0.0, ())]
    for step in range(limit):
        grown: list[tuple[float, float, Text]] = []
        for lane, (largest, log_prob, text) in enumerate(beam):
            if text and text[-1] in EOS_IDS:
                grown.append((largest, log_prob, text))
                continue
            noise = Draws(key, torch.tensor([0]), torch.tensor([step])).gumbel_all(400, lane)[0].tolist()
            scores = [score / strategy.temperature for score in read(text)]
            normalizer = float(logsumexp(scores))
            below = [log_prob + score - normalizer for score in scores]
            perturbed = [phi + g for phi, g in zip(below, noise, strict=True)]
            # More than num_beams continuations of one text cannot be among the num_beams best.
            best = sorted(range(400), key=lambda token: -perturbed[token])[: strategy.num_beams]
            for token in best:
                g = perturbed[token] if step == 0 else conditional(perturbed[token], largest, perturbed[best[0]])
                grown.append((g, below[token], (*text, token)))
        beam = sorted(grown, key=lambda found: -found[0])[: strategy.num_beams]
    return [(largest, text) for largest, _, text in beam]


def conditional(g: float, largest: float, z: float) -> float:
    """-log(exp(-largest) - exp(-z) + exp(-g))."""
    with localcontext() as context:
        context.prec = 60
        return float(-((-Decimal(largest)).exp() - (-Decimal(z)).exp() + (-Decimal(g)).exp()).ln())


RULES = {
    "default": StochasticBeam(),
    "hot": StochasticBeam(num_beams=3, temperature=1.8),
    "cold": StochasticBeam(num_beams=8, temperature=0.5),
    "penalties": StochasticBeam(num_beams=4, repetition_penalty=1.5, no_repeat_ngram_size=2, min_new_tokens=4),
}


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_texts_and_scores_by_hand(tiny_models: Any, arch: str) -> None:
    """Four rules."""
    loaded = tiny_models[arch]

    def expected(strategy: StochasticBeam, prompt: Text) -> list[tuple[float, Text]]:
        return by_hand(strategy, log_probs_of(loaded.model, prompt, strategy), prompt, LIMIT)

    assert_texts_by_hand(loaded, RULES, expected, rel=1e-3, abs=1e-3)


def test_the_conditional_maximum():
    """By the equation in 60 digits, where floats would overflow or cancel too, and where there is nothing to shift."""
    g = torch.tensor([[1.5, 1.4999, 0.3, -2.0, -40.0]], dtype=torch.float64)
    for largest in (-30.0, -3.0, 0.0, 1.5, 4.0):
        expected = [conditional(x, largest, 1.5) for x in g[0].tolist()]
        assert with_largest(g, torch.tensor([[largest]], dtype=torch.float64))[0].tolist() == pytest.approx(expected)
    far = torch.tensor([[-1000.0, -1001.0, -2000.0, -torch.inf]], dtype=torch.float64)
    shifted = with_largest(far, torch.tensor([[-900.0]], dtype=torch.float64))[0].tolist()
    # exp(900) - exp(1000) + exp(1001) is exp(1001) (1 - exp(-1)) to 40 digits.
    assert shifted == pytest.approx([-900.0, -1001.0 - math.log1p(-math.exp(-1)), -2000.0, -math.inf])
    assert torch.allclose(with_largest(g, g[:, :1]), g, rtol=0, atol=1e-12)


def test_texts_that_have_ended_stay(tiny_models):
    """With hardly anything but end tokens, all beams end at once; nothing is fed for them any more."""
    model = Chain(start={END: 0.96}, a={END: 0.999}, b={END: 0.999}, c={END: 0.999}, d={END: 0.999})
    (request,) = requests_of({"x": StochasticBeam(num_beams=2)}, {"p": (START,)}, limit=9, eos_ids=(END,))
    done = run(model, [replace(request, sample=n) for n in range(20)], forward=WHOLE)
    for n in range(20):
        texts = [done.tokens["x", "p", n, rank] for rank in range(2)]
        assert len({*texts}) == 2
        assert all(text[-1] == END or len(text) == 9 for text in texts)
    assert len(done.steps) < 9


@pytest.mark.parametrize("arch", ["gpt2", "gemma3"])
def test_the_batch_changes_nothing(tiny_models, arch):
    assert_the_batch_changes_nothing(tiny_models[arch], {name: RULES[name] for name in ("default", "penalties")})


def test_a_vocabulary_too_small_for_the_beams():
    StochasticBeam(num_beams=398).check(ModelFacts(vocabulary=400, eos_ids=(1, 2)))
    with pytest.raises(ConfigError, match=r"^strategy.num_beams=399: needs as many .* allowed is up to 398$"):
        StochasticBeam(num_beams=399).check(ModelFacts(vocabulary=400, eos_ids=(1, 2)))
