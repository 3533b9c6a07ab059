"""The texts of a strategy's penalties as token ids of a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.penalties import Penalties
from decodebench.strategies.step import EMPTY, ModelFacts

Sequences = Mapping[tuple[int, ...], float]
"""Sequences of token ids, and what is added to the score of the token that completes one."""


@dataclass(frozen=True, kw_only=True)
class Completions:
    """S sequences: their last tokens, what goes before, and what completing one adds to the score."""

    before_SN: Tensor
    """Aligned to the right; EMPTY where a sequence is shorter than the longest, which any token matches."""
    last_S: Tensor
    added_S: Tensor


@dataclass(frozen=True, kw_only=True)
class PenaltyTokens:
    """What the texts of a strategy's penalties are for one tokenizer, on one device."""

    biased: Completions | None
    bad: Completions | None
    breakers: Tensor


_ENCODED: WeakKeyDictionary[Callable[..., Any], dict[tuple[str, tuple[str, ...]], list[tuple[int, ...]]]] = (
    WeakKeyDictionary()
)
_KNOWN: WeakKeyDictionary[Callable[..., Any], dict[str, PenaltyTokens]] = WeakKeyDictionary()
"""The texts that were encoded, for as long as their tokenizer is there: a step must not encode them again."""


def penalty_tokens(strategy: Penalties, facts: ModelFacts, device: torch.device) -> PenaltyTokens:
    """The token ids of the penalties' texts; encoded once. Raises ConfigError as `check_penalties`."""
    known = _KNOWN.setdefault(facts.encode, {})
    key = repr((strategy.sequence_bias, strategy.bad_words, _breakers(strategy), str(device)))
    if key not in known:
        breakers = breaker_ids(strategy, facts)
        known[key] = PenaltyTokens(
            biased=_completions(bias_ids(strategy, facts), device),
            bad=_completions(dict.fromkeys(bad_ids(strategy, facts), -torch.inf), device),
            breakers=torch.tensor(breakers, dtype=torch.int64, device=device),
        )
    return known[key]


def check_penalties(strategy: Penalties, facts: ModelFacts) -> None:
    """Raise ConfigError for a text of a penalty that has no tokens, or could have no effect, with this model."""
    bias_ids(strategy, facts)
    breaker_ids(strategy, facts)
    for text, ids in zip(strategy.bad_words or (), bad_ids(strategy, facts), strict=True):
        if len(ids) == 1 and ids[0] in facts.eos_ids:
            raise ConfigError(f"strategy.bad_words: {text!r} is an end token; to go on after it use strategy.eos=none")


def penalty_fields(strategy: Penalties, facts: ModelFacts | None, ends: bool = True) -> dict[str, Any]:
    """The penalties that transformers has too, as fields of a GenerationConfig; with texts they need `facts`.

    Without end tokens (`ends`) transformers cannot make them likelier: the decay is left out.
    """
    decay = strategy.exponential_decay_length_penalty
    fields: dict[str, Any] = {
        "repetition_penalty": strategy.repetition_penalty,
        "no_repeat_ngram_size": strategy.no_repeat_ngram_size,
        "exponential_decay_length_penalty": list(decay) if decay and ends else None,
    }
    if strategy.sequence_bias or strategy.bad_words:
        if facts is None:
            raise ValueError("texts of penalties become token ids only with the facts of a model")
        fields["sequence_bias"] = [[list(ids), bias] for ids, bias in bias_ids(strategy, facts).items()] or None
        fields["bad_words_ids"] = [list(ids) for ids in bad_ids(strategy, facts)] or None
    return fields


def bias_ids(strategy: Penalties, facts: ModelFacts) -> dict[tuple[int, ...], float]:
    """The biased sequences of token ids."""
    texts = tuple(strategy.sequence_bias or ())
    ids = encoded("sequence_bias", texts, facts)
    return {sequence: float(strategy.sequence_bias[text]) for text, sequence in zip(texts, ids, strict=True)}


def bad_ids(strategy: Penalties, facts: ModelFacts) -> list[tuple[int, ...]]:
    """The forbidden sequences of token ids."""
    return encoded("bad_words", tuple(strategy.bad_words or ()), facts)


def breaker_ids(strategy: Penalties, facts: ModelFacts) -> tuple[int, ...]:
    """The tokens that end a repeat: the last one of each breaker behind an "a", as the author of DRY takes them.

    Tokenizers often give the start of a text tokens of its own, so a breaker alone might be another token. A breaker
    without tokens is an error where it was asked for; of the default ones it is left out, since no text can have it.
    """
    found = []
    for text in _breakers(strategy):
        ids = facts.encode("a" + text)
        if ids != facts.encode("a"):
            found.append(ids[-1])
        elif strategy.dry_sequence_breakers != Penalties.dry_sequence_breakers:
            raise ConfigError(f"strategy.dry_sequence_breakers: {text!r} has no tokens for this model")
    return tuple(dict.fromkeys(found))


def _breakers(strategy: Penalties) -> tuple[str, ...]:
    return tuple(strategy.dry_sequence_breakers) if strategy.dry_multiplier else ()


def encoded(name: str, texts: tuple[str, ...], facts: ModelFacts) -> list[tuple[int, ...]]:
    """The token ids of the texts that a number has. Raises ConfigError where one has none, or two have the same."""
    known = _ENCODED.setdefault(facts.encode, {})
    if (name, texts) not in known:
        known[name, texts] = _encoded(name, texts, facts)
    return known[name, texts]


def _encoded(name: str, texts: Sequence[str], facts: ModelFacts) -> list[tuple[int, ...]]:
    found: dict[tuple[int, ...], str] = {}
    for text in texts:
        ids = tuple(facts.encode(text))
        if not ids:
            raise ConfigError(
                f"strategy.{name}: {text!r} has no tokens for this model; allowed is a text that has some"
            )
        if max(ids) >= facts.vocabulary:
            raise ConfigError(f"strategy.{name}: {text!r} has token {max(ids)}, the model knows {facts.vocabulary}")
        if ids in found:
            raise ConfigError(
                f"strategy.{name}: {found[ids]!r} and {text!r} are the same tokens; allowed is one of them"
            )
        found[ids] = text
    return list(found)


def _completions(sequences: Sequences, device: torch.device) -> Completions | None:
    if not sequences:
        return None
    longest = max(map(len, sequences)) - 1
    before = [(EMPTY,) * (longest + 1 - len(ids)) + ids[:-1] for ids in sequences]
    return Completions(
        before_SN=torch.tensor(before, dtype=torch.int64, device=device).view(len(before), longest),
        last_S=torch.tensor([ids[-1] for ids in sequences], device=device),
        added_S=torch.tensor(list(sequences.values()), dtype=torch.float64, device=device),
    )
