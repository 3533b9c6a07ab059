"""What a strategy is: a step on rows.

A strategy is a frozen record of numbers that owns `rows` logical rows for each request. At each step it sees a `View`
of the rows of all its requests and answers with `Moves`. It knows nothing of batches, caches or models; the engine
knows nothing of decoding rules.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.penalties import Penalties
from decodebench.strategies.step import Draws, Questions, Scores, among

State = dict[str, Tensor]
"""Per-row (or per-request) tensors that a strategy keeps between steps; the first dimension is rows or requests."""

EMPTY = -1
"""The token that is no token: nothing emitted, or nothing fed."""


def _no_tokenizer(text: object) -> Any:
    raise ConfigError("this model has no tokenizer: a strategy that reads or compares text cannot run on it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a strategy may know of the model, its tokenizer and the end tokens of its cell.

    `layers` is the index of the last hidden state (0: the embeddings); `tied` says whether the output head is the
    embedding. `encode` gives the ids of a text without special tokens, `encode_prompt` those of a text that is fed as
    prompts are (special tokens, the cell's template), `decode` the text of ids.
    """

    vocabulary: int
    layers: int = 0
    tied: bool = False
    eos_ids: tuple[int, ...] = ()
    encode: Callable[[str], tuple[int, ...]] = _no_tokenizer
    encode_prompt: Callable[[str], tuple[int, ...]] = _no_tokenizer
    decode: Callable[[Sequence[int]], str] = _no_tokenizer


@dataclass(kw_only=True)
class View:
    """One step of one strategy: B = requests x rows per request, request-major.

    `scores` are the raw logits of all physical rows, shared by all strategies; a row of the view reads them at
    `physical_B`. Rows that were not fed since the last step have none: a strategy must not read theirs.
    `prefix_BL` holds prompt and emitted tokens, left-aligned, `EMPTY` behind `length_B`; `logprob_BL` has the raw
    log-prob of each emitted token at the same place (NaN elsewhere).
    """

    scores: Scores
    physical_B: Tensor
    prefix_BL: Tensor
    logprob_BL: Tensor
    length_B: Tensor
    prompt_length_B: Tensor
    limit_B: Tensor
    eos_ids: Tensor
    draws: Draws
    facts: ModelFacts
    hidden: Callable[[Tensor, int], Tensor]
    prompt_hidden: Callable[[int, int], Tensor]
    exit_logits: Callable[[Tensor, int, bool], Tensor]
    amateur: Scores | None = None
    questions: Questions = field(default_factory=Questions)
    """What the step may ask about numbers of the device."""
    guided: bool = False
    """Whether the scores are guided log-probs: their exponentials do not sum to 1."""

    @property
    def device(self) -> torch.device:
        return self.physical_B.device

    @cached_property
    def new_B(self) -> Tensor:
        """Tokens emitted so far, without the prompt."""
        return self.length_B - self.prompt_length_B

    @cached_property
    def logits_BV(self) -> Tensor:
        """Raw logits of the rows, float32."""
        return self.scores.rows(self.physical_B)

    @cached_property
    def log_z_B(self) -> Tensor:
        """What a search takes from the scores to have log-probs to add up: from guided ones, as there, nothing."""
        if self.guided:
            return torch.zeros(len(self.physical_B), device=self.device)
        return self.scores.log_normalizer(self.physical_B)

    def hidden_BH(self, layer: int) -> Tensor:
        """Hidden states after `layer` at the last fed position; the strategy must list it in `hidden_layers`."""
        return self.hidden(self.physical_B, layer)

    def exit_logits_BV(self, layer: int, normed: bool = True) -> Tensor:
        """What the output head says of the hidden states after `layer`, float32; `hidden_layers` must list it.

        `normed`: through the model's final norm, as the last layer's go (models without one have none to go through).
        """
        return self.exit_logits(self.physical_B, layer, normed)

    @cached_property
    def amateur_logits_BV(self) -> Tensor:
        """Raw logits of the second model for the same rows, float32; the strategy must name it in `second_model`."""
        if self.amateur is None:
            raise ValueError("a strategy that reads a second model's logits names it in `second_model`")
        return self.amateur.rows(self.physical_B)

    def select(self, rows: Tensor) -> "View":
        """The view of some of the rows (indices, in that order)."""
        names = ("physical_B", "prefix_BL", "logprob_BL", "length_B", "prompt_length_B", "limit_B")
        return replace(self, draws=self.draws.of_rows(rows), **{name: getattr(self, name)[rows] for name in names})

    def ends(self, token: Tensor, new: Tensor, limit: Tensor) -> Tensor:
        """Whether emitting `token` as the new-th token ends a text: it is EOS, or the limit is reached."""
        return among(token, self.eos_ids) | (new >= limit)


@dataclass(frozen=True, kw_only=True)
class Moves:
    """A strategy's answer: for each new row, where it comes from and what happens to it.

    `parent_B` is the row of this view that the new row continues; `emit_B` the token appended to its text (EMPTY: none,
    a candidate may be tentative); `feed_B` the token fed to the model next (EMPTY: the row rests or has ended; it can
    be kept, dropped or returned, but not fed again). A request is finished when none of its rows is fed. `logprob_B` is
    the raw log-prob of the emitted token where it is not that of `parent_B` at this step; None otherwise. `state` is
    that of the new rows.
    """

    parent_B: Tensor
    emit_B: Tensor
    feed_B: Tensor
    state: State = field(default_factory=dict)
    logprob_B: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Strategy(Penalties, ABC):
    """The numbers that compose with every strategy, and what the engine asks of one.

    `max_new_tokens` and `max_total_tokens` (unpadded prompt + new) bound the length, the smaller one holds. `eos` is
    "model" (the model's own end tokens), "none" (never stop early) or a list of token ids. The penalties are
    transformers' (docs/strategies.md). With a `guidance_scale` other than 1 the scores are guided before all of them
    (`strategies.guidance`), away from what the model says without the prompt, or after the `negative_prompt`.
    """

    max_new_tokens: int | None = 64
    max_total_tokens: int | None = None
    min_new_tokens: int = 0
    eos: Any = "model"
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
