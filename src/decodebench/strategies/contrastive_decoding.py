"""Contrastive decoding: what an expert finds likelier than an amateur does, among what the expert finds plausible.

`Contrast` is what all such rules share; DoLa (dola.py) is another.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.base import Strategy
from decodebench.strategies.chain import draw_from_all
from decodebench.strategies.edits import edit_scores
from decodebench.strategies.greedy import advance_alone
from decodebench.strategies.step import ModelFacts, Moves, Scores, State, View

_ELEMENTS = 2**24
"""Scores that are contrasted at once: a contrast takes several times their memory."""


@dataclass(frozen=True, kw_only=True)
class Contrast(Strategy):
    """The token with the largest contrast score among the plausible ones, or a draw from softmax(score / temperature).

    A token is plausible if its probability is at least `plausible` times that of the likeliest. Penalties edit the
    contrast scores, as transformers' do. Where they ban every plausible token, plausible is measured anew among the
    tokens that are left.
    """

    do_sample: bool = False
    temperature: float = 1.0
    num_return_sequences: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("temperature", self.temperature > 0, "above 0 (for temperature 0 use strategy.do_sample=false)")
        self.require("num_return_sequences", self.num_return_sequences >= 1, "1 or more")
        for name, only in (("temperature", 1.0), ("num_return_sequences", 1)):
            useful = self.do_sample or getattr(self, name) == only
            self.require(name, useful, f"{only} with strategy.do_sample=false (it would have no effect)")
        self.refuse_guidance()

    @property
    def is_search(self) -> bool:  # type: ignore[override]
        return not self.do_sample

    @property
    def in_transformers(self) -> bool:
        return False

    @property
    def samples(self) -> int:
        return self.num_return_sequences

    @property
    @abstractmethod
    def plausible(self) -> float:
        """The share of the largest probability that a plausible token has at least."""

    @abstractmethod
    def contrast(self, view: View, logp_BV: Tensor) -> Tensor:
        """The contrast scores of every token, given the expert's log-probs; [B, V], finite."""

    def step(self, view: View, state: State) -> Moves:
        rows = torch.arange(len(view.physical_B), device=view.device)
        at_once = max(1, _ELEMENTS // view.scores.vocabulary)
        tokens = [self._choose(view.select(some)) for some in torch.split(rows, at_once)]
        return advance_alone(view, torch.cat(tokens))

    def _choose(self, view: View) -> Tensor:
        scores_BV = self.scores(view)
        rows = torch.arange(len(scores_BV), device=view.device)
        if self.do_sample:
            return draw_from_all(Scores(scores_BV), rows, self.temperature, view.draws)
        return Scores(scores_BV).top(rows, 1)[1].squeeze(1)

    def scores(self, view: View) -> Tensor:
        """What is chosen by, [B, V]: contrast scores after penalties, -inf for what is not plausible."""
        logp_BV = view.logits_BV.sub_(view.scores.log_normalizer(view.physical_B)[:, None])
        scores_BV = edit_scores(self, view, self.contrast(view, logp_BV))
        banned_BV = scores_BV == -torch.inf
        kept_BV = (logp_BV >= logp_BV.amax(-1, keepdim=True) + math.log(self.plausible)) & ~banned_BV
        logp_BV = logp_BV.masked_fill_(banned_BV, -torch.inf)
        left_BV = logp_BV >= logp_BV.amax(-1, keepdim=True) + math.log(self.plausible)
        kept_BV |= ~kept_BV.any(-1, keepdim=True) & left_BV
        return scores_BV.masked_fill_(~kept_BV, -torch.inf)

    def generation_config(self) -> dict[str, Any]:
        return {
            "do_sample": self.do_sample,
            "num_beams": 1,
            "temperature": self.temperature,
            "num_return_sequences": self.num_return_sequences,
        }


@dataclass(frozen=True, kw_only=True)
class ContrastiveDecoding(Contrast):
    """Contrastive decoding (Li et al. 2023): log p(expert) - log p(amateur) among tokens with p(expert) >= alpha max p.

    The expert is the model. The amateur is the model that `amateur` names (a folder, a hub id), its logits divided by
    `amateur_temperature`, or, where that is null, what the expert itself would say after its layer `amateur_layer`
    (null: half of its layers), through all that it does behind its last one (Gera et al. 2023). A number in `beta`
    makes it (1 + beta) log p(expert) - beta log p(amateur) (O'Brien and Lewis 2023).
    """

    second_model_key: ClassVar[str] = "amateur"

    alpha: float = 0.1
    beta: float | None = None
    amateur: str | None = None
    amateur_layer: int | None = None
    amateur_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("alpha", 0 < self.alpha <= 1, "above 0, at most 1")
        self.require("beta", self.beta is None or self.beta >= 0, "0 or more, or null (the plain difference)")
        self.require_place("amateur", "a layer of the model itself")
        layer = self.amateur_layer is None or (self.amateur_layer >= 0 and self.amateur is None)
        self.require("amateur_layer", layer, "0 or more, or null; null with strategy.amateur")
        self.require("amateur_temperature", self.amateur_temperature > 0, "above 0")
        contrasts = self.beta != 0 or (self.amateur, self.amateur_layer, self.amateur_temperature) == (None, None, 1.0)
        self.require("beta", contrasts, "above 0 beside numbers of the amateur, which would have no effect")

    @property
    def plausible(self) -> float:
        return self.alpha

    @property
    def second_model(self) -> str | None:
        return self.amateur

    def check(self, facts: ModelFacts) -> None:
        if self.amateur is None:
            check_layers("amateur_layer", (self._layer(facts),), facts)

    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        return (self._layer(facts),) if self.amateur is None else ()

    def _layer(self, facts: ModelFacts) -> int:
        return facts.layers // 2 if self.amateur_layer is None else self.amateur_layer

    def contrast(self, view: View, logp_BV: Tensor) -> Tensor:
        own = self.amateur is None
        logits_BV = view.exit_logits_BV(self._layer(view.facts)) if own else view.amateur_logits_BV
        amateur_BV = torch.log_softmax(logits_BV.div_(self.amateur_temperature), -1)
        if self.beta is None:
            return logp_BV - amateur_BV
        return (1 + self.beta) * logp_BV - self.beta * amateur_BV


def check_layers(key: str, layers: tuple[int, ...], facts: ModelFacts) -> None:
    """Raise ConfigError for layers that the model lacks, or after which it has already ended."""
    wrong = [layer for layer in layers if not 0 <= layer < facts.layers]
    if wrong:
        raise ConfigError(
            f"strategy.{key}={wrong[0]}: this model has {facts.layers} layers; allowed is an earlier exit, "
            f"0 (the embeddings) to {facts.layers - 1}"
        )
