"""What the penalties do: they edit the scores of a few tokens of each row before a token is chosen.

Their order is transformers': sequence bias, repetition penalty, no repeated n-gram, bad words, minimum length,
exponential decay. Presence and frequency penalty and DRY, which transformers lacks, come right after the repetition
penalty, as in vLLM. As in transformers, a sampler edits logits and a search log-probs, so the same number is not the
same penalty there (docs/strategies.md).

All that is edited are tokens of the prefix, end tokens, tokens of listed texts and those that the model's
configuration masks. So the rules work on the distinct
ones of these, [B, E], and the [B, V] scores of the rows are left where they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from decodebench.strategies.base import Strategy
from decodebench.strategies.edited_scores import EditedScores, put
from decodebench.strategies.penalties import LONGEST_REPEAT
from decodebench.strategies.penalty_texts import Completions, PenaltyTokens, penalty_tokens
from decodebench.strategies.step import EMPTY, ModelFacts, Scores, View, among, upload

_NOTHING = -2
"""No token, and unlike EMPTY: what is before the start of a text."""

_MASKED = 2
"""Of a banned token: it is never to come, even where the penalties ban every other one too."""

_HUGE = 1e30
"""Beyond every score, and far enough below infinity that what is multiplied with it stays finite."""


def edits(strategy: Strategy, facts: ModelFacts) -> bool:
    """Whether scores are edited at all; where they are not, the engine's shared top-k serves."""
    listed = strategy.sequence_bias or strategy.bad_words or facts.masked_ids
    return _reads_prefix(strategy) or _edits_ends(strategy) or bool(listed)


def edited(strategy: Strategy, view: View, minus_B: Tensor | None = None) -> tuple[Scores, Tensor]:
    """Logits after the strategy's penalties, and the rows in which the view's rows find theirs.

    With `minus_B` of each row (a log-normalizer) they are log-probs, and the penalties edit log-probs.
    """
    if not edits(strategy, view.facts) and minus_B is None:
        return view.scores, view.physical_B
    touched = _touched(strategy, view)
    token_BE = touched.token_BE.clamp_max(view.scores.vocabulary - 1)
    score_BE = view.scores.of_tokens(view.physical_B[:, None], token_BE)
    if minus_B is not None:
        score_BE = score_BE - minus_B[:, None]
    score_BE = _penalized(strategy, view, touched, score_BE)
    scores = EditedScores(view.scores, view.physical_B, touched.token_BE, score_BE, minus_B, view.questions)
    return scores, torch.arange(len(view.physical_B), device=view.device)


def edit_scores(strategy: Strategy, view: View, scores_BV: Tensor) -> Tensor:
    """The scores with the strategy's penalties, changed in place."""
    if not edits(strategy, view.facts):
        return scores_BV
    touched = _touched(strategy, view)
    score_BE = scores_BV.gather(1, touched.token_BE.clamp_max(scores_BV.shape[1] - 1))
    return put(scores_BV, touched.token_BE, _penalized(strategy, view, touched, score_BE))


def _reads_prefix(strategy: Strategy) -> bool:
    return bool(
        strategy.repetition_penalty != 1.0
        or strategy.no_repeat_ngram_size
        or strategy.presence_penalty
        or strategy.frequency_penalty
        or strategy.dry_multiplier
    )


def _edits_ends(strategy: Strategy) -> bool:
    return bool(strategy.min_new_tokens or strategy.exponential_decay_length_penalty)


_Facts = dict[str, Tensor]

_JOINED = {"bias": "sum", "seen": "amax", "count": "sum", "repeat": "amax", "banned": "amax", "end": "amax"}
"""What becomes of the facts of a token that stands at several places."""


@dataclass(frozen=True)
class _Touched:
    """The distinct tokens of each row that penalties may edit, ascending, and what is known of each.

    Unused places at the end have the vocabulary's size as their token. Facts, [B, E] too: the `bias` to add; whether
    the token was `seen` in the prefix (1, or 0); its `count` in the new text; how long a repeat it would extend
    (`repeat`); whether it is `banned`, or an `end` token.
    """

    token_BE: Tensor
    facts: _Facts


def _touched(strategy: Strategy, view: View) -> _Touched:
    """Gather the places at which tokens stand, and make one entry of all places of a token."""
    groups = list(_groups(strategy, view))
    vocabulary = view.scores.vocabulary
    places_BE = torch.cat([ids for ids, _ in groups], dim=1)
    places_BE = places_BE.masked_fill(places_BE < 0, vocabulary)
    ordered_BE, order_BE = places_BE.sort(dim=1)
    entry_BE = torch.zeros_like(places_BE)
    entry_BE[:, 1:] = (ordered_BE[:, 1:] != ordered_BE[:, :-1]).cumsum(1)
    token_BE = torch.full_like(places_BE, vocabulary).scatter_(1, entry_BE, ordered_BE)
    entry_BE = torch.empty_like(places_BE).scatter_(1, order_BE, entry_BE)
    facts: _Facts = {}
    first = 0
    for ids, found in groups:
        for name, fact in found.items():
            if name not in facts:
                facts[name] = torch.zeros_like(places_BE, dtype=fact.dtype)
            facts[name].scatter_reduce_(1, entry_BE[:, first : first + ids.shape[1]], fact, _JOINED[name])
        first += ids.shape[1]
    return _Touched(token_BE, facts)


def _groups(strategy: Strategy, view: View) -> Iterator[tuple[Tensor, _Facts]]:
    """Tokens that stand somewhere, [B, n] (below 0: none), and what is known of them there."""
    rows = len(view.physical_B)
    words = penalty_tokens(strategy, view.facts, view.device) if _has_texts(strategy) else None
    if words and words.biased:
        added = _completes(words.biased, view) * words.biased.added_S
        yield words.biased.last_S.expand(rows, -1), {"bias": added}
    if _reads_prefix(strategy):
        yield view.prefix_BL, _of_prefix(strategy, view, words)
    if words and words.bad:
        yield words.bad.last_S.expand(rows, -1), {"banned": _completes(words.bad, view).to(torch.int64)}
    if view.facts.masked_ids:
        masked_BE = upload(view.facts.masked_ids, view.device).expand(rows, -1)
        yield masked_BE, {"banned": torch.full_like(masked_BE, _MASKED)}
    if _edits_ends(strategy):
        end_BE = view.eos_ids.expand(rows, -1)
        yield end_BE, {"end": torch.ones_like(end_BE)}
    yield torch.full_like(view.length_B, EMPTY)[:, None], {}  # so that there is a place where nothing else is listed


def _of_prefix(strategy: Strategy, view: View, words: PenaltyTokens | None) -> _Facts:
    """What penalties that read prompt and text know of each token at its place, [B, L]."""
    facts: _Facts = {}
    place_L = torch.arange(view.prefix_BL.shape[1], device=view.device)
    if strategy.repetition_penalty != 1.0:
        facts["seen"] = torch.ones_like(view.prefix_BL)
    if strategy.presence_penalty or strategy.frequency_penalty:
        facts["count"] = (place_L >= view.prompt_length_B[:, None]).to(torch.int64)
    if strategy.dry_multiplier and words:
        facts["repeat"] = _repeats(view.prefix_BL, view.length_B, words.breakers)
    if strategy.no_repeat_ngram_size:
        facts["banned"] = _ends_ngram(view.prefix_BL, view.length_B, strategy.no_repeat_ngram_size).to(torch.int64)
    return facts


def _has_texts(strategy: Strategy) -> bool:
    return bool(strategy.dry_multiplier or strategy.sequence_bias or strategy.bad_words)


def _penalized(strategy: Strategy, view: View, touched: _Touched, score_BE: Tensor) -> Tensor:
    """The scores of the touched tokens after all penalties, in their order.

    Where these leave a row no token at all, they are lifted there: a search could not go on, and would return what it
    had so far.
    """
    facts, before_BE = touched.facts, score_BE
    if "bias" in facts:
        score_BE = score_BE + facts["bias"].to(score_BE.dtype)
    if "seen" in facts:
        penalty = strategy.repetition_penalty
        penalized = torch.where(score_BE < 0, score_BE * penalty, score_BE / penalty)
        score_BE = torch.where(facts["seen"] > 0, penalized, score_BE)
    if "count" in facts:
        score_BE = score_BE - strategy.frequency_penalty * facts["count"]
        score_BE = score_BE - strategy.presence_penalty * (facts["count"] > 0)
    if "repeat" in facts:
        beyond = facts["repeat"] - strategy.dry_allowed_length
        penalty_BE = strategy.dry_multiplier * torch.pow(strategy.dry_base, beyond.to(torch.float64))
        score_BE = score_BE - penalty_BE.masked_fill(beyond < 0, 0.0).to(score_BE.dtype)
    if "banned" in facts:
        score_BE = score_BE.masked_fill(facts["banned"] > 0, -torch.inf)
    if "end" in facts:
        early_B1 = (view.new_B < strategy.min_new_tokens)[:, None]
        score_BE = score_BE.masked_fill((facts["end"] > 0) & early_B1, -torch.inf)
        if strategy.exponential_decay_length_penalty:
            score_BE = _decayed(score_BE, facts["end"] > 0, view.new_B, *strategy.exponential_decay_length_penalty)
    vocabulary = view.scores.vocabulary
    if score_BE.shape[1] < vocabulary:  # some token is not even touched
        return score_BE
    banned_BE = (score_BE == -torch.inf) & (touched.token_BE < vocabulary)
    if "banned" in facts:
        before_BE = before_BE.masked_fill(facts["banned"] == _MASKED, -torch.inf)
    return torch.where(banned_BE.sum(1, keepdim=True) == vocabulary, before_BE, score_BE)


def _decayed(score_BE: Tensor, end_BE: Tensor, new_B: Tensor, start: int, factor: float) -> Tensor:
    """End tokens after `start` new ones gain |score| (factor^(tokens since) - 1): likelier from token to token."""
    since_B1 = (new_B - start).clamp_min(0)[:, None]
    growth_B1 = (torch.pow(factor, since_B1.to(torch.float64)) - 1).clamp_max(_HUGE).to(score_BE.dtype)
    return torch.where(end_BE & score_BE.isfinite(), score_BE + score_BE.abs() * growth_B1, score_BE)


def _tail(prefix_BL: Tensor, length_B: Tensor, size: int) -> Tensor:
    """The last `size` tokens of each row, [B, size]; NOTHING where the row is shorter."""
    at = length_B[:, None] - size + torch.arange(size, device=length_B.device)
    return torch.where(at < 0, _NOTHING, prefix_BL.gather(1, at.clamp_min(0)))


def _completes(sequences: Completions, view: View) -> Tensor:
    """Whether the next token could complete each sequence, [B, S]: the text ends with what goes before its last."""
    tail_BN = _tail(view.prefix_BL, view.length_B, sequences.before_SN.shape[1])
    same = (tail_BN[:, None, :] == sequences.before_SN) | (sequences.before_SN == EMPTY)
    return same.all(-1)


def _ends_ngram(prefix_BL: Tensor, length_B: Tensor, size: int) -> Tensor:
    """Whether the token at each place ends an n-gram that begins with the last n - 1 tokens of the text, [B, L]."""
    ends_BL = torch.zeros_like(prefix_BL, dtype=torch.bool)
    if prefix_BL.shape[1] >= size:
        begins_BLN = prefix_BL.unfold(1, size, 1)[:, :, :-1]
        ends_BL[:, size - 1 :] = (begins_BLN == _tail(prefix_BL, length_B, size - 1)[:, None, :]).all(-1)
    return ends_BL


def _repeats(prefix_BL: Tensor, length_B: Tensor, breakers: Tensor) -> Tensor:
    """Of the token at each place: how many tokens before it are the last ones of the text, [B, L].

    The token would extend a repeat of that length. A breaker ends the repeat, and is never part of one.
    """
    size = min(LONGEST_REPEAT, prefix_BL.shape[1])
    tail_BN = _tail(prefix_BL, length_B, size)
    tail_BN = tail_BN.masked_fill(among(tail_BN, breakers), _NOTHING)
    before_BLN = torch.nn.functional.pad(prefix_BL, (size, 0), value=EMPTY)[:, :-1].unfold(1, size, 1)
    same_BLN = (before_BLN == tail_BN[:, None, :]).flip(-1)  # the nearest first
    length_BL = same_BLN.cumprod(-1, dtype=torch.int8).sum(-1)
    return length_BL.masked_fill(among(prefix_BL, breakers), 0)
