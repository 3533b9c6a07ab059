"""Penalties: the same scores as transformers' processors, on logits for samplers and on log-probs for beam search."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    ExponentialDecayLengthPenalty,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from decodebench.strategies import (
    Beam,
    BeamSample,
    ConstrainedBeam,
    DiverseBeam,
    DoLa,
    Greedy,
    ModelFacts,
    StochasticBeam,
    Strategy,
    Temperature,
    View,
)
from decodebench.strategies.edits import edit_scores, edited, edits
from engine_runs import requests_of, run, view_of

SETTINGS = settings(derandomize=True, deadline=None, max_examples=150)
VOCABULARY = 8
PREFIX = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=14)
EOS = (2, 5)


def spell(text: str) -> tuple[int, ...]:
    """A tokenizer of one token a digit; other characters have none."""
    return tuple(int(character) for character in text if character.isdigit())


WORDS = st.text("01234567", min_size=1, max_size=3)
BIASES = st.dictionaries(WORDS, st.sampled_from([-3.0, -0.5, 0.25, 2.0]), min_size=1, max_size=5)
BAD_WORDS = st.lists(WORDS.filter(lambda word: spell(word) not in {(2,), (5,)}), min_size=1, max_size=4, unique=True)
PENALTIES = st.builds(
    Greedy,
    repetition_penalty=st.sampled_from([0.7, 1.0, 1.3]),
    no_repeat_ngram_size=st.integers(0, 4),
    min_new_tokens=st.sampled_from([0, 3, 9]),
    exponential_decay_length_penalty=st.sampled_from([None, (0, 1.1), (4, 1.7), (2, 0.8)]),
    sequence_bias=st.none() | BIASES,
    bad_words=st.none() | BAD_WORDS,
)


def view_with_words(scores_BV: torch.Tensor, prefixes: Sequence[Sequence[int]], **kwargs: Any) -> View:
    """Rows whose model spells its texts in digits."""
    view = view_of(scores_BV, prefixes, **kwargs)
    return replace(view, facts=ModelFacts(vocabulary=scores_BV.shape[1], encode=spell, eos_ids=EOS))


def processed(strategy: Strategy, prefix: list[int], prompt_length: int, scores_1V: torch.Tensor) -> torch.Tensor:
    """What transformers' processors, in the order of `generate`, make of the scores after one unpadded prefix."""
    processors = LogitsProcessorList()
    if strategy.sequence_bias:
        bias = [[list(spell(text)), value] for text, value in strategy.sequence_bias.items()]
        processors.append(SequenceBiasLogitsProcessor(bias))
    if strategy.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(strategy.repetition_penalty))
    if strategy.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(strategy.no_repeat_ngram_size))
    if strategy.bad_words:
        processors.append(NoBadWordsLogitsProcessor([list(spell(word)) for word in strategy.bad_words], list(EOS)))
    if strategy.min_new_tokens:
        processors.append(MinNewTokensLengthLogitsProcessor(prompt_length, strategy.min_new_tokens, list(EOS)))
    if strategy.exponential_decay_length_penalty:
        decay = strategy.exponential_decay_length_penalty
        processors.append(ExponentialDecayLengthPenalty(decay, list(EOS), prompt_length))
    return processors(torch.tensor([prefix]), scores_1V.clone())


@SETTINGS
@given(strategy=PENALTIES, prefixes=st.lists(PREFIX, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_scores_are_those_of_transformers(strategy, prefixes, seed):
    """Rows of different lengths edited together here, each prefix alone there; on logits and on log-probs."""
    logits_BV = torch.randn(len(prefixes), VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3
    view = view_with_words(logits_BV, prefixes, prompt_length=1, eos_ids=EOS)
    log_z_B = logits_BV.logsumexp(-1)
    for minus_B in (None, log_z_B):
        scores_BV = logits_BV if minus_B is None else logits_BV - log_z_B[:, None]
        mine_BV = edit_scores(strategy, view, scores_BV.clone())
        scores, rows = edited(strategy, view, minus_B)
        assert scores.rows(rows).equal(mine_BV)
        for row, prefix in enumerate(prefixes):
            theirs = processed(strategy, prefix, 1, scores_BV[row : row + 1])[0]
            if theirs.isneginf().all():  # transformers goes on with no token at all; here the penalties are lifted
                theirs = scores_BV[row]
            assert mine_BV[row].equal(theirs), (prefix, mine_BV[row], theirs)


def by_definition(strategy: Strategy, prefix: list[int], prompt_length: int, scores: list[float]) -> list[float]:
    """Presence and frequency penalty (OpenAI) and DRY (p-e-w), one token and one place after the other."""
    text = prefix[prompt_length:]
    breakers = {spell("1" + breaker)[-1] for breaker in strategy.dry_sequence_breakers}
    result = []
    for token, score in enumerate(scores):
        score -= text.count(token) * strategy.frequency_penalty + (token in text) * strategy.presence_penalty
        longest = 0
        for place in range(1, len(prefix)):
            if prefix[place] == token and token not in breakers:
                n = 0
                while n < 50 and n < place and prefix[place - 1 - n] == prefix[-1 - n] not in breakers:
                    n += 1
                longest = max(longest, n)
        if strategy.dry_multiplier and longest >= strategy.dry_allowed_length:
            score -= strategy.dry_multiplier * strategy.dry_base ** (longest - strategy.dry_allowed_length)
        result.append(score)
    return result


OURS = st.builds(
    Greedy,
    presence_penalty=st.sampled_from([0.0, 0.5, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25, 2.0]),
    dry_multiplier=st.sampled_from([0.8, 3.0]),
    dry_base=st.sampled_from([1.0, 1.75]),
    dry_allowed_length=st.integers(1, 4),
    dry_sequence_breakers=st.sampled_from([(), ("3",), ("0", "12")]),
)


@SETTINGS
@given(
    strategy=OURS,
    prefixes=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=60), min_size=1, max_size=3),
    prompt_length=st.integers(1, 20),
)
def test_presence_frequency_and_dry_by_definition(strategy, prefixes, prompt_length):
    """On log-probs near 0, so that a float32 shows the penalty in full; few tokens, so that repeats are long."""
    prompt_length = min(prompt_length, *map(len, prefixes))
    scores_BV = torch.linspace(-1, 1, VOCABULARY).repeat(len(prefixes), 1)
    view = view_with_words(scores_BV, prefixes, prompt_length=prompt_length, eos_ids=EOS)
    mine_BV = edit_scores(strategy, view, scores_BV.clone())
    for row, prefix in enumerate(prefixes):
        expected = by_definition(strategy, prefix, prompt_length, scores_BV[row].tolist())
        assert mine_BV[row].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (2.0, [1.0, -8.0, 3.0]),  # token 0: 2 / 2; token 1: -4 * 2; token 2 was not seen
        (0.5, [4.0, -2.0, 3.0]),
        (1.0, [2.0, -4.0, 3.0]),
    ],
)
def test_repetition_penalty_by_hand(penalty, expected):
    view = view_of(torch.tensor([[2.0, -4.0, 3.0]]), [[0, 1, 0]])  # twice token 0: penalized once
    scores, rows = edited(Temperature(repetition_penalty=penalty), view)
    assert scores.rows(rows)[0].tolist() == expected


@pytest.mark.parametrize(
    ("size", "prefix", "banned"),
    [
        (1, [3, 1], {1, 3}),  # every token seen
        (2, [1, 2, 1], {2}),  # 1 2 is there, and 1 is last
        (2, [1, 1], {1}),
        (2, [4], set()),
        (3, [1, 2, 3, 1, 2], {3}),
        (3, [1, 2, 3, 1, 2, 0, 1, 2], {0, 3}),
        (3, [1, 2], set()),  # no 3-gram yet
        (9, [1, 2, 3], set()),  # longer than the text
    ],
)
def test_repeated_ngrams_by_hand(size, prefix, banned):
    view = view_of(torch.zeros(1, 5), [prefix])
    scores, rows = edited(Greedy(no_repeat_ngram_size=size), view)
    assert set((scores.rows(rows)[0] == -torch.inf).nonzero().flatten().tolist()) == banned


def test_presence_and_frequency_by_hand():
    """The prompt 0 3 does not count; of the text 1 1 2, token 1 counts twice."""
    view = view_of(torch.zeros(1, 4), [[0, 3, 1, 1, 2]], prompt_length=2)
    for numbers, expected in (
        ({"presence_penalty": 0.5}, [0, -0.5, -0.5, 0]),
        ({"frequency_penalty": 0.25}, [0, -0.5, -0.25, 0]),
        ({"presence_penalty": 1.0, "frequency_penalty": -0.5}, [0, 0, -0.5, 0]),
    ):
        assert edit_scores(Greedy(**numbers), view, torch.zeros(1, 4)).tolist() == [expected]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ([1, 2, 6, 1, 2], {6: 1.0}),  # 6 would extend 1 2, a repeat of 2: multiplier * 2**0
        ([0, 1, 2, 6, 0, 1, 2], {6: 2.0}),  # a repeat of 3
        ([1, 2, 6, 0, 1, 2, 7, 0, 1, 2], {6: 1.0, 7: 2.0}),  # each token by its own longest repeat
        ([2, 6, 1, 2, 6, 1, 2], {6: 4.0}),  # the places overlap: before the second 6 stand 2 6 1 2, the first 2 only
        ([2, 6, 2], {}),  # a repeat of 1 is allowed
        ([0, 3, 2, 6, 0, 3, 2], {}),  # 3 is a breaker: only 2 is repeated
        ([1, 2, 3, 1, 2], {}),  # a breaker itself is never penalized
        ([1, 2, 3, 6, 1, 2, 3], {}),  # nothing is repeated behind a breaker
        ([1] * 4, {1: 2.0}),  # 1 1 1 before the last 1
    ],
)
def test_dry_by_hand(prefix, expected):
    """multiplier 1, base 2, from repeats of 2 on."""
    dry = Greedy(dry_multiplier=1.0, dry_base=2.0, dry_sequence_breakers=("3",))
    lowered = -edit_scores(dry, view_with_words(torch.zeros(1, 8), [prefix]), torch.zeros(1, 8))[0]
    assert {token: value for token, value in enumerate(lowered.tolist()) if value} == expected


def test_dry_counts_50_tokens_at_most():
    dry = Greedy(dry_multiplier=0.5, dry_base=1.1)
    view = view_with_words(torch.zeros(1, 8), [[1] * 80])
    assert edit_scores(dry, view, torch.zeros(1, 8))[0, 1].item() == pytest.approx(-0.5 * 1.1**48)


def test_dry_with_a_huge_base_forbids():
    dry = Greedy(dry_multiplier=1.0, dry_base=1e300)
    view = view_with_words(torch.zeros(1, 8), [[1, 2, 6, 1, 2], [0, 1, 2, 6, 0, 1, 2]])
    assert edit_scores(dry, view, torch.zeros(2, 8))[:, 6].tolist() == [-1.0, -math.inf]


def test_a_biased_word_of_several_tokens_waits_for_its_last():
    biased = Greedy(sequence_bias={"12": 4.0, "2": 1.0, "312": -9.0})
    view = view_with_words(torch.zeros(4, 8), [[0], [0, 1], [3, 1], [1]])
    mine = edit_scores(biased, view, torch.zeros(4, 8))
    assert mine[:, 2].tolist() == [1.0, 5.0, -4.0, 5.0]
    assert mine.count_nonzero() == 4


def test_end_tokens_wait_for_the_minimum():
    """Prompt of 1, so 1 and 2 new tokens: with min_new_tokens 2 only the first may not end yet."""
    view = view_of(torch.zeros(2, 6), [[0, 1], [0, 1, 3]], eos_ids=EOS)
    scores, rows = edited(Greedy(min_new_tokens=2), view)
    banned = scores.rows(rows) == -torch.inf
    assert banned.nonzero().tolist() == [[0, 2], [0, 5]]


def test_the_decay_begins_after_its_start_and_stays_finite():
    """After 1, 2 and 3 new tokens, with start 1: factor**0, 1, 2. End tokens: 4 and -4 (and 0, which stays)."""
    scores_BV = torch.tensor([[0.0, 0.0, 4.0, 1.0, 1.0, -4.0]]).repeat(3, 1)
    view = view_of(scores_BV, [[0, 1], [0, 1, 1], [0, 1, 1, 1]], eos_ids=(2, 5, 0))
    mine = edit_scores(Greedy(exponential_decay_length_penalty=(1, 2.0)), view, scores_BV.clone())
    assert mine[:, 2].tolist() == [4.0, 8.0, 16.0]
    assert mine[:, 5].tolist() == [-4.0, 0.0, 8.0]  # -4 + 4 (2**n - 1)
    assert mine[:, [0, 1, 3, 4]].equal(scores_BV[:, [0, 1, 3, 4]])
    steep = edit_scores(Greedy(exponential_decay_length_penalty=(0, 1e200)), view, scores_BV.clone())
    assert steep.isfinite().all()
    assert steep.argmax(-1).tolist() == [2, 2, 2]


def test_a_ban_outlives_what_comes_after_it():
    """min_new_tokens against the decay, bad words against a bias."""
    bans = Greedy(
        min_new_tokens=9, exponential_decay_length_penalty=(0, 2.0), sequence_bias={"6": 50.0}, bad_words=["6"]
    )
    view = view_with_words(torch.ones(1, 8), [[0, 1, 1]], eos_ids=EOS)
    assert (edit_scores(bans, view, torch.ones(1, 8))[0] == -torch.inf).nonzero().flatten().tolist() == [2, 5, 6]


@pytest.mark.parametrize(
    "off",
    [
        Greedy(dry_multiplier=0.0),
        Greedy(presence_penalty=0.0, frequency_penalty=0.0, repetition_penalty=1.0, no_repeat_ngram_size=0),
    ],
    ids=["dry", "others"],
)
def test_nothing_is_copied_where_nothing_is_edited(off):
    view = view_of(torch.zeros(2, 6))
    assert not edits(off, view.facts)
    assert off == Greedy()
    scores, rows = edited(off, view)
    assert scores is view.scores
    assert rows is view.physical_B


def test_without_end_tokens_their_penalties_change_nothing():
    view = view_of(torch.ones(2, 6), [[0, 1], [2, 1]])
    strategy = Greedy(min_new_tokens=5, exponential_decay_length_penalty=(0, 2.0))
    scores, rows = edited(strategy, view)
    assert scores.rows(rows).equal(torch.ones(2, 6))
    assert [part.tolist() for part in scores.top(rows, 6)] == [[[1.0] * 6] * 2, [[*range(6)]] * 2]


def test_the_engines_logits_are_untouched():
    logits_BV = torch.ones(2, 6)
    view = view_of(logits_BV, [[0, 1], [2, 1]], eos_ids=EOS)
    for strategy in (Greedy(repetition_penalty=2.0), Temperature(no_repeat_ngram_size=1), Greedy(min_new_tokens=5)):
        strategy.step(view, {})
    beam = Beam(num_beams=2, num_return_sequences=1, repetition_penalty=2.0, eos=[5])
    four = view_of(torch.ones(4, 8), [[0, 1]] * 4, eos_ids=(5,))
    beam.step(four, beam.start(1, four.device))
    assert logits_BV.equal(torch.ones(2, 6))
    assert four.scores.all().equal(torch.ones(4, 8))


SEARCHES: dict[str, Strategy] = {
    "greedy": Greedy(no_repeat_ngram_size=1),
    "temperature": Temperature(no_repeat_ngram_size=1),
    "beam": Beam(num_beams=2, num_return_sequences=2, no_repeat_ngram_size=1),
    "diverse_beam": DiverseBeam(num_beams=2, num_beam_groups=2, num_return_sequences=2, no_repeat_ngram_size=1),
    "beam_sample": BeamSample(num_beams=2, num_return_sequences=2, no_repeat_ngram_size=1),
    "stochastic_beam": StochasticBeam(num_beams=2, no_repeat_ngram_size=1),
    "constrained_beam": ConstrainedBeam(num_beams=2, num_return_sequences=2, no_repeat_ngram_size=1, force_words=["3"]),
    "dola": DoLa(dola_layers=[0], no_repeat_ngram_size=1),
    "words": Beam(num_beams=2, num_return_sequences=2, bad_words=[str(token) for token in range(12)]),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_where_nothing_is_left_texts_go_on_to_their_limit(name):
    """12 words, 2 in the prompt: after 10 new ones each has come, and 8 more must be forbidden ones.

    A search once had only what came before: diverse_beam an empty text with the score -1e9, stochastic_beam 11 tokens
    of 18 and -inf.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.5}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=12, bos_token_id=0, eos_token_id=0, **sizes)).eval()
    done = run(model, requests_of({"x": SEARCHES[name]}, {"p": (1, 2)}, limit=18))
    assert done.failures == {}
    for outcome in done.outcomes.values():
        assert len(outcome.token_ids) == 18
        assert outcome.score is None or -100 < outcome.score < 100
        assert all(math.isfinite(logprob) for logprob in outcome.token_logprobs)
        if name != "words":
            assert sorted(outcome.token_ids[:10]) == [0, *range(3, 12)]


def test_masked_ids_do_not_come_even_where_nothing_else_is_left():
    logits_BV = torch.tensor([[1.0, 2.0, 9.0, 4.0], [1.0, 2.0, 9.0, 4.0]])
    view = replace(view_of(logits_BV, [[0, 1], [0, 3]]), facts=ModelFacts(vocabulary=4, masked_ids=(2,)))
    scores, rows = edited(Greedy(), view)
    assert scores.rows(rows)[0].tolist() == [1.0, 2.0, -math.inf, 4.0]
    everything = Greedy(bad_words=["0", "1", "2", "3"])
    view = replace(view, facts=replace(view.facts, encode=lambda text: (int(text),)))
    scores, rows = edited(everything, view)  # all forbidden: the penalties are lifted, the mask is not
    assert scores.rows(rows)[0].tolist() == [1.0, 2.0, -math.inf, 4.0]
