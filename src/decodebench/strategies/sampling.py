"""Samplers: a temperature, a set of kept tokens, and a draw from it with the request's own noise.

The draw is Gumbel-max (argmax of score + Gumbel noise of the token): with noise of 1e-5 on the logits none of 4,000
draws changed, where inverse-CDF sampling changed 32 to 45. A sampler differs from another only in the truncations.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.draws import Draws
from decodebench.scores import Scores, chunks
from decodebench.strategies.base import Moves, State, Strategy, View
from decodebench.strategies.edits import edited
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
        scores, rows = edited(self, view)
        if self.truncations():
            return advance_alone(view, self._draw(scores, rows, view.draws))
        return advance_alone(view, draw_from_all(scores.rows(rows), self.temperature, view.draws))

    def _draw(self, scores: Scores, rows: Tensor, draws: Draws) -> Tensor:
        """Draw a token for each row, looking at as many of the largest scores as the truncations need."""
        token = torch.empty_like(rows)
        left = torch.arange(len(rows), device=rows.device)
        for width in (*(w for w in _WIDTHS if w < scores.vocabulary), scores.vocabulary):
            drawn, enough = self._draw_within(width, scores, rows[left], draws.of_rows(left))
            enough |= width == scores.vocabulary
            token[left[enough]] = drawn[enough]
            left = left[~enough]
            if not left.numel():
                break
        return token

    def _draw_within(self, width: int, scores: Scores, rows: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Draw from the `width` largest scores, and say for which rows that was enough to know what is kept."""
        score, ids = scores.top(rows, width)
        candidates = Candidates(
            score_BK=score / self.temperature,
            kept_BK=score > -torch.inf,
            log_z=lambda: scores.log_normalizer(rows, self.temperature),
            mean_score=lambda: scores.mean_score(rows, self.temperature),
        )
        for truncation in self.truncations():
            candidates = truncation(candidates)
        noisy = (candidates.score_BK + draws.gumbel(ids)).masked_fill(~candidates.kept_BK, -torch.inf)
        token = ids.gather(1, noisy.argmax(-1, keepdim=True)).squeeze(1)
        return token, torch.zeros_like(rows, dtype=torch.bool) if candidates.cut_B is None else candidates.cut_B.clone()

    def generation_config(self) -> dict[str, Any]:
        return {
            "do_sample": True,
            "num_beams": 1,
            "temperature": self.temperature,
            "num_return_sequences": self.num_return_sequences,
        }


def draw_from_all(scores_BV: Tensor, temperature: float, draws: Draws) -> Tensor:
    """Gumbel-max over the whole vocabulary, [B]: score and noise are made and forgotten chunk by chunk."""
    best = scores_BV.new_full((len(scores_BV),), -torch.inf)
    token = torch.zeros(len(scores_BV), dtype=torch.int64, device=scores_BV.device)
    start = 0
    for chunk in chunks(scores_BV):
        ids = torch.arange(start, start + chunk.shape[1], device=chunk.device)
        here, at = (chunk / temperature + draws.gumbel(ids[None, :])).max(-1)
        better = here > best
        best, token = torch.where(better, here, best), torch.where(better, at + start, token)
        start += chunk.shape[1]
    return token


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
