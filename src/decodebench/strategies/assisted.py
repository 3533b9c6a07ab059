"""Several tokens at a time: a draft proposes tokens, and one forward pass of the model checks them all.

Speculative decoding (Leviathan, Kalman and Matias 2023; Chen et al. 2023). A greedy text is the model's own greedy
text, whatever was drafted; a sampled one has the model's own distribution. What is drafted decides the cost alone.

These are no steps on rows: they run through `model.generate`, one prompt at a time (`decodebench.decoding.solo`).
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from decodebench.strategies.base import Strategy
from decodebench.strategies.step import ModelFacts, Moves, State, View

_COMPOSES = (
    "max_new_tokens",
    "max_total_tokens",
    "min_new_tokens",
    "eos",
    "stop",
    "stop_keep",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "sequence_bias",
    "bad_words",
)
"""The numbers of every strategy that `generate` keeps to while it checks several tokens."""

SCHEDULES = ("constant", "heuristic_transient")
"""transformers' `heuristic` carries the number from one text to the next: a text's cost would depend on the order."""


@dataclass(frozen=True, kw_only=True)
class Drafted(Strategy):
    """What the strategies with a draft share: greedy, or with `do_sample` drawn at a temperature."""

    do_sample: bool = False
    temperature: float = 1.0
    num_return_sequences: int = 1

    packs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for number in fields(Strategy):
            if number.name not in _COMPOSES:
                unchanged = getattr(self, number.name) == number.default
                self.require(number.name, unchanged, f"{number.default} where several tokens are taken at a time")
        self.require("temperature", self.temperature > 0, "above 0 (for temperature 0 use strategy.do_sample=false)")
        self.require("num_return_sequences", self.num_return_sequences >= 1, "1 or more")
        for name, off in (("temperature", 1.0), ("num_return_sequences", 1)):
            without = self.do_sample or getattr(self, name) == off
            self.require(name, without, f"{off} with strategy.do_sample=false (it would have no effect)")

    @property
    def samples(self) -> int:
        return self.num_return_sequences

    def step(self, view: View, state: State) -> Moves:
        raise NotImplementedError(f"{type(self).__name__} is no step on rows: it runs through `model.generate`")

    def generation_config(self) -> dict[str, Any]:
        return {"do_sample": self.do_sample, "num_beams": 1, "temperature": self.temperature, "num_return_sequences": 1}


@dataclass(frozen=True, kw_only=True)
class Assisted(Drafted):
    """Drafts by a small model (`draft`, a folder or hub id), or by the model's own first layers.

    Speculative decoding (Leviathan et al. 2023; Chen et al. 2023).

    With `draft` None the draft ends after `assistant_early_exit` layers, with the model's own norm and head behind them
    (self-speculative decoding: Elhoushi et al. 2024, LayerSkip); None: five sixths of its layers. A draft
    has `num_assistant_tokens` tokens; with the schedule `heuristic_transient` two more after a draft that was accepted
    whole and one fewer after another, from the start in each text. It ends early at a token less likely than
    `assistant_confidence_threshold` (0: never). Names are transformers'.
    """

    second_model_key: ClassVar[str] = "draft"

    draft: str | None = None
    assistant_early_exit: int | None = None
    num_assistant_tokens: int = 3
    num_assistant_tokens_schedule: str = "constant"
    assistant_confidence_threshold: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_place("draft", "the model's own first layers")
        layers = self.assistant_early_exit
        self.require("assistant_early_exit", layers is None or layers >= 1, "1 or more, or null")
        self.require("assistant_early_exit", layers is None or self.draft is None, "null beside strategy.draft")
        self.require("num_assistant_tokens", self.num_assistant_tokens >= 1, "1 or more")
        schedule = self.num_assistant_tokens_schedule
        self.require("num_assistant_tokens_schedule", schedule in SCHEDULES, " or ".join(SCHEDULES))
        threshold = self.assistant_confidence_threshold
        self.require("assistant_confidence_threshold", 0 <= threshold < 1, "0 (off) or more, below 1")

    def exit_layers(self, facts: ModelFacts) -> int:
        """How many of the model's first layers draft."""
        return self.assistant_early_exit or max(1, facts.layers * 5 // 6)

    @property
    def second_model(self) -> str | None:
        return self.draft

    def check(self, facts: ModelFacts) -> None:
        """Raise ConfigError where the draft would have all layers of the model, or more."""
        self.require(
            "assistant_early_exit",
            self.draft is not None or self.exit_layers(facts) < facts.layers,
            f"1 to {facts.layers - 1} with a model of {facts.layers} layers",
        )

    def generation_config(self) -> dict[str, Any]:
        names = ("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold")
        exits = {"assistant_early_exit": self.assistant_early_exit} if self.draft is None else {}
        return super().generation_config() | {name: getattr(self, name) for name in names} | exits


@dataclass(frozen=True, kw_only=True)
class PromptLookup(Drafted):
    """Drafts by looking up: the tokens that followed the last n-gram where prompt and text had it before (Saxena 2023).

    The longest n-gram of at most `max_matching_ngram_size` tokens that came before, at its first place; up to
    `prompt_lookup_num_tokens` tokens from there. Nothing found: one token, as greedy takes it. Names are transformers'.
    """

    prompt_lookup_num_tokens: int = 10
    max_matching_ngram_size: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("prompt_lookup_num_tokens", self.prompt_lookup_num_tokens >= 1, "1 or more")
        self.require("max_matching_ngram_size", self.max_matching_ngram_size >= 1, "1 or more")

    def generation_config(self) -> dict[str, Any]:
        names = ("prompt_lookup_num_tokens", "max_matching_ngram_size")
        return super().generation_config() | {name: getattr(self, name) for name in names}
