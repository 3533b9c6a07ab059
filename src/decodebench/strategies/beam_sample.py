"""Beam sampling: a beam search whose candidates are drawn instead of being the best, as transformers does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.strategies.beam import Beam, logprobs
from decodebench.strategies.candidates import Candidates, Rule
from decodebench.strategies.domains import if_on, require_domain
from decodebench.strategies.step import Draws, Questions, Scores, View
from decodebench.strategies.truncation import KeepTopK, KeepTopP

_WIDTHS = (64, 1024, 16384)
"""How many of the largest scores are looked at, one after the other, before the whole vocabulary is."""


@dataclass(frozen=True, kw_only=True)
class BeamSample(Beam):
    """At each step draw the candidates of all beams without replacement, in proportion to exp(accumulated score).

    Source: transformers (`do_sample=True` with `num_beams` above 1). The score of a token is its log-prob after the
    penalties, over the temperature; what is cut is not renormalised. (end tokens + 1) x num_beams candidates are drawn
    (at least 2 x num_beams); of the unfinished ones the num_beams best run on, and texts that end among the first
    num_beams drawn are kept by score / length**length_penalty. Each beam keeps one token more than there are end tokens
    (without end tokens two), whatever top_k and top_p say.

    The draw is Gumbel top-k (Kool et al. 2019): the largest of accumulated score + Gumbel noise, in that order, are
    draws without replacement. The noise belongs to (request, step, beam, token).
    """

    temperature: float = 1.0
    top_k: int | None = 50
    top_p: float | None = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("temperature", self.temperature > 0, "above 0 (for temperature 0 use strategy=beam)")
        require_domain(self, "top_k", null=True)
        require_domain(self, "top_p", null=True)

    def _candidates(self, view: View, running: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The C continuations drawn for each request, [R, C], in the order in which they were drawn."""
        requests, beams = running.shape
        count = self._candidate_count(view.eos_ids.numel())
        rows = view.select(self._running_rows(view, requests, beams))
        lane_B = torch.arange(beams, device=view.device).repeat(requests)
        score_BC, noisy_BC, token_BC = self._drawn(rows, lane_B, count)
        # Each beam's share of the draws is its own largest: of these, the largest over all beams.
        noisy, score = (
            (own_BC.view(requests, beams, -1) + running[:, :, None]).flatten(1) for own_BC in (noisy_BC, score_BC)
        )
        at = noisy.topk(count).indices
        return score.gather(1, at), at // score_BC.shape[1], token_BC.reshape(requests, -1).gather(1, at)

    def _drawn(self, rows: View, lane_B: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The `count` largest noisy scores of each row among the tokens that are kept: score, score + noise, token."""
        scores, at, log_z_B1 = logprobs(self, rows)
        if not self._rules():
            value, noisy, token = gumbel_top(scores, at, self.temperature, rows.draws, lane_B, count)
        else:
            widths = rows.questions.widths([width for width in _WIDTHS if width >= count], scores.vocabulary)
            value, kept, token = self._kept(scores, at, widths, max(2, 1 + rows.eos_ids.numel()), rows.questions)
            noisy = (value + rows.draws.gumbel(token, lane_B)).masked_fill(~kept, -torch.inf)
            noisy, best = noisy.topk(min(count, noisy.shape[1]))
            token, value = token.gather(1, best), value.gather(1, best).masked_fill(noisy == -torch.inf, -torch.inf)
        shift_B1 = log_z_B1 / self.temperature
        return value - shift_B1, noisy - shift_B1, token

    def _rules(self) -> tuple[Rule, ...]:
        numbers = ((KeepTopK, if_on(self, "top_k")), (KeepTopP, if_on(self, "top_p")))
        return tuple(make(number) for make, number in numbers if number is not None)

    def _kept(
        self, scores: Scores, at: Tensor, widths: Sequence[int], least: int, questions: Questions
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The largest scores over the temperature, which of them are kept (the `least` best always), and tokens."""
        for width in widths:
            largest = Candidates.of(scores, at, width).at_temperature(self.temperature)
            candidates = largest
            for rule in self._rules():
                candidates = rule(candidates)
            if width == widths[-1] or questions.all_true(candidates.known_B):
                break
        first = torch.arange(width, device=at.device) < least
        return largest.score_BK, candidates.kept_BK | (largest.kept_BK & first), largest.ids_BK

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {
            "do_sample": True,
            "temperature": self.temperature,
            "top_k": if_on(self, "top_k") or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
        }


def gumbel_top(
    scores: Scores, at: Tensor, temperature: float, draws: Draws, lane_B: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` largest of score / temperature + Gumbel noise over the whole vocabulary, a few rows at a time.

    Returns score / temperature, that plus the noise, and the tokens, [B, count] each, by noisy score.
    """
    parts = []
    for piece, scores_NV in scores.pieces(at):
        own = torch.arange(piece.start, piece.stop, device=at.device)
        scores_NV.div_(temperature)
        noisy_NV = draws.of_rows(own).gumbel_all(scores.vocabulary, lane_B[own]).add_(scores_NV)
        noisy, token = noisy_NV.topk(min(count, scores.vocabulary))
        parts.append((scores_NV.gather(1, token), noisy, token))
    value, noisy, token = map(torch.cat, zip(*parts, strict=True))
    return value, noisy, token
