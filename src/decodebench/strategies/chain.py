"""A sampler's chain: temperature and truncations in an order, and the draw from what they leave.

The draw is Gumbel-max (argmax of score + Gumbel noise of the token): with noise of 1e-5 on the logits none of 4,000
draws changed, where inverse-CDF sampling changed 32 to 45.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from decodebench.strategies.candidates import Candidates, Rule
from decodebench.strategies.step import Draws, Questions, Scores, true_or_all

WIDTHS = (64, 256, 1024, 16384)
"""How many of the largest scores are looked at, one after the other, before the whole vocabulary is sorted."""

TRANSFORMERS_ORDER = (
    "temperature",
    "top_h",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
)
"""The order in which `generate` applies what it has."""

ORDER = (*TRANSFORMERS_ORDER, "top_n_sigma", "tfs_z", "p_less", "xtc")
"""The order where none is given: what transformers lacks comes last."""


@dataclass(frozen=True)
class AtTemperature(Rule):
    """All scores divided by a temperature."""

    temperature: float
    name: ClassVar[str] = "temperature"
    needs_order: ClassVar[bool] = False

    def __call__(self, candidates: Candidates) -> Candidates:
        return candidates.at_temperature(self.temperature)

    def fields(self) -> dict[str, Any]:
        return {"temperature": self.temperature}


@dataclass(frozen=True)
class AtDynamicTemperature(Rule):
    """A temperature from `middle` - `reach` (one token is certain) to `middle` + `reach` (all are equally likely).

    Between them it goes with the entropy of what is left, as a share of the largest possible one (the logarithm of the
    number of tokens left), to the power `exponent`: llama.cpp's temp_ext. Banned tokens are not counted.
    """

    middle: float
    reach: float
    exponent: float
    name: ClassVar[str] = "temperature"
    needs_order: ClassVar[bool] = False

    def __call__(self, candidates: Candidates) -> Candidates:
        most_B = candidates.count_B.clamp_min(2).log()
        share_B = (candidates.entropy_B / most_B).clamp(0, 1)
        return candidates.at_temperatures(self.middle - self.reach + 2 * self.reach * share_B**self.exponent)


def in_transformers(rules: Sequence[Rule]) -> bool:
    """Whether transformers has all rules and applies them in this order."""
    places = [ORDER.index(rule.name) for rule in rules if rule.fields() is not None]
    return len(places) == len(rules) and places == sorted(places)


def draw(
    rules: Sequence[Rule], scores: Scores, rows: Tensor, draws: Draws, questions: Questions
) -> tuple[Tensor, Tensor]:
    """A token for each row, and its log-prob among those that were kept (NaN where no rule cuts): [B] each.

    Looks at as many of the largest scores as the rules need.
    """
    token_B = torch.empty_like(rows)
    logprob_B = torch.full(rows.shape, torch.nan, dtype=torch.float64, device=rows.device)
    widths = questions.widths(WIDTHS, scores.vocabulary) if any(rule.needs_order for rule in rules) else [0]
    left = torch.arange(len(rows), device=rows.device)
    for width in widths:
        found = Candidates.of(scores, rows[left], width, draws.of_rows(left), left)
        for rule in rules:
            found = rule(found)
        if found.open and width < scores.vocabulary:
            drawn_B, drawn_logprob_B = _from_all(found), logprob_B[left]
        else:
            drawn_B, drawn_logprob_B = _from_kept(found)
        last = width == widths[-1]  # it was enough whatever the rules say: they saw everything, or need no order
        if len(left) == len(rows) and (last or questions.all_true(found.known_B)):
            return drawn_B, drawn_logprob_B
        known_B = found.known_B | last
        token_B[left[known_B]], logprob_B[left[known_B]] = drawn_B[known_B], drawn_logprob_B[known_B]
        left = left[~known_B]
        if not left.numel():
            break
    return token_B, logprob_B


def draw_from_all(scores: Scores, rows: Tensor, temperature: float, draws: Draws) -> Tensor:
    """A token for each row, [B], from the whole vocabulary at a temperature."""
    return draw((AtTemperature(temperature),), scores, rows, draws, Questions())[0]


def _from_kept(found: Candidates) -> tuple[Tensor, Tensor]:
    """A draw from the candidates that are kept, and its log-prob."""
    noise_BK = _noise_of(found).gumbel(found.ids_BK)
    at_B1 = (found.score_BK + noise_BK).masked_fill(~found.kept_BK, -torch.inf).argmax(-1, keepdim=True)
    logprob_B = found.left_BK.gather(1, at_B1).squeeze(1) - torch.logsumexp(found.left_BK, -1)
    return found.ids_BK.gather(1, at_B1).squeeze(1), logprob_B


def _from_all(found: Candidates) -> Tensor:
    """A draw from the whole vocabulary; score and noise are made a few rows at a time.

    Rows for which the candidates were not enough get any token.
    """
    token_B = torch.zeros_like(found.rows_B)
    known = true_or_all(found.known_B)
    noise = _noise_of(found)
    for at, score_NV in found.scores.pieces(found.rows_B[known]):
        noise_NV = noise.of_rows(known[at]).gumbel_all(found.scores.vocabulary)
        token_B[known[at]] = noise_NV.add_(score_NV.div_(found.temperature)).argmax(-1)
    return token_B


def _noise_of(found: Candidates) -> Draws:
    if found.draws is None:
        raise ValueError("a draw needs the rows' draws")
    return found.draws
