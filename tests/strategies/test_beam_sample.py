"""Beam sampling: its outcomes by enumeration, which `generate` and the engine must both follow."""

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch

from beam_oracles import EOS_IDS, LogProbs, Text, assert_counts, assert_the_batch_changes_nothing, log_probs_of
from chains import END, START, A, B, C, Chain, decoded
from decodebench.deploy.generate import generation_config, generation_config_fields
from decodebench.errors import ConfigError
from decodebench.strategies import BeamSample, ModelFacts
from engine_runs import WHOLE, Run, requests_of, run, without_padding

PROMPT = (5, 6, 7)
State = tuple[tuple[Text, ...], tuple[tuple[float, Text], ...]]


def kept(strategy: BeamSample, log_probs: list[float], least: int) -> dict[int, float]:
    """The tokens that the truncations keep, with log-prob / temperature: the textbook's definitions."""
    scores = {token: score / strategy.temperature for token, score in enumerate(log_probs) if score > -math.inf}
    order = sorted(scores, key=lambda token: -scores[token])
    if strategy.top_k is not None:
        order = order[: max(strategy.top_k, least)]
    if strategy.top_p is not None:
        total, mass, some = sum(math.exp(scores[token]) for token in order), 0.0, []
        for token in order:
            if mass < strategy.top_p * total or len(some) < least:
                some.append(token)
            mass += math.exp(scores[token])
        order = some
    return {token: scores[token] for token in order}


def draws_in_order(weights: list[float], count: int) -> dict[tuple[int, ...], float]:
    """Every ordered draw without replacement, with its probability."""
    drawn: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(count):
        more = {}
        for places, p in drawn.items():
            left = [at for at in range(len(weights)) if at not in places]
            total = sum(weights[at] for at in left)
            more |= {(*places, at): p * weights[at] / total for at in left}
        drawn = more
    return drawn


def outcomes(strategy: BeamSample, read: LogProbs, limit: int, eos_ids: tuple[int, ...]) -> dict[Any, float]:
    """The returned texts, best first, with the probability of each such list: all ways of drawing, step by step.

    The rules are those of transformers' `_beam_search`, with early_stopping true.
    """
    beams, per_beam = strategy.num_beams, max(2, 1 + len(eos_ids))
    least = 1 + len(eos_ids) if eos_ids else 2
    score_of: dict[Text, float] = {(): 0.0}
    states: dict[State, float] = {(((),), ()): 1.0}
    done: dict[Any, float] = defaultdict(float)
    for length in range(1, limit + 1):
        after: dict[State, float] = defaultdict(float)
        for (running, finished), p_state in states.items():
            candidates = []
            for text in running:
                for token, score in kept(strategy, read(text), least).items():
                    score_of[*text, token] = score_of[text] + score
                    candidates.append((*text, token))
            weights = [math.exp(score_of[text]) for text in candidates]
            count = beams if length == limit else per_beam * beams  # at the limit the others come to nothing
            for places, p in draws_in_order(weights, count).items():
                drawn = [candidates[at] for at in places]
                ends = {text for text in drawn if text[-1] in eos_ids or length == limit}
                new = [(score_of[t] / length**strategy.length_penalty, t) for t in drawn[:beams] if t in ends]
                best = tuple(sorted([*finished, *new], key=lambda found: -found[0])[:beams])
                goes_on = sorted((t for t in drawn if t not in ends), key=lambda t: -score_of[t])[:beams]
                if len(best) == beams or not goes_on:
                    done[tuple(text for _, text in best[: strategy.num_return_sequences])] += p_state * p
                else:
                    after[tuple(goes_on), best] += p_state * p
        states = after
    assert not states
    return done


def counted(model: Any, strategy: BeamSample, requests: int, limit: int, eos_ids: tuple[int, ...]) -> Counter[Any]:
    """What the engine returns for many requests that differ in their noise alone."""
    (request,) = requests_of({"x": strategy}, {"p": PROMPT}, limit=limit, eos_ids=eos_ids)
    done: Run = run(model, [replace(request, sample=n) for n in range(requests)], forward=WHOLE, max_rows=4096)
    assert done.failures == {}
    ranks = range(strategy.returns)
    return Counter(tuple(done.tokens["x", "p", n, rank] for rank in ranks) for n in range(requests))


def counted_there(model: Any, strategy: BeamSample, requests: int, limit: int, eos_ids: tuple[int, ...]) -> Any:
    """What `generate` returns for a batch of one prompt."""
    fields = generation_config_fields(strategy, eos_ids=eos_ids, pad_id=0, limit=limit)
    ids = torch.tensor([PROMPT]).expand(requests, -1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=generation_config(fields))
    texts = [tuple(without_padding(new, eos_ids)) for new in out[:, len(PROMPT) :].tolist()]
    return Counter(tuple(texts[n : n + strategy.returns]) for n in range(0, len(texts), strategy.returns))


RULES = {
    "two of two": BeamSample(num_beams=2, num_return_sequences=2, top_k=4, top_p=None),
    "hot, nucleus": BeamSample(num_beams=2, num_return_sequences=1, top_k=5, top_p=0.9, temperature=1.7),
    "penalties": BeamSample(
        num_beams=2, num_return_sequences=2, top_k=4, top_p=None, repetition_penalty=1.4, length_penalty=-1.0
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_outcomes_come_as_often_as_they_must(tiny_models, name):
    """2,000 requests here and in `generate`, two steps, one end token that is likely at first.

    Exact binomial tails of every list of texts, false alarm 1e-6 for each of the two; of an outcome of probability 0.1
    a deviation of 0.04 is seen (six standard deviations, as all outcomes share the false alarm).
    """
    model, strategy = tiny_models["gpt2"].model, RULES[name]
    read = log_probs_of(model, PROMPT, strategy)
    eos_ids = (sorted(range(400), key=lambda token: -read(())[token])[1],)
    expected = outcomes(strategy, read, 2, eos_ids)
    assert len(expected) > 8, "the test says little"
    assert max(expected.values()) < 0.8
    assert_counts(counted(model, strategy, 2000, 2, eos_ids), expected, among="here")
    assert_counts(counted_there(model, strategy, 2000, 2, eos_ids), expected, among="generate")


def test_without_truncation():
    """The whole vocabulary of six words; 2,000 requests, false alarm 1e-6. Of an outcome of probability 0.1 a deviation
    of 0.04 is seen."""
    model = Chain(start={A: 0.4, B: 0.3, END: 0.2}, a={C: 0.5, END: 0.3}, b={A: 0.7})
    strategy = BeamSample(num_beams=2, num_return_sequences=2, top_k=None, top_p=None)
    logits = model.logits.to(torch.float64)
    read: LogProbs = lambda text: torch.log_softmax(logits[text[-1] if text else START], -1).tolist()  # noqa: E731
    (request,) = requests_of({"x": strategy}, {"p": (START,)}, limit=2, eos_ids=(END,))
    done = run(model, [replace(request, sample=n) for n in range(2000)], forward=WHOLE, max_rows=4096)
    seen = Counter(tuple(done.tokens["x", "p", n, rank] for rank in range(2)) for n in range(2000))
    assert_counts(seen, outcomes(strategy, read, 2, (END,)))


def test_scores_are_sums_of_log_probs_over_the_temperature():
    model = Chain(start={A: 0.5, B: 0.4}, a={C: 0.6}, b={C: 0.9})
    strategy = BeamSample(num_beams=2, num_return_sequences=2, temperature=0.5, top_k=3, length_penalty=0.0)
    done = decoded(model, strategy, limit=2)
    for outcome in done.outcomes.values():
        assert outcome.score == pytest.approx(sum(outcome.token_logprobs) / 0.5, rel=1e-4)


def test_a_wide_nucleus_is_looked_at_as_far_as_it_goes(tiny_models):
    """Of 400 nearly even tokens a nucleus of 0.99 keeps more than the 64 that are looked at first: the texts are those
    of a top_k that is wide enough to change nothing."""
    loaded = tiny_models["llama"]
    rules = {
        "nucleus": BeamSample(temperature=50.0, top_k=None, top_p=0.99),
        "the same": BeamSample(temperature=50.0, top_k=400, top_p=0.99),
        "all": BeamSample(temperature=50.0, top_k=None, top_p=None),
        "still all": BeamSample(temperature=50.0, top_k=400, top_p=None),
    }
    done = run(loaded.model, requests_of(rules, {"p": PROMPT}, limit=6, eos_ids=EOS_IDS))
    texts = {name: [done.tokens[name, "p", 0, rank] for rank in range(5)] for name in rules}
    assert texts["nucleus"] == texts["the same"]
    assert texts["all"] == texts["still all"]


@pytest.mark.parametrize("arch", ["gpt2", "gemma3"])
def test_the_batch_changes_nothing(tiny_models, arch):
    rules = {
        "default": BeamSample(),
        "all": BeamSample(num_beams=3, num_return_sequences=3, top_k=None, top_p=None, early_stopping=False),
        "penalties": BeamSample(num_beams=3, num_return_sequences=1, no_repeat_ngram_size=2, min_new_tokens=4),
    }
    assert_the_batch_changes_nothing(tiny_models[arch], rules)


def test_a_vocabulary_too_small_for_the_beams():
    with pytest.raises(ConfigError, match=r"^strategy.num_beams=5: needs 10 candidates of a vocabulary of 9; "):
        BeamSample().check(ModelFacts(vocabulary=9, eos_ids=(1,)))
