"""What a strategy is: a step on rows.

A strategy is a frozen record of numbers that owns `rows` logical rows for each request. At each step it sees a `View`
of the rows of all its requests and answers with `Moves`. It knows nothing of batches, caches or models; the engine
knows nothing of decoding rules.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.strategies.penalties import Penalties
from decodebench.strategies.step import ModelFacts, Moves, State, View


@dataclass(frozen=True, kw_only=True)
class Strategy(Penalties, ABC):
    """The numbers that compose with every strategy, and what the engine asks of one.

    `max_new_tokens` and `max_total_tokens` (unpadded prompt + new) bound the length, the smaller one holds. `eos` is
    "model" (the model's own end tokens), "none" (never stop early) or a list of token ids. A text ends before the first
    of the `stop` strings too, with `stop_keep` behind it. The penalties are transformers' (docs/strategies.md). With a
    `guidance_scale` other than 1 the scores are guided before all of them (`strategies.guidance`), away from what the
    model says without the prompt, or after the `negative_prompt`.
    """

    max_new_tokens: int | None = 64
    max_total_tokens: int | None = None
    min_new_tokens: int = 0
    eos: Any = "model"
    stop: Any = None
    stop_keep: bool = False
    guidance_scale: float = 1.0
    negative_prompt: str | None = None

    is_search: ClassVar[bool] = False
    second_model_key: ClassVar[str] = "second_model"
    """The number that names the second model, for errors."""
    packs: ClassVar[bool] = True
    """Whether it is a step on rows; one that takes several tokens at a time runs through `model.generate` instead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("max_new_tokens", self.max_new_tokens is None or self.max_new_tokens >= 1, "1 or more, or null")
        self.require(
            "max_total_tokens", self.max_total_tokens is None or self.max_total_tokens >= 2, "2 or more, or null"
        )
        self.require(
            "max_new_tokens",
            self.max_new_tokens is not None or self.max_total_tokens is not None,
            "a number where strategy.max_total_tokens is null",
        )
        self.require("min_new_tokens", self.min_new_tokens >= 0, "0 or more")
        self.require(
            "min_new_tokens",
            self.max_new_tokens is None or self.min_new_tokens <= self.max_new_tokens,
            f"at most strategy.max_new_tokens={self.max_new_tokens}",
        )
        self.require("guidance_scale", self.guidance_scale >= 0, "0 or more (1: off)")
        self.require(
            "negative_prompt",
            self.negative_prompt is None or self.guidance_scale != 1,
            "null, or a text where strategy.guidance_scale is not 1",
        )
        ids = isinstance(self.eos, Sequence) and not isinstance(self.eos, str)
        ids = ids and len(self.eos) > 0 and all(type(i) is int and i >= 0 for i in self.eos)
        ids = ids and len(set(self.eos)) == len(self.eos)
        self.require("eos", self.eos in ("model", "none") or ids, "model, none, or a list of different token ids")
        self._check_stop()
        self.require(
            "min_new_tokens",
            self.min_new_tokens == 0 or self.eos != "none",
            "0 with strategy.eos=none (it would have no effect)",
        )
        decay = self.exponential_decay_length_penalty
        self.require(
            "exponential_decay_length_penalty",
            decay is None or self.eos != "none",
            "null with strategy.eos=none (it would have no effect)",
        )
        self.require(
            "exponential_decay_length_penalty",
            decay is None or self.max_new_tokens is None or decay[0] <= self.max_new_tokens - 2,
            f"a start before the last of strategy.max_new_tokens={self.max_new_tokens} (it would have no effect)",
        )
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            self.require(name, not (isinstance(value, float) and not math.isfinite(value)), "a finite number")

    def _check_stop(self) -> None:
        """Raise the error of stop strings that are none; no strings are None."""
        self.require_texts("stop")
        texts = () if self.stop is None else self.stop
        listed = isinstance(texts, Sequence) and not isinstance(texts, str)
        listed = listed and len(set(texts)) == len(texts) and all(map(_is_unicode, texts))
        self.require("stop", listed, "a list of different texts, or null")
        object.__setattr__(self, "stop", tuple(texts) or None)
        useful = not self.stop_keep or self.stop is not None
        self.require("stop_keep", useful, "false without strategy.stop")

    def refuse_guidance(self) -> None:
        """Raise the error of guidance, which changes scores, where more of the model is read than its scores."""
        alone = self.guidance_scale == 1
        self.require("guidance_scale", alone, "1.0 with a strategy that reads more of the model than its scores")

    def require_place(self, name: str, instead: str) -> None:
        """Raise the error of a model that is named by an empty text, or by a path where nothing is."""
        place = getattr(self, name)
        self.require(name, place != "", f"a folder, a hub id, or null ({instead})")
        path = str(place).startswith((".", "/", "~"))
        self.require(name, not path or Path(place).expanduser().exists(), "a path where something is, or a hub id")

    @property
    def rows(self) -> int:
        """Logical rows that a request owns."""
        return 1

    @property
    def width(self) -> int:
        """Rows of a request that are fed at once, at most: what it costs."""
        return 1

    @property
    def samples(self) -> int:
        """Independent requests for each prompt."""
        return 1

    @property
    def returns(self) -> int:
        """Texts that one request returns."""
        return 1

    @property
    def in_transformers(self) -> bool:
        """Whether transformers' core decodes so from `generation_config()` alone (`deploy.exports` knows the rules)."""
        return True

    @property
    def second_model(self) -> str | None:
        """Folder or hub id of a second model: its logits are read too (`View.amateur_logits_BV`), or it drafts."""
        return None

    def check(self, facts: ModelFacts) -> None:
        """Raise ConfigError where the numbers do not fit this model."""

    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        """The layers whose hidden states the steps read."""
        return ()

    def row_prompts(self, prompt_ids: tuple[int, ...], facts: ModelFacts) -> list[tuple[int, ...]]:
        """What each row of a request starts from; a companion row may start from something else."""
        return [prompt_ids] * self.rows

    def start(self, requests: int, device: torch.device) -> State:
        """The state before the first step."""
        return {}

    @abstractmethod
    def step(self, view: View, state: State) -> Moves:
        """One step of all requests."""

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        """Of finished requests: which of its rows are returned, best first, [R, returns], and their scores.

        The view has their texts and log-probs; its rows have no logits any more.
        """
        return torch.zeros(len(view.length_B) // self.rows, 1, dtype=torch.int64), None

    def margins(self, state: State) -> Tensor | None:
        """How far each emitted token was ahead of the next best one after penalties, [B, L] at the places of the texts;
        None where that decides nothing."""
        return None

    @abstractmethod
    def generation_config(self) -> dict[str, Any]:
        """The decoding rule in transformers' words, without the length rules (see `deploy.generation_config`)."""


def _is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8: what a shell hands over need not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
