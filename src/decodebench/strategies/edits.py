"""Penalties that compose with every strategy: they edit the scores of a few tokens before a token is chosen.

The rules and their order are transformers': repetition penalty, no repeated n-gram, minimum length. As there, a sampler
edits logits and a search edits log-probs, so the same number is not the same penalty (docs/strategies.md).
"""

import torch
from torch import Tensor

from decodebench.scores import Scores
from decodebench.strategies.base import Strategy, View


def edits(strategy: Strategy) -> bool:
    """Whether the strategy edits scores at all; where it does not, the engine's shared top-k serves."""
    return bool(strategy.repetition_penalty != 1.0 or strategy.no_repeat_ngram_size or strategy.min_new_tokens)


def edited(strategy: Strategy, view: View) -> tuple[Scores, Tensor]:
    """Logits after the strategy's penalties, and the rows in which the view's rows find theirs."""
    if not edits(strategy):
        return view.scores, view.physical_B
    return Scores(edit_scores(strategy, view, view.logits_BV)), torch.arange(len(view.physical_B), device=view.device)


def edit_scores(strategy: Strategy, view: View, scores_BV: Tensor) -> Tensor:
    """The scores with the strategy's penalties, changed in place."""
    if strategy.repetition_penalty != 1.0:
        _penalize_repetition(scores_BV, view.prefix_BL, strategy.repetition_penalty)
    if strategy.no_repeat_ngram_size:
        _ban_repeated_ngrams(scores_BV, view.prefix_BL, view.length_B, strategy.no_repeat_ngram_size)
    if strategy.min_new_tokens and view.eos_ids.numel():
        early = (view.new_B < strategy.min_new_tokens).nonzero().squeeze(-1)
        scores_BV[early[:, None], view.eos_ids[None, :]] = -torch.inf
    return scores_BV


def _penalize_repetition(scores_BV: Tensor, prefix_BL: Tensor, penalty: float) -> None:
    """Divide positive scores of seen tokens by the penalty, multiply negative ones (Keskar et al. 2019, CTRL)."""
    seen = prefix_BL >= 0
    row = torch.arange(len(prefix_BL), device=prefix_BL.device)[:, None].expand_as(prefix_BL)[seen]
    token = prefix_BL[seen]
    score = scores_BV[row, token]
    # A token seen twice is written twice with the same value: the penalty is applied once.
    scores_BV[row, token] = torch.where(score < 0, score * penalty, score / penalty)


def _ban_repeated_ngrams(scores_BV: Tensor, prefix_BL: Tensor, length_B: Tensor, size: int) -> None:
    """Forbid each token that would complete an n-gram which prompt and text already hold (Paulus et al. 2018)."""
    if prefix_BL.shape[1] < size:
        return
    windows = prefix_BL.unfold(1, size, 1)
    tail_at = (length_B[:, None] - (size - 1) + torch.arange(size - 1, device=length_B.device)).clamp_min(0)
    tail = prefix_BL.gather(1, tail_at)
    same = (windows[:, :, :-1] == tail[:, None, :]).all(-1) & (windows[:, :, -1] >= 0)
    same &= (length_B >= size - 1)[:, None]
    row, start = same.nonzero(as_tuple=True)
    scores_BV[row, windows[row, start, -1]] = -torch.inf
