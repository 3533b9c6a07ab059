"""Samplers: a temperature, a set of kept tokens, and a draw from it with the request's own noise.

The draw is Gumbel-max (argmax of score + Gumbel noise of the token): with noise of 1e-5 on the logits none of 4,000
draws changed, where inverse-CDF sampling changed 32 to 45. A sampler differs from another only in the truncations.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.draws import Draws
from decodebench.strategies.base import Moves, State, Strategy, View
from decodebench.strategies.edits import edit_scores, edits
from decodebench.strategies.greedy import advance_alone
from decodebench.strategies.truncation import Candidates, KeepMinP, KeepTopK, KeepTopP, KeepTypical, Truncation

_WIDTHS = (64, 1024, 16384)
"""How many of the largest scores are looked at, one after the other, before the whole vocabulary is sorted."""


@dataclass(frozen=True, kw_only=True)
class Sampler(Strategy):
    """Draws one token a step; `num_return_sequences` independent samples for each prompt."""

    temperature: float = 1.0
    num_return_sequences: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("temperature", self.temperature > 0, "above 0 (for temperature 0 use strategy=greedy)")
        self.require("num_return_sequences", self.num_return_sequences >= 1, "1 or more")

    @property
    def samples(self) -> int:
        return self.num_return_sequences

    @abstractmethod
    def truncations(self) -> tuple[Truncation, ...]:
        """The truncations in the order in which they apply (transformers' order)."""

    def step(self, view: View, state: State) -> Moves:
        edited = edit_scores(self, view, view.logits_BV) if edits(self) else None
        if not self.truncations():
            scores_BV = view.logits_BV if edited is None else edited
            noise = view.draws.gumbel_all(scores_BV.shape[1])
            return advance_alone(view, (scores_BV / self.temperature + noise).argmax(-1))
        if edited is None:
            score, ids = view.top(_WIDTHS[0])
            candidates = self._candidates(score, view.log_normalizer_B, lambda: view.logits_BV)
            token, decided = self._draw(candidates, ids, view.draws)
        else:
            token, decided = self._draw_from(edited, _WIDTHS[0], view.draws)
        for width in (*_WIDTHS[1:], None):
            rest = (~decided).nonzero().squeeze(-1)
            if not rest.numel():
                break
            scores_BV = (view.logits_BV if edited is None else edited)[rest]
            token[rest], decided[rest] = self._draw_from(scores_BV, width, view.draws.of_rows(rest))
        return advance_alone(view, token)

    def _draw_from(self, scores_BV: Tensor, width: int | None, draws: Draws) -> tuple[Tensor, Tensor]:
        """Draw, looking at the `width` largest scores (None: at all of them); and whether that was enough."""
        vocabulary = scores_BV.shape[1]
        score, ids = top_by_value_then_id(scores_BV, width or vocabulary)
        candidates = self._candidates(score, lambda t: torch.logsumexp(scores_BV / t, -1), lambda: scores_BV)
        token, decided = self._draw(candidates, ids, draws)
        return token, decided | (score.shape[1] == vocabulary)

    def _candidates(
        self, score_BK: Tensor, log_z: Callable[[float], Tensor], scores_BV: Callable[[], Tensor]
    ) -> Candidates:
        def mean_score() -> Tensor:
            scaled = scores_BV() / self.temperature
            return (torch.softmax(scaled, -1) * scaled.masked_fill(scaled == -torch.inf, 0.0)).sum(-1)

        return Candidates(
            score_BK=score_BK / self.temperature,
            kept_BK=score_BK > -torch.inf,
            log_z=lambda: log_z(self.temperature),
            mean_score=mean_score,
        )

    def _draw(self, candidates: Candidates, ids_BK: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        for truncation in self.truncations():
            candidates = truncation(candidates)
        noisy = candidates.score_BK + draws.gumbel(ids_BK)
        at = noisy.masked_fill(~candidates.kept_BK, -torch.inf).argmax(-1, keepdim=True)
        decided = (
            candidates.cut_B if candidates.cut_B is not None else torch.zeros_like(at.squeeze(1), dtype=torch.bool)
        )
        return ids_BK.gather(1, at).squeeze(1), decided

    def generation_config(self) -> dict[str, Any]:
        return {
            "do_sample": True,
            "num_beams": 1,
            "temperature": self.temperature,
            "num_return_sequences": self.num_return_sequences,
        }


def top_by_value_then_id(scores_BV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores and their ids, [B, k], ordered by (value down, id up): `topk` leaves ties in any order."""
    value, ids = torch.topk(scores_BV, min(k, scores_BV.shape[1]))
    ids, by_id = ids.sort(dim=-1)
    value, by_value = value.gather(1, by_id).sort(dim=-1, descending=True, stable=True)
    return value, ids.gather(1, by_value)


@dataclass(frozen=True, kw_only=True)
class Temperature(Sampler):
    """Pure (ancestral) sampling at a temperature: every token is kept."""

    def truncations(self) -> tuple[Truncation, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class TopK(Sampler):
    """Sampling from the k likeliest tokens (Fan et al. 2018)."""

    top_k: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("top_k", self.top_k >= 1, "1 or more (to keep all tokens use strategy=temperature)")

    def truncations(self) -> tuple[Truncation, ...]:
        return (KeepTopK(self.top_k),)

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {"top_k": self.top_k}


@dataclass(frozen=True, kw_only=True)
class TopP(Sampler):
    """Nucleus sampling (Holtzman et al. 2020)."""

    top_p: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("top_p", 0 < self.top_p <= 1, "above 0, at most 1")

    def truncations(self) -> tuple[Truncation, ...]:
        return (KeepTopP(self.top_p),) if self.top_p < 1 else ()

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {"top_p": self.top_p}


@dataclass(frozen=True, kw_only=True)
class MinP(Sampler):
    """Min-p sampling (Nguyen et al. 2024)."""

    min_p: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("min_p", 0 < self.min_p <= 1, "above 0, at most 1")

    def truncations(self) -> tuple[Truncation, ...]:
        return (KeepMinP(self.min_p),)

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {"min_p": self.min_p}


@dataclass(frozen=True, kw_only=True)
class Typical(Sampler):
    """Locally typical sampling (Meister et al. 2023)."""

    typical_p: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("typical_p", 0 < self.typical_p < 1, "above 0, below 1 (1 keeps all: use strategy=temperature)")

    def truncations(self) -> tuple[Truncation, ...]:
        return (KeepTypical(self.typical_p),)

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {"typical_p": self.typical_p}


@dataclass(frozen=True, kw_only=True)
class Sample(Sampler):
    """Top-k, then top-p, at a temperature: the notebook's sampling. Null turns top_k or top_p off."""

    top_k: int | None = 50
    top_p: float | None = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("top_k", self.top_k is None or self.top_k >= 1, "1 or more, or null (off)")
        self.require("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0, at most 1, or null (off)")

    def truncations(self) -> tuple[Truncation, ...]:
        rules: list[Truncation] = []
        if self.top_k is not None:
            rules.append(KeepTopK(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            rules.append(KeepTopP(self.top_p))
        return tuple(rules)

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {
            "top_k": self.top_k or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
        }
