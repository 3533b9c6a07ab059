"""Penalties: the same scores as transformers' processors, on logits for samplers and on log-probs for beam search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from decodebench.strategies import Beam, Greedy, Strategy, Temperature
from decodebench.strategies.edits import edit_scores, edited, edits
from engine_runs import view_of

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)
VOCABULARY = 8
PREFIX = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=14)
PENALTIES = st.builds(
    Greedy,
    repetition_penalty=st.sampled_from([0.7, 1.0, 1.3]),
    no_repeat_ngram_size=st.integers(0, 4),
    min_new_tokens=st.sampled_from([0, 3, 9]),
)
EOS = (2, 5)


def processed(strategy: Strategy, prefix: list[int], prompt_length: int, scores_1V: torch.Tensor) -> torch.Tensor:
    """What transformers' processors, in the order of `generate`, make of the scores after one unpadded prefix."""
    processors = LogitsProcessorList()
    if strategy.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(strategy.repetition_penalty))
    if strategy.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(strategy.no_repeat_ngram_size))
    if strategy.min_new_tokens:
        processors.append(MinNewTokensLengthLogitsProcessor(prompt_length, strategy.min_new_tokens, list(EOS)))
    return processors(torch.tensor([prefix]), scores_1V.clone())


@SETTINGS
@given(strategy=PENALTIES, prefixes=st.lists(PREFIX, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_scores_are_those_of_transformers(strategy, prefixes, seed):
    """Rows of different lengths edited together here, each prefix alone there; on logits and on log-probs."""
    logits_BV = torch.randn(len(prefixes), VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3
    view = view_of(logits_BV, prefixes, prompt_length=1, eos_ids=EOS)
    for scores_BV in (logits_BV, torch.log_softmax(logits_BV, -1)):
        mine_BV = edit_scores(strategy, view, scores_BV.clone())
        for row, prefix in enumerate(prefixes):
            assert mine_BV[row].equal(processed(strategy, prefix, 1, scores_BV[row : row + 1])[0]), prefix


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


def test_end_tokens_wait_for_the_minimum():
    """Prompt of 1, so 1 and 2 new tokens: with min_new_tokens 2 only the first may not end yet."""
    view = view_of(torch.zeros(2, 6), [[0, 1], [0, 1, 3]], eos_ids=EOS)
    scores, rows = edited(Greedy(min_new_tokens=2), view)
    banned = scores.rows(rows) == -torch.inf
    assert banned.nonzero().tolist() == [[0, 2], [0, 5]]


def test_nothing_is_copied_where_nothing_is_edited():
    view = view_of(torch.zeros(2, 6))
    assert not edits(Greedy())
    scores, rows = edited(Greedy(), view)
    assert scores is view.scores
    assert rows is view.physical_B


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
