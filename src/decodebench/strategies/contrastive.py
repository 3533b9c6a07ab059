"""Contrastive search: of the likeliest candidates, the one whose hidden state is least like any of the text before it.

A request owns k rows, all of the same text. Each is fed one candidate without emitting it; the next step reads the
candidates' hidden states, emits the best one, and continues all k rows from it.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from decodebench.errors import ConfigError
from decodebench.strategies.base import Strategy
from decodebench.strategies.edits import edited
from decodebench.strategies.step import EMPTY, ModelFacts, Moves, Scores, State, View


@dataclass(frozen=True, kw_only=True)
class Contrastive(Strategy):
    """What contrastive searches share: they differ in how many candidates they keep, and in alpha.

    The candidate v of the largest (1 - alpha) p(v) - alpha max_j cos(h_v, h_j) is emitted (Su et al. 2022, equation 5):
    p is the distribution after the penalties, h the last hidden state, j runs over prompt and text. Equal scores go to
    the likelier candidate, then to the smaller id.

    The state: for each row its `candidate` (EMPTY: none), the candidate's `p` and raw `logprob`; for each request the
    `alpha` that goes with them, and as `context` the unit hidden states of prompt and text, [R, L, H].
    """

    is_search: ClassVar[bool] = True

    @property
    def width(self) -> int:
        return self.rows

    @property
    def in_transformers(self) -> bool:
        return False

    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        return (-1,)

    def start(self, requests: int, device: torch.device) -> State:
        rows = requests * self.rows
        return {
            "candidate": torch.full((rows,), EMPTY, device=device),
            "p": torch.zeros(rows, device=device),
            "logprob": torch.zeros(rows, device=device),
            "alpha": torch.zeros(requests, 1, device=device),
            "context": torch.zeros(requests, 0, 0, device=device),
            # After a step this is [R, 0]: its width says, without asking the device, that requests have come in.
            "is_new": torch.ones(requests, 1, dtype=torch.bool, device=device),
        }

    def step(self, view: View, state: State) -> Moves:
        k = self.rows
        first_R = torch.arange(0, len(view.physical_B), k, device=view.device)
        hidden_BH = _unit(view.hidden_BH(-1))
        hidden_RKH = hidden_BH.view(-1, k, hidden_BH.shape[1])
        context_RLH = _context(view, state, first_R, hidden_BH.shape[1])
        length_R = view.length_B[first_R]
        chosen_R = self._choose(state, hidden_RKH, context_RLH, length_R)

        request_R = torch.arange(len(first_R), device=view.device)
        # Of a request that comes in nothing is chosen yet; what is written here is written again at its next step.
        context_RLH[request_R, length_R] = hidden_RKH[request_R, chosen_R]
        row_R = first_R + chosen_R
        token_R = state["candidate"][row_R]
        ahead = _appended(view.select(row_R), token_R)
        ended_R1 = view.ends(token_R, row_R)[:, None]
        proposed = self._propose(ahead, state)
        return Moves(
            parent_B=row_R.repeat_interleave(k),
            emit_B=token_R.repeat_interleave(k),
            feed_B=proposed["candidate"].view(-1, k).masked_fill(ended_R1, EMPTY).flatten(),
            logprob_B=state["logprob"][row_R].repeat_interleave(k),
            state=proposed | {"context": context_RLH, "is_new": state["is_new"][:, :0]},
        )

    def _choose(self, state: State, hidden_RKH: Tensor, context_RLH: Tensor, length_R: Tensor) -> Tensor:
        """Which row of each request has the best candidate, [R]; 0 where there is none yet."""
        candidate_RK, p_RK = (state[name].view(-1, self.rows) for name in ("candidate", "p"))
        cosine_RKL = hidden_RKH @ context_RLH.transpose(1, 2)
        behind_RL = torch.arange(context_RLH.shape[1], device=length_R.device) >= length_R[:, None]
        penalty_RK = cosine_RKL.masked_fill(behind_RL[:, None], -torch.inf).amax(-1)
        score_RK = (1 - state["alpha"]) * p_RK - state["alpha"] * penalty_RK
        # The first of equal ones: candidates are in the order (likelier, smaller id).
        return score_RK.masked_fill(candidate_RK == EMPTY, -torch.inf).argmax(-1)

    def _propose(self, ahead: View, state: State) -> State:
        """The candidates that follow each request's text, and the rest of the state; `ahead` has a row a request."""
        scores, rows = edited(self, ahead)
        value_RK, token_RK = scores.top(rows, self.rows)
        logp_RK = value_RK - scores.log_normalizer(rows)[:, None]
        count_R1, own = self._adapt(ahead, scores, rows, logp_RK, state)
        place_K = torch.arange(self.rows, device=ahead.device)
        # A banned token is no candidate, even where fewer than k are left.
        kept_RK = (place_K == 0) | ((place_K < count_R1) & (value_RK > -torch.inf))
        raw_RK = ahead.scores.of_tokens(ahead.physical_B[:, None], token_RK)
        raw_RK = raw_RK - ahead.scores.log_normalizer(ahead.physical_B)[:, None]
        return own | {
            "candidate": token_RK.masked_fill(~kept_RK, EMPTY).flatten(),
            "p": logp_RK.exp().flatten(),
            "logprob": raw_RK.flatten(),
        }

    @abstractmethod
    def _adapt(
        self, ahead: View, scores: Scores, rows: Tensor, logp_RK: Tensor, state: State
    ) -> tuple[Tensor | int, State]:
        """How many of the likeliest tokens are candidates ([R, 1], or one number for all), and `alpha` in the state."""

    def generation_config(self) -> dict[str, Any]:
        return {"do_sample": False, "num_beams": 1}


@dataclass(frozen=True, kw_only=True)
class ContrastiveSearch(Contrastive):
    """Contrastive search with a fixed number of candidates and a fixed penalty (Su et al. 2022, SimCTG).

    As transformers had it, now in the hub repository transformers-community/contrastive-search: the prompt counts as
    context, the first candidates follow the prompt, p(v) is that of the processed scores.
    """

    penalty_alpha: float = 0.6
    top_k: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_guidance()
        self.require("penalty_alpha", 0 <= self.penalty_alpha <= 1, "0 to 1")
        self.require("top_k", self.top_k >= 1, "1 or more")

    @property
    def rows(self) -> int:
        return self.top_k

    def check(self, facts: ModelFacts) -> None:
        _require_vocabulary("top_k", self.top_k, facts)

    def _adapt(
        self, ahead: View, scores: Scores, rows: Tensor, logp_RK: Tensor, state: State
    ) -> tuple[Tensor | int, State]:
        return self.top_k, {"alpha": torch.full_like(state["alpha"], self.penalty_alpha)}


@dataclass(frozen=True, kw_only=True)
class AdaptiveContrastive(Contrastive):
    """Adaptive contrastive search (Garces Arias et al. 2024): more candidates and a larger alpha in doubt.

    With H_t the entropy (nats) of the next token and V the size of the vocabulary,
    d_t = q arctanh((H_t - median(H_1 .. H_t-1)) / ln V) and k_t = round(min_k + (max_k - min_k) sigmoid(d_t)). alpha_t
    is sigmoid(d'_t), where d' is the same of the entropy among the k_t candidates, with ln k_t for ln V. At the first
    step d = d' = 0. The paper has min_k 5 and max_k 15; its q is 1 in the authors' configuration.

    Unlike the authors' code, the medians are of one text and not of all texts so far, alpha is not rounded to two
    digits, and a ratio outside -1 to 1 (candidates that were more before) is the nearer end instead of NaN. Its row
    count is max_k, of which k_t are fed.
    """

    q: float = 1.0
    min_k: int = 5
    max_k: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_guidance()
        self.require("q", self.q > 0, "above 0")
        self.require("max_k", self.max_k >= 2, "2 or more (1 candidate: use strategy=greedy)")
        self.require("min_k", 1 <= self.min_k <= self.max_k, f"1 to strategy.max_k={self.max_k}")

    @property
    def rows(self) -> int:
        return self.max_k

    def check(self, facts: ModelFacts) -> None:
        _require_vocabulary("max_k", self.max_k, facts)

    def start(self, requests: int, device: torch.device) -> State:
        past = torch.zeros(requests, 0, device=device)
        return super().start(requests, device) | {"entropy": past, "entropy_k": past}

    def _adapt(
        self, ahead: View, scores: Scores, rows: Tensor, logp_RK: Tensor, state: State
    ) -> tuple[Tensor | int, State]:
        step_R1, columns = ahead.new_B[:, None], ahead.prefix_BL.shape[1]
        past_RL, past_k_RL = (_widened(state[name], columns) for name in ("entropy", "entropy_k"))

        entropy_R1 = (scores.log_normalizer(rows) - scores.mean_score(rows))[:, None]
        largest = entropy_R1.new_full((), math.log(scores.vocabulary))
        count_R1 = self.count(surprise(entropy_R1, largest, past_RL, step_R1))

        inside_RK = torch.arange(self.max_k, device=ahead.device) < count_R1
        p_RK = logp_RK.masked_fill(~inside_RK, -torch.inf).softmax(-1)
        entropy_k_R1 = torch.special.entr(p_RK).sum(-1, keepdim=True)
        largest_k_R1 = count_R1.clamp_min(2).log()  # of one candidate alpha has no effect; 0 would divide
        alpha_R1 = self.alpha(surprise(entropy_k_R1, largest_k_R1, past_k_RL, step_R1))
        return count_R1, {
            "alpha": alpha_R1,
            "entropy": past_RL.scatter(1, step_R1, entropy_R1),
            "entropy_k": past_k_RL.scatter(1, step_R1, entropy_k_R1),
        }

    def count(self, surprise: Tensor) -> Tensor:
        """k_t, a whole number (halves to the even one)."""
        return torch.round(self.min_k + (self.max_k - self.min_k) * torch.sigmoid(self.q * surprise))

    def alpha(self, surprise: Tensor) -> Tensor:
        """alpha_t, 0 to 1."""
        return torch.sigmoid(self.q * surprise)


def surprise(entropy_R1: Tensor, largest: Tensor, past_RL: Tensor, count_R1: Tensor) -> Tensor:
    """arctanh((entropy - median of the first `count` past ones) / largest), [R, 1]; 0 where there are none.

    The median of an even number is the mean of the middle two.
    """
    outside_RL = torch.arange(past_RL.shape[1], device=past_RL.device) >= count_R1
    ordered_RL = past_RL.masked_fill(outside_RL, torch.inf).sort(-1).values
    middle = [ordered_RL.gather(1, at) for at in ((count_R1 - 1).clamp_min(0) // 2, count_R1 // 2)]
    median_R1 = torch.where(count_R1 == 0, entropy_R1, (middle[0] + middle[1]) / 2)
    return torch.atanh(((entropy_R1 - median_R1) / largest).clamp(-1, 1))


def _context(view: View, state: State, first_R: Tensor, hidden_size: int) -> Tensor:
    """The unit hidden states of prompt and text, as wide as the texts may become: the state's own memory where it fits.

    Where requests have come in, the prompts are copied into it: all of them, which changes nothing for the others.
    """
    context_RLH = state["context"]
    shape = (len(first_R), view.prefix_BL.shape[1], hidden_size)
    if context_RLH.shape != shape:
        gaps = (0, shape[2] - context_RLH.shape[2], 0, shape[1] - context_RLH.shape[1])
        context_RLH = functional.pad(context_RLH, gaps)
    if state["is_new"].shape[1]:
        for request in range(len(first_R)):
            prompt_TH = _unit(view.prompt_hidden(request, -1))
            context_RLH[request, : len(prompt_TH)] = prompt_TH
    return context_RLH


def _appended(view: View, token_B: Tensor) -> View:
    """The view with one more token in each row's text; EMPTY adds none."""
    at_B1 = view.length_B[:, None]
    token_B1 = torch.where(token_B[:, None] == EMPTY, view.prefix_BL.gather(1, at_B1), token_B[:, None])
    return replace(
        view, prefix_BL=view.prefix_BL.scatter(1, at_B1, token_B1), length_B=view.length_B + (token_B != EMPTY)
    )


def _unit(hidden: Tensor) -> Tensor:
    """Vectors of length 1 in the same direction, float32."""
    return functional.normalize(hidden.to(torch.float32), dim=-1)


def _widened(past_RL: Tensor, columns: int) -> Tensor:
    return functional.pad(past_RL, (0, columns - past_RL.shape[1]))


def _require_vocabulary(name: str, candidates: int, facts: ModelFacts) -> None:
    if candidates > facts.vocabulary:
        raise ConfigError(f"strategy.{name}={candidates}: allowed is up to {facts.vocabulary}, the model's vocabulary")
