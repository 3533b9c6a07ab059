"""DoLa: decoding by contrasting layers (Chuang et al. 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.strategies.contrastive_decoding import Contrast, check_layers
from decodebench.strategies.edits import edit_scores
from decodebench.strategies.step import ModelFacts, View


@dataclass(frozen=True, kw_only=True)
class DoLa(Contrast):
    """Contrast the model with itself at an early exit: log p(last layer) - log p(early layer), among plausible tokens.

    At each step the early layer is the candidate whose distribution is farthest from the last one's, for each row on
    its own. `dola_layers` names the candidates, counted from 0, the embeddings: every second layer of the lower ("low")
    or upper ("high") half, as transformers picks them, or a list. None ([] or null): nothing to contrast with, plain
    greedy decoding or sampling. `relative_top` is the plausibility constraint (alpha in the paper).

    `variant` "paper": farthest by Jensen-Shannon divergence, and an early layer's state goes through all that the model
    does behind its layers (its norm, its head, a scale), as the last layer's does. "transformers": as the authors' code
    and transformers compute it, through the head alone, and farthest by the divergence with the arguments of both of
    its terms exchanged.
    """

    dola_layers: Any = "low"
    relative_top: float = 0.1
    variant: str = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        layers = self.dola_layers
        ids = isinstance(layers, Sequence) and not isinstance(layers, str) and all(map(_is_layer, layers))
        named = layers is None or layers in ("low", "high")
        self.require("dola_layers", named or (ids and len(set(layers)) == len(layers)), _LAYERS)
        self.require("relative_top", 0 < self.relative_top <= 1, "above 0, at most 1")
        self.require("variant", self.variant in ("paper", "transformers"), "paper, or transformers")
        if not layers:
            self.require("relative_top", self.relative_top == DoLa.relative_top, "0.1 without strategy.dola_layers")
            self.require("variant", self.variant == DoLa.variant, "paper without strategy.dola_layers")

    @property
    def plausible(self) -> float:
        return self.relative_top

    def check(self, facts: ModelFacts) -> None:
        check_layers("dola_layers", self.hidden_layers(facts), facts)

    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        if self.dola_layers == "low":
            return low_layers(facts)
        if self.dola_layers == "high":
            return high_layers(facts)
        return tuple(self.dola_layers or ())

    def scores(self, view: View) -> Tensor:
        if not self.hidden_layers(view.facts):
            return edit_scores(self, view, view.logits_BV)
        return super().scores(view)

    def contrast(self, view: View, logp_BV: Tensor) -> Tensor:
        first, *others = self.hidden_layers(view.facts)
        chosen_BV = self._early(view, first)
        if others:
            farthest_B = self._distance(logp_BV, chosen_BV)
        for layer in others:
            early_BV = self._early(view, layer)
            distance_B = self._distance(logp_BV, early_BV)
            chosen_BV = torch.where((distance_B > farthest_B)[:, None], early_BV, chosen_BV)
            farthest_B = torch.maximum(distance_B, farthest_B)
        return logp_BV - chosen_BV

    def _early(self, view: View, layer: int) -> Tensor:
        return torch.log_softmax(view.exit_logits_BV(layer, normed=self.variant == "paper"), -1)

    def _distance(self, logp_BV: Tensor, early_BV: Tensor) -> Tensor:
        """What the early layer is chosen by, [B]: a divergence, or one less the constant ln 2."""
        return -overlap(logp_BV, early_BV) if self.variant == "paper" else exchanged_divergence(logp_BV, early_BV)


_LAYERS = "low, high, a list of different layers (0: the embeddings), or none (null)"


def _is_layer(layer: object) -> bool:
    return isinstance(layer, int) and not isinstance(layer, bool) and layer >= 0


def low_layers(facts: ModelFacts) -> tuple[int, ...]:
    """Every second layer of the lower half (of more than 40 layers, of the lowest 20).

    Where the head is the embedding, the embeddings say the last token again: it starts with layer 2 then.
    """
    first = 0 if not facts.tied else 2 if facts.layers > 2 else 1 if facts.layers == 2 else 0
    end = facts.layers // 2 if facts.layers <= 40 else 20
    return tuple(range(first, end, 2)) or (first,)


def high_layers(facts: ModelFacts) -> tuple[int, ...]:
    """Every second layer of the upper half (of more than 40 layers, of the highest 20), but for the last."""
    first = facts.layers // 2 if facts.layers <= 40 else facts.layers - 20
    return tuple(range(first, facts.layers, 2))


def overlap(p_BV: Tensor, q_BV: Tensor) -> Tensor:
    """ln 2 minus the Jensen-Shannon divergence of two log-probs, [B]; 0 for distributions without a common token.

    Of far layers the divergence is ln 2 but for its last digits: this is what tells them apart. With m = (p + q) / 2
    it is (sum of p log(1 + q / p) + q log(1 + p / q)) / 2, of which no term is negative.
    """
    difference_BV = q_BV - p_BV
    of_p = p_BV.exp() * torch.nn.functional.softplus(difference_BV)
    of_q = q_BV.exp() * torch.nn.functional.softplus(-difference_BV)
    return (of_p + of_q).sum(-1) / 2


def exchanged_divergence(p_BV: Tensor, q_BV: Tensor) -> Tensor:
    """(KL(m || p) + KL(m || q)) / 2 of two log-probs, with m = (p + q) / 2, [B]."""
    m_BV = (p_BV.exp() + q_BV.exp()) / 2
    return (m_BV.xlogy(m_BV) - m_BV * (p_BV + q_BV) / 2).sum(-1)
