"""The numbers of the penalties, which compose with every strategy. What they do to scores: `edits`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from decodebench.errors import ConfigError

LONGEST_REPEAT = 50
"""DRY looks no further back than this, as its author's code: the penalty is beyond all scores long before."""


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """Numbers that change the scores of some tokens before a token is chosen; by default none of them does.

    Named as in transformers, in OpenAI's interface and vLLM (presence_penalty, frequency_penalty) and in llama.cpp
    (dry_*); `bad_words` are transformers' bad_words_ids as texts. docs/strategies.md says what each does, and when.
    Texts become token ids without special tokens, as they stand: " rain" and "rain" are different words.
    """

    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_sequence_breakers: Any = ("\n", ":", '"', "*")
    exponential_decay_length_penalty: Any = None
    sequence_bias: Any = None
    bad_words: Any = None

    def __post_init__(self) -> None:
        for name in ("bad_words", "dry_sequence_breakers", "sequence_bias"):
            self.require_texts(name)
        self.require("repetition_penalty", self.repetition_penalty > 0, "above 0 (1: off)")
        self.require("no_repeat_ngram_size", self.no_repeat_ngram_size >= 0, "0 (off) or more")
        self.require("presence_penalty", -2 <= self.presence_penalty <= 2, "-2 to 2 (0: off)")
        self.require("frequency_penalty", -2 <= self.frequency_penalty <= 2, "-2 to 2 (0: off)")
        self._check_dry()
        decay = self.exponential_decay_length_penalty
        self.require(
            "exponential_decay_length_penalty",
            decay is None or _is_decay(decay),
            "[start, factor] with start 0 or more and factor above 0 but not 1, or null (off)",
        )
        self.require(
            "sequence_bias",
            self.sequence_bias is None or _is_bias(self.sequence_bias),
            "a mapping of texts to finite numbers other than 0, or null (off)",
        )
        self.require(
            "bad_words",
            self.bad_words is None or (_is_sequence(self.bad_words) and len(self.bad_words) > 0),
            "a list of texts, or null (off)",
        )
        for name in ("dry_sequence_breakers", "exponential_decay_length_penalty", "bad_words"):
            value = getattr(self, name)  # a yaml gives lists, which would be unlike the default
            object.__setattr__(self, name, value if value is None else tuple(value))

    def _check_dry(self) -> None:
        self.require("dry_multiplier", self.dry_multiplier >= 0, "0 (off) or more")
        self.require("dry_base", self.dry_base >= 1, "1 or more")
        self.require(
            "dry_allowed_length", 1 <= self.dry_allowed_length <= LONGEST_REPEAT, f"1 to {LONGEST_REPEAT} tokens"
        )
        self.require("dry_sequence_breakers", _is_sequence(self.dry_sequence_breakers), "a list of texts, or []")
        for name in ("dry_base", "dry_allowed_length"):
            self._require_default(name, getattr(self, name))
        self._require_default("dry_sequence_breakers", tuple(self.dry_sequence_breakers))

    def _require_default(self, name: str, value: object) -> None:
        default = getattr(Penalties, name)
        self.require(
            name,
            self.dry_multiplier > 0 or value == default,
            f"{default} with strategy.dry_multiplier=0 (it would have no effect)",
        )

    def require_texts(self, name: str) -> None:
        """Raise the error of an entry of a list (of the keys of a mapping) of texts that is empty, or no text."""
        value = getattr(self, name)
        for number, text in enumerate(value if _is_sequence(value) or isinstance(value, Mapping) else (), start=1):
            if not (isinstance(text, str) and text):
                raise ConfigError(
                    f"strategy.{name}: entry {number} of {len(value)} is {text!r}; allowed are texts that are not empty"
                )

    def require(self, name: str, ok: bool, allowed: str) -> None:
        """Raise the error of a number outside its domain."""
        if not ok:
            raise ConfigError(f"strategy.{name}={getattr(self, name)}: allowed is {allowed}")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_decay(value: Any) -> bool:
    if not (_is_sequence(value) and len(value) == 2 and all(map(_is_number, value))):
        return False
    start, factor = value
    return isinstance(start, int) and start >= 0 and factor > 0 and factor != 1


def _is_bias(value: Any) -> bool:
    return (
        isinstance(value, Mapping) and len(value) > 0 and all(_is_number(bias) and bias != 0 for bias in value.values())
    )
