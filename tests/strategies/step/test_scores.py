"""Sums and maxima over a vocabulary: the same as a plain pass and a plain sort, however they are found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close as close

from decodebench.strategies.step.scores import BLOCK, Scores, top_by_value_then_id

SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)
SEEDS = st.integers(0, 10_000)


def scores_with_ties(rows: int, vocabulary: int, seed: int) -> torch.Tensor:
    """Normal scores, half of the rows in steps of 1/2."""
    scores = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    scores[::2] = (scores[::2] * 2).round() / 2
    return scores


def sorted_by_value_then_id(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda token: (-row[token], token))


@SETTINGS
@given(st.integers(1, 3), st.sampled_from([1, 40, 63, 64, 65, 500, 4 * BLOCK + 1, 3000]), st.integers(1, 80), SEEDS)
def test_top_is_a_sort_up_to_ties_at_its_edge(rows, vocabulary, k, seed):
    scores_NV = scores_with_ties(rows, vocabulary, seed)
    value, ids = top_by_value_then_id(scores_NV, k)
    assert value.equal(scores_NV.gather(1, ids))
    for row in range(rows):
        expected = sorted_by_value_then_id(scores_NV[row].tolist())[:k]
        assert value[row].tolist() == scores_NV[row, expected].tolist()
        edge = value[row, -1]
        inside = value[row] > edge  # of the tokens that tie with the k-th, any may be among the k
        assert ids[row, inside].tolist() == [token for token in expected if scores_NV[row, token] > edge]
        tied = ids[row, ~inside].tolist()
        assert tied == sorted(set(tied))


@SETTINGS
@given(st.lists(st.sampled_from([1, 20, 64, 65, 300]), min_size=1, max_size=4), SEEDS)
def test_any_rows_in_any_order_and_width(widths, seed):
    """Asked for some rows, then others, wider and narrower: as if all had been asked for at once."""
    scores_NV = scores_with_ties(6, 400, seed)
    scores = Scores(scores_NV)
    generator = torch.Generator().manual_seed(seed)
    for k in widths:
        rows = torch.randint(0, 6, (5,), generator=generator)
        value, ids = scores.top(rows, k)
        assert value.shape == ids.shape == (5, k)
        assert value.equal(scores_NV.sort(descending=True).values[rows, :k])
        assert value.equal(scores_NV[rows].gather(1, ids))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("rows", [1, 700])  # so many that a row is read in several chunks
def test_log_normalizer_and_mean_are_those_of_a_plain_pass(temperature, rows):
    scores_NV = torch.randn(rows, 1500, generator=torch.Generator().manual_seed(5)) * 6 + 40
    scores_NV[:, 1200:] = -torch.inf  # banned tokens
    asked = torch.arange(rows).flip(0)
    scores = Scores(scores_NV)
    scaled = (scores_NV.double() / temperature)[asked]
    p = torch.softmax(scaled, -1)
    mean = (p * scaled.masked_fill(scaled == -torch.inf, 0)).sum(-1)
    for _ in range(2):  # the second answer comes from memory
        close(scores.log_normalizer(asked, temperature).double(), scaled.logsumexp(-1), rtol=1e-6, atol=1e-6)
        close(scores.mean_score(asked, temperature).double(), mean, rtol=1e-6, atol=1e-6)


def test_order_of_ties_is_by_id():
    value, ids = top_by_value_then_id(torch.tensor([[1.0, 3.0, 2.0, 3.0, 3.0]]), 4)
    assert ids.tolist() == [[1, 3, 4, 2]]
    assert value.tolist() == [[3.0, 3.0, 3.0, 2.0]]


def test_scores_are_not_changed_and_rows_are_copies():
    scores_NV = scores_with_ties(3, 300, 1)
    before = scores_NV.clone()
    scores = Scores(scores_NV)
    rows = torch.tensor([2, 0])
    scores.top(rows, 5)
    scores.mean_score(rows, 0.5)
    scores.rows(rows).fill_(7.0)
    assert scores_NV.equal(before)
    assert scores.of_tokens(rows, torch.tensor([10, 20])).tolist() == [float(before[2, 10]), float(before[0, 20])]
    assert (scores.count, scores.vocabulary) == (3, 300)
