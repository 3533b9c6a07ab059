"""What a strategy says of one step, without an engine: scores after its penalties, and the probability of every token.

A sampler's rules decide at boundaries, and another's arithmetic may fall on the other side of one. So what is kept is
also worked out with everything a little off: what stays kept whatever is off is kept for certain, what is kept at least
once may be.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor

from decodebench.strategies.base import Strategy
from decodebench.strategies.candidates import Candidates, Rule
from decodebench.strategies.edits import edited
from decodebench.strategies.greedy import Greedy
from decodebench.strategies.sampling import Sampler
from decodebench.strategies.step import EMPTY, Draws, ModelFacts, Scores, View

_NOISES = 6
"""How often the scores are put off at random, for each way in which the numbers are."""

_WIDTH = 4096
"""So many of the largest scores are looked at first; where they are not enough, all are."""

_WAYS = 16
"""Ways to put the numbers of a chain off, at most: each of four up or down."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a sampler makes of the scores of one row, [V] each: the probability of each token (0: dropped); whether it
    `may` be kept where all is a little off, and whether it `must`."""

    probability_V: Tensor
    may_V: Tensor
    must_V: Tensor


def scores_after_penalties(
    strategy: Strategy, logits_BV: Tensor, prefixes: Sequence[Sequence[int]], prompt_lengths: Sequence[int], **of: Any
) -> Tensor:
    """What the strategy chooses by behind each prefix (a prompt and a text), [B, V] float32: logits of greedy search
    and samplers, log-probs of a search, after penalties. `facts=` are those of the model."""
    view = _view(logits_BV, prefixes, prompt_lengths, of["facts"])
    logs = strategy.is_search and not isinstance(strategy, Greedy)
    scores, rows = edited(strategy, view, view.log_z_B if logs else None)
    return scores.rows(rows)


def kept_first(
    sampler: Sampler, logits_V: Tensor, prompt_ids: Sequence[int], facts: ModelFacts, tolerance: float
) -> Kept:
    """What the sampler makes of the logits behind a prompt, [V].

    With `tolerance` t the ratio of two probabilities may be off by the factor exp(t) either way, and so may the odds of
    each number between 0 and 1 of the rules.
    """
    generator = torch.Generator().manual_seed(0)
    noise_NV = torch.randint(0, 2, (_NOISES, len(logits_V)), generator=generator) * 2 - 1
    noise_NV = torch.cat([torch.zeros(1, len(logits_V), dtype=noise_NV.dtype), noise_NV])
    noisy_NV = logits_V.to(torch.float32)[None] + noise_NV * (tolerance / 2)
    rows = len(noisy_NV)
    score_NV = scores_after_penalties(sampler, noisy_NV, [prompt_ids] * rows, [len(prompt_ids)] * rows, facts=facts)
    rules, vocabulary = sampler.first_rules(), len(logits_V)
    ways = [rules, *_put_off(rules, tolerance)]
    for width in (min(_WIDTH, vocabulary), vocabulary):
        largest = _in_order(score_NV, width)
        found = [_probabilities(way, largest) for way in ways]
        if width == vocabulary or all(each is not None for each in found):
            break
    first, *others = (each for each in found if each is not None)
    may_V, must_V = first[0] > 0, first[0] > 0
    for off_NV in (each > 0 for each in others):
        may_V, must_V = may_V | off_NV.any(0), must_V & off_NV.all(0)
    return Kept(probability_V=first[0], may_V=may_V, must_V=must_V)


def _in_order(score_NV: Tensor, width: int) -> Candidates:
    """The largest scores as candidates, of rows that are at the first step of one request."""
    zero_N = torch.zeros(len(score_NV), dtype=torch.int64)
    rows_N = torch.arange(len(score_NV))
    return Candidates.of(Scores(score_NV), rows_N, width, _no_draws(len(score_NV)), zero_N)


def _probabilities(rules: Sequence[Rule], candidates: Candidates) -> Tensor | None:
    """The probability of every token after the rules, float64 [N, V]; what a rule's coin decides is weighed. None where
    these candidates are not enough to tell."""
    rows, vocabulary = len(candidates.rows_B), candidates.scores.vocabulary
    total_NV = torch.zeros(rows, vocabulary, dtype=torch.float64)
    for branch in product(*(rule.outcomes() for rule in rules)):
        weight, found = 1.0, candidates
        for share, rule in branch:
            weight *= share
            found = rule(found) if rule else found
        if candidates.ids_BK.shape[1] < vocabulary and (found.open or not bool(found.known_B.all())):
            return None
        total_NV.scatter_add_(1, found.ids_BK, weight * torch.softmax(found.left_BK, -1))
    return total_NV


def _put_off(rules: Sequence[Rule], tolerance: float) -> Iterator[tuple[Rule, ...]]:
    """The rules with every number that is a share put off, up or down."""
    numbers = [(at, name) for at, rule in enumerate(rules) for name in _shares(rule)]
    for signs in islice(product((1, -1), repeat=len(numbers)), _WAYS):
        off = list(rules)
        for (at, name), sign in zip(numbers, signs, strict=True):
            value = getattr(rules[at], name)
            odds = value / (1 - value) * math.exp(sign * tolerance)
            off[at] = replace(off[at], **{name: odds / (1 + odds)})  # type: ignore[type-var]
        yield tuple(off)


def _shares(rule: Any) -> list[str]:
    """The numbers of a rule that are compared with what float arithmetic makes of probabilities."""
    if rule.name == "temperature" or not is_dataclass(rule):
        return []
    values = {field.name: getattr(rule, field.name) for field in fields(rule) if field.name != "probability"}
    return [name for name, value in values.items() if isinstance(value, float) and 0 < value < 1]


def _no_draws(rows: int) -> Draws:
    """For rules whose coin is decided: what they draw is of no account."""
    zero_B = torch.zeros(rows, dtype=torch.int64)
    return Draws(torch.zeros(rows, 2, dtype=torch.int64), zero_B, zero_B)


def _view(
    logits_BV: Tensor, prefixes: Sequence[Sequence[int]], prompt_lengths: Sequence[int], facts: ModelFacts
) -> View:
    """Rows with these logits behind these prefixes, as a step sees them."""

    def nothing(*_: Any) -> Tensor:
        raise ValueError("one step alone has logits and no hidden states")

    rows = len(logits_BV)
    longest = max(map(len, prefixes))
    length_B = torch.tensor([len(prefix) for prefix in prefixes])
    return View(
        scores=Scores(logits_BV),
        physical_B=torch.arange(rows),
        prefix_BL=torch.tensor([[*prefix, *[EMPTY] * (longest - len(prefix))] for prefix in prefixes]),
        logprob_BL=torch.full((rows, longest), torch.nan),
        length_B=length_B,
        prompt_length_B=torch.tensor(prompt_lengths),
        limit_B=torch.full((rows,), longest + 1),
        stop_B=torch.zeros(rows, dtype=torch.int64),
        eos_ids=torch.tensor(facts.eos_ids, dtype=torch.int64),
        draws=_no_draws(rows),
        facts=facts,
        hidden=nothing,
        exit_logits=nothing,
        prompt_hidden=nothing,
    )
