"""Scores with a few edited tokens answer as a written-out copy of them does, and read whole rows only if they must."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.strategies.edited_scores import EditedScores
from decodebench.strategies.edits import edit_scores, edited
from decodebench.strategies.greedy import Greedy
from decodebench.strategies.step.scores import Scores
from engine_runs import view_of

SETTINGS = settings(derandomize=True, deadline=None, max_examples=150)
SEEDS = st.integers(0, 10_000)


def some_scores(rows: int, vocabulary: int, seed: int) -> torch.Tensor:
    """Normal scores; of every other row in steps of 1/2 (ties), with some tokens banned, in half precision."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, vocabulary, generator=generator) * 3
    scores[::2] = (scores[::2] * 2).round() / 2
    scores[torch.rand(rows, vocabulary, generator=generator) < 0.02 * (seed % 3)] = -torch.inf
    return scores.to(torch.bfloat16) if seed % 5 == 0 else scores


def pair(vocabulary: int, edits: int, seed: int) -> tuple[EditedScores, torch.Tensor]:
    """Edited scores of 4 rows, less something of each, on a base of 3, and the same scores written out, [4, V]."""
    generator = torch.Generator().manual_seed(seed)
    base_NV = some_scores(3, vocabulary, seed)
    rows_B = torch.randint(0, 3, (4,), generator=generator)
    minus_B = torch.randn(4, generator=generator) if seed % 2 else None
    dense_BV = base_NV[rows_B].to(torch.float32) - (0.0 if minus_B is None else minus_B[:, None])
    token_BE = torch.full((4, edits), vocabulary)
    score_BE = torch.randn(4, edits, generator=generator) * 4
    score_BE[torch.rand(4, edits, generator=generator) < 0.2] = -torch.inf
    for row in range(4):  # other numbers of edited tokens, half of them among the likeliest
        count = int(torch.randint(0, min(edits, vocabulary) + 1, (1,), generator=generator))
        likely = dense_BV[row].topk(min(count, vocabulary)).indices[: count // 2]
        others = torch.randperm(vocabulary, generator=generator)
        tokens = list(dict.fromkeys([*likely.tolist(), *others.tolist()]))[:count]
        token_BE[row, :count] = torch.tensor(sorted(tokens), dtype=torch.int64)
        dense_BV[row, token_BE[row, :count]] = score_BE[row, :count]
    return EditedScores(Scores(base_NV), rows_B, token_BE, score_BE, minus_B), dense_BV


@SETTINGS
@given(st.sampled_from([1, 5, 63, 64, 200, 5000]), st.integers(1, 40), st.integers(1, 70), SEEDS)
def test_the_largest_are_those_of_the_dense_scores(vocabulary, edits, k, seed):
    scores, dense_BV = pair(vocabulary, edits, seed)
    for rows in (torch.arange(4), torch.tensor([2, 0, 2])):
        value, ids = scores.top(rows, k)
        expected = dense_BV[rows].sort(dim=-1, descending=True).values[:, :k]
        assert value.equal(expected)
        assert value.equal(dense_BV[rows].gather(1, ids))
        for row, row_ids in enumerate(ids.tolist()):
            assert len(set(row_ids)) == len(row_ids), "no token twice"
            ranked = [(-value[row, at].item(), token) for at, token in enumerate(row_ids)]
            assert ranked == sorted(ranked), "equal scores are in the order of their ids"


@SETTINGS
@given(st.sampled_from([1, 5, 300, 5000]), st.integers(1, 40), st.sampled_from([0.5, 1.0]), SEEDS)
def test_sums_rows_and_tokens_are_those_of_the_dense_scores(vocabulary, edits, temperature, seed):
    scores, dense_BV = pair(vocabulary, edits, seed)
    rows = torch.tensor([3, 1, 1])
    plain = Scores(dense_BV)
    assert (scores.count, scores.vocabulary) == (4, vocabulary)
    assert scores.rows(rows).equal(dense_BV[rows])
    assert scores.all().equal(dense_BV)
    for ask in ("log_normalizer", "mean_score"):
        mine, theirs = (getattr(one, ask)(rows, temperature) for one in (scores, plain))
        torch.testing.assert_close(mine, theirs, equal_nan=True)  # NaN where all is banned
    for mine, theirs in zip(scores.moments(rows), plain.moments(rows), strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)
    tokens = torch.randint(0, vocabulary, (3, 9), generator=torch.Generator().manual_seed(seed))
    assert scores.of_tokens(rows, tokens[:, 0]).equal(plain.of_tokens(rows, tokens[:, 0]))
    assert scores.of_tokens(rows[:, None], tokens).equal(dense_BV[rows].gather(1, tokens))


@pytest.mark.parametrize("minus", [False, True])
def test_no_whole_row_is_read_for_the_largest_scores(minus, monkeypatch):
    """A likely token is penalized wherever it stands in the prefix; 16 are known all the same."""
    logits_BV = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(1))
    likely = logits_BV.topk(20).indices
    view = view_of(logits_BV, [[*row, *row] for row in likely.tolist()])
    minus_B = torch.tensor([1.0, 2.0, 3.0]) if minus else None
    strategy = Greedy(repetition_penalty=1.5, no_repeat_ngram_size=2)
    dense_BV = edit_scores(strategy, view, logits_BV - (0 if minus_B is None else minus_B[:, None]))
    monkeypatch.setattr(EditedScores, "rows", lambda self, rows: pytest.fail("whole rows were read"))
    scores, rows = edited(strategy, view, minus_B)
    value, ids = scores.top(rows, 16)
    expected = Scores(dense_BV).top(torch.arange(3), 16)
    assert value.equal(expected[0])
    assert ids.equal(expected[1])


def test_rows_whose_table_does_not_suffice_are_read_whole():
    """Of row 0 all 64 tokens of the base's table are banned, of row 1 none."""
    base_NV = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(2))
    token_BE = base_NV.topk(100).indices.sort(dim=1).values
    score_BE = base_NV.gather(1, token_BE)
    score_BE[0] = -torch.inf
    scores = EditedScores(Scores(base_NV), torch.arange(2), token_BE, score_BE)
    value, ids = scores.top(torch.arange(2), 5)
    ranked = base_NV.sort(dim=1, descending=True)
    assert ids.tolist() == [ranked.indices[0, 100:105].tolist(), ranked.indices[1, :5].tolist()]
    assert value.equal(torch.stack([ranked.values[0, 100:105], ranked.values[1, :5]]))
