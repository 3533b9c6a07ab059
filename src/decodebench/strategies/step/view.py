"""One step of a strategy: what it sees of its rows (View), and what it answers (Moves)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.step.draws import Draws
from decodebench.strategies.step.scores import Scores
from decodebench.strategies.step.stops import StopStrings
from decodebench.strategies.step.waits import Questions, among

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
    embedding. `masked_ids` are never to be chosen, whatever the strategy (`model.mask_unused`). `stops` are the cell's
    stop strings, which `stop_keep` leaves in the text. `encode` gives the ids of a text without special tokens,
    `encode_prompt` those of a text that is fed as prompts are (special tokens, the cell's template), `decode` the text
    of ids.
    """

    vocabulary: int
    layers: int = 0
    tied: bool = False
    eos_ids: tuple[int, ...] = ()
    masked_ids: tuple[int, ...] = ()
    stops: StopStrings | None = None
    stop_keep: bool = False
    encode: Callable[[str], tuple[int, ...]] = _no_tokenizer
    encode_prompt: Callable[[str], tuple[int, ...]] = _no_tokenizer
    decode: Callable[[Sequence[int]], str] = _no_tokenizer


@dataclass(kw_only=True)
class View:
    """One step of one strategy: B = requests x rows per request, request-major.

    `scores` are the raw logits of all physical rows, shared by all strategies; a row of the view reads them at
    `physical_B`. Rows that were not fed since the last step have none: a strategy must not read theirs. `prefix_BL`
    holds prompt and emitted tokens, left-aligned, `EMPTY` behind `length_B`; `logprob_BL` has the raw log-prob of each
    emitted token at the same place (NaN elsewhere). `stop_B` is how much of a stop string each text ends with
    (`StopStrings`; 0 without them).
    """

    scores: Scores
    physical_B: Tensor
    prefix_BL: Tensor
    logprob_BL: Tensor
    length_B: Tensor
    prompt_length_B: Tensor
    limit_B: Tensor
    stop_B: Tensor
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
        """What the model says of the hidden states after `layer`, float32; `hidden_layers` must list it.

        `normed`: through all that it does behind its layers (norm, projection, head, scale, cap), as the last layer's
        go; else through the output head alone. Raises ModelError for a model of which that cannot be said.
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
        names = ("physical_B", "prefix_BL", "logprob_BL", "length_B", "prompt_length_B", "limit_B", "stop_B")
        return replace(self, draws=self.draws.of_rows(rows), **{name: getattr(self, name)[rows] for name in names})

    def ends(self, token: Tensor, row: Tensor) -> Tensor:
        """Whether emitting `token` behind the text of `row` ends it: it is finished, or the limit is reached.

        Token and row have one shape; EMPTY emits nothing.
        """
        return self.finishes(token, row) | (self.new_B[row] + (token != EMPTY) >= self.limit_B[row])

    def finishes(self, token: Tensor, row: Tensor) -> Tensor:
        """Whether `token` is EOS, or completes a stop string behind the text of `row`."""
        ended = among(token, self.eos_ids)
        stops = self.facts.stops
        return ended if stops is None else ended | stops.step(self.stop_B[row], token)[1]


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
