"""A strategy is a step on rows: strategies that the package does not have, written here on View and Moves alone.

Contrastive search feeds candidates before it emits one (tentative rows) and reads hidden states, those of the prompt
too. Guidance owns a companion row that starts from another prompt. The engine knows neither.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode
from decodebench.strategies import Greedy, ModelFacts, Moves, State, Strategy, Temperature, View
from decodebench.strategies.step import EMPTY
from engine_runs import CACHED, PROMPTS, WHOLE, generated, requests_of, run

LIMIT = 10
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
FORWARDS = pytest.mark.parametrize("forward", [CACHED, WHOLE], ids=["cached", "whole"])


@dataclass(frozen=True, kw_only=True)
class Contrastive(Strategy):
    """Contrastive search (Su et al. 2022, equation 5): of the k likeliest tokens the one with the largest
    (1 - alpha) p(v) - alpha max_j cos(h_v, h_j), where j runs over the text so far and h is the last hidden state.

    A request owns k rows, all of the same text; each is fed one candidate, whose hidden state the next step reads.
    """

    penalty_alpha: float = 0.6
    candidates: int = 4
    hidden_size: int = 48
    max_new_tokens: int = LIMIT

    is_search = True

    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        return (-1,)

    @property
    def rows(self) -> int:
        return self.candidates

    @property
    def width(self) -> int:
        return self.candidates

    def start(self, requests: int, device: torch.device) -> State:
        rows = requests * self.candidates
        return {
            "candidate": torch.full((rows,), EMPTY, device=device),
            "logprob": torch.zeros(rows, device=device),
            "history": torch.zeros(requests, self.max_new_tokens, self.hidden_size, device=device),
        }

    def step(self, view: View, state: State) -> Moves:
        k = self.candidates
        requests = len(view.physical_B) // k
        candidate_RK, logprob_RK = (state[name].view(requests, k) for name in ("candidate", "logprob"))
        hidden_RKH = view.hidden_BH(-1).view(requests, k, -1)
        chosen_R1 = self._choose(view, state, hidden_RKH)[:, None]
        token_R1 = candidate_RK.gather(1, chosen_R1)  # EMPTY at a request's first step: nothing was fed yet
        new_R1 = view.new_B.view(requests, k)[:, :1]
        at = torch.arange(requests)
        ended_R1 = view.ends(token_R1, at[:, None] * k)

        history = state["history"].clone()
        history[at, new_R1[:, 0].clamp_max(self.max_new_tokens - 1)] = hidden_RKH[at, chosen_R1[:, 0]]

        parent_R1 = at[:, None] * k + chosen_R1
        physical = view.physical_B[parent_R1[:, 0]]
        value_RK, next_RK = view.scores.top(physical, k)
        return Moves(
            parent_B=parent_R1.expand(-1, k).flatten(),
            emit_B=token_R1.expand(-1, k).flatten(),
            feed_B=torch.where(ended_R1, EMPTY, next_RK).flatten(),
            logprob_B=logprob_RK.gather(1, chosen_R1).expand(-1, k).flatten(),
            state={
                "candidate": next_RK.flatten(),
                "logprob": (value_RK - view.scores.log_normalizer(physical)[:, None]).flatten(),
                "history": history,
            },
        )

    def _choose(self, view: View, state: State, hidden_RKH: Tensor) -> Tensor:
        """The best candidate of each request, [R]; of one that has none yet, row 0."""
        requests, k, _ = hidden_RKH.shape
        choice = torch.zeros(requests, dtype=torch.int64)
        for r in range(requests):
            if state["candidate"][r * k] == EMPTY:
                continue
            emitted = state["history"][r, : int(view.new_B[r * k])]
            context_TH = torch.cat([view.prompt_hidden(r, -1), emitted])
            cosine_KT = torch.cosine_similarity(hidden_RKH[r][:, None], context_TH[None], dim=-1)
            p_K = state["logprob"][r * k : (r + 1) * k].exp()
            score_K = (1 - self.penalty_alpha) * p_K - self.penalty_alpha * cosine_KT.amax(1)
            choice[r] = score_K.argmax()
        return choice

    def generation_config(self) -> dict[str, Any]:
        return {"penalty_alpha": self.penalty_alpha, "top_k": self.candidates}


def contrastive_by_hand(
    model: Any, prompt: tuple[int, ...], rule: Contrastive, limit: int, eos_ids: tuple[int, ...]
) -> tuple[list[int], list[float]]:
    """The tokens and their raw log-probs by plain forward passes over whole texts, one for each candidate."""

    def read(ids: list[int]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            out = model(torch.tensor([ids]), output_hidden_states=True)
        return torch.log_softmax(out.logits[0, -1], -1), out.hidden_states[-1][0]

    text, tokens, logprobs = list(prompt), [], []
    while True:
        logprob_V, context_TH = read(text)
        scored = []
        for candidate in logprob_V.topk(rule.candidates).indices.tolist():
            hidden_H = read([*text, candidate])[1][-1]
            similarity = max(float(torch.cosine_similarity(hidden_H, h, dim=0)) for h in context_TH)
            p = float(logprob_V[candidate].exp())
            scored.append(((1 - rule.penalty_alpha) * p - rule.penalty_alpha * similarity, candidate))
        token = max(scored)[1]
        text.append(token)
        tokens.append(token)
        logprobs.append(float(logprob_V[token]))
        if token in eos_ids or len(tokens) == limit:
            return tokens, logprobs


def ids_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names}


@FORWARDS
@pytest.mark.parametrize("max_rows", [9, 128])  # 9: two requests at once, the others come in as those end
@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_contrastive_search(tiny_models, arch, max_rows, forward):
    """Beside greedy and a sampler, whose rows it may share; texts end at different steps."""
    loaded = tiny_models[arch]
    prompts = ids_of(loaded, "ko", "en", "short")
    rules = {"a": Contrastive(), "b": Contrastive(penalty_alpha=0.3, candidates=3)}
    others = {"greedy": Greedy(), "pure": Temperature()}
    requests = requests_of(rules | others, prompts, limit=LIMIT, eos_ids=EOS_IDS)
    done = run(loaded.model, requests, forward=forward, max_rows=max_rows, layers=(-1,))
    assert done.failures == {}
    for cell, rule in rules.items():
        for prompt_id, prompt in prompts.items():
            tokens, logprobs = contrastive_by_hand(loaded.model, prompt, rule, LIMIT, EOS_IDS)
            outcome = done.outcomes[cell, prompt_id, 0, 0]
            assert list(outcome.token_ids) == tokens
            assert list(outcome.token_logprobs) == pytest.approx(logprobs, abs=1e-4)
    alone = run(loaded.model, requests_of(others, prompts, limit=LIMIT, eos_ids=EOS_IDS), forward=forward)
    assert {key: tokens for key, tokens in done.tokens.items() if key[0] in others} == alone.tokens


def test_contrastive_search_without_penalty_is_greedy(tiny_models):
    loaded = tiny_models["gpt2"]
    strategies = {"contrastive": Contrastive(penalty_alpha=0.0), "greedy": Greedy()}
    done = run(loaded.model, requests_of(strategies, ids_of(loaded, "ko", "en"), limit=LIMIT), layers=(-1,))
    for prompt_id in ("ko", "en"):
        assert done.tokens["contrastive", prompt_id, 0, 0] == done.tokens["greedy", prompt_id, 0, 0]


def test_tentative_tokens_are_computed_not_delivered(tiny_models):
    """Every delivered token, the last one too, was chosen among 4 that were fed."""
    loaded = tiny_models["llama"]
    (prompt,) = ids_of(loaded, "en").values()
    done = run(loaded.model, requests_of({"c": Contrastive()}, {"en": prompt}, limit=LIMIT), layers=(-1,))
    assert len(done.tokens["c", "en", 0, 0]) == LIMIT
    assert done.outcomes["c", "en", 0, 0].computed_tokens == len(prompt) + 4 * LIMIT == done.rows.tokens_computed


def test_tentative_tokens_cost_their_whole_text_without_a_cache(tiny_models):
    """P tokens, then for the n-th new token 4 texts of P + n."""
    loaded = tiny_models["llama"]
    (prompt,) = ids_of(loaded, "en").values()
    done = run(loaded.model, requests_of({"c": Contrastive()}, {"en": prompt}, limit=3), forward=WHOLE, layers=(-1,))
    p = len(prompt)
    assert done.rows.tokens_computed == p + 4 * (3 * p + 1 + 2 + 3)
    assert done.outcomes["c", "en", 0, 0].computed_tokens == done.rows.tokens_computed


@dataclass(frozen=True, kw_only=True)
class Guided(Strategy):
    """Greedy under classifier-free guidance (Sanchez et al. 2023): log p + (scale - 1) (log p - log p without the
    prompt). The second row of a request is the companion: it starts from the prompt's last token alone."""

    scale: float = 1.5

    is_search = True

    @property
    def rows(self) -> int:
        return 2

    @property
    def width(self) -> int:
        return 2

    def row_prompts(self, prompt_ids: tuple[int, ...], facts: ModelFacts) -> list[tuple[int, ...]]:
        return [prompt_ids, prompt_ids[-1:]]

    def step(self, view: View, state: State) -> Moves:
        logprob_RCV = torch.log_softmax(view.logits_BV, -1).unflatten(0, (-1, 2))
        with_prompt, without = logprob_RCV[:, 0], logprob_RCV[:, 1]
        token_R = (without + self.scale * (with_prompt - without)).argmax(-1)
        token_B = token_R.repeat_interleave(2)
        ended_B = view.ends(token_B, torch.arange(len(token_B), device=view.device))
        return Moves(parent_B=torch.arange(len(token_B)), emit_B=token_B, feed_B=torch.where(ended_B, EMPTY, token_B))

    def generation_config(self) -> dict[str, Any]:
        return {"guidance_scale": self.scale}


@FORWARDS
@pytest.mark.parametrize("arch", ["gpt2", "llama", "gemma3"])
@pytest.mark.parametrize("max_rows", [2, 128])
def test_guidance_equals_generate(tiny_models, arch, max_rows, forward):
    """transformers' guidance without a negative prompt starts from the last token too."""
    loaded = tiny_models[arch]
    prompts = ids_of(loaded, "ko", "en", "short")
    strategies = {"guided": Guided(), "strongly": Guided(scale=3.0), "greedy": Greedy()}
    requests = requests_of(strategies, prompts, limit=LIMIT, eos_ids=EOS_IDS)
    done = run(loaded.model, requests, forward=forward, max_rows=max_rows)
    assert done.failures == {}
    for (cell, prompt_id, _, _), outcome in done.outcomes.items():
        texts, _ = generated(
            loaded.model, strategies[cell], prompts[prompt_id], limit=LIMIT, eos_ids=EOS_IDS, pad_id=loaded.pad_id
        )
        assert list(outcome.token_ids) == texts[0], (cell, prompt_id)


def test_a_companion_is_computed_too(tiny_models):
    """P tokens and the companion's 1, then 2 rows for each new token but the last; the log-probs are those of row 0."""
    loaded = tiny_models["llama"]
    (prompt,) = ids_of(loaded, "ko").values()
    done = run(loaded.model, requests_of({"guided": Guided()}, {"ko": prompt}, limit=6))
    outcome = done.outcomes["guided", "ko", 0, 0]
    assert outcome.computed_tokens == len(prompt) + 1 + 2 * 5 == done.rows.tokens_computed
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([prompt + outcome.token_ids])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(outcome.token_ids)[:, None])[:, 0]
    assert list(outcome.token_logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


@dataclass(frozen=True, kw_only=True)
class Counting(Strategy):
    """Says n, n + 1, n + 2, ... by what it keeps: a number for each row, one for each request. It has two rows."""

    @property
    def rows(self) -> int:
        return 2

    @property
    def width(self) -> int:
        return 2

    def start(self, requests: int, device: torch.device) -> State:
        return {"next_B": torch.tensor([50, 70] * requests), "steps_R": torch.zeros(requests, dtype=torch.int64)}

    def step(self, view: View, state: State) -> Moves:
        token_B = state["next_B"]
        if not state["steps_R"].repeat_interleave(2).equal(view.new_B):
            raise ValueError("the state belongs to other rows")
        return Moves(
            parent_B=torch.arange(len(token_B)),
            emit_B=token_B,
            feed_B=torch.where(view.ends(token_B, torch.arange(len(token_B), device=view.device)), EMPTY, token_B),
            state={"next_B": token_B + 1, "steps_R": state["steps_R"] + 1},
        )

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        return torch.tensor([[1, 0]]).expand(len(state["steps_R"]), 2), None

    @property
    def returns(self) -> int:
        return 2

    def generation_config(self) -> dict[str, Any]:
        return {}


def test_state_follows_its_request(tiny_models):
    """As requests come and go: limits of 2 to 6 tokens, room for two requests of two rows."""
    loaded = tiny_models["llama"]
    requests = []
    limits = {"a": 2, "b": 5, "c": 6, "d": 3}
    for number, (name, limit) in enumerate(limits.items()):
        requests += requests_of({"counting": Counting()}, {name: (5 + number, 6)}, limit=limit)
    done = run(loaded.model, requests, max_rows=4)
    assert done.failures == {}
    for name, limit in limits.items():
        assert done.tokens["counting", name, 0, 0] == tuple(range(70, 70 + limit))
        assert done.tokens["counting", name, 0, 1] == tuple(range(50, 50 + limit))


@dataclass(frozen=True, kw_only=True)
class Wrong(Greedy):
    """Greedy for two tokens; then one row too few, or a row fed that rested."""

    how: str = "short"

    @property
    def rows(self) -> int:
        return 2

    def step(self, view: View, state: State) -> Moves:
        token_B = super().step(view.select(torch.arange(0, len(view.length_B), 2)), state).emit_B.repeat_interleave(2)
        late = int(view.new_B[0]) == 2
        feed_B = token_B.clone()
        feed_B[1::2] = 5 if late and self.how == "rested" else EMPTY
        short = late and self.how == "short"
        return Moves(parent_B=torch.arange(len(token_B)), emit_B=token_B, feed_B=feed_B[:-1] if short else feed_B)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("short", "ValueError: feed_B has 1 rows; allowed is 2"),
        (
            "rested",
            "ValueError: a row that rests was fed: what it said is gone, only rows that were fed can be continued",
        ),
    ],
)
def test_impossible_moves_fail_their_cell_alone(tiny_models, how, why):
    prompts = {"a": (5, 6, 7)}
    done = run(tiny_models["llama"].model, requests_of({"wrong": Wrong(how=how), "greedy": Greedy()}, prompts, limit=6))
    assert done.failures == {"wrong": why}
    assert len(done.tokens["greedy", "a", 0, 0]) == 6


@dataclass(frozen=True, kw_only=True)
class Remembering(Counting):
    """Keeps something from its second step on that its start does not have, and drops something that it has."""

    def start(self, requests: int, device: torch.device) -> State:
        return super().start(requests, device) | {"first_R": torch.ones(requests)}

    def step(self, view: View, state: State) -> Moves:
        requests = len(view.new_B) // 2
        late_R1 = state.get("late_R1", torch.zeros(requests, 1))
        if late_R1.shape != (requests, 1) or state.get("first_R", torch.ones(requests)).shape != (requests,):
            raise ValueError(f"states of {late_R1.shape} for {requests} requests")
        moves = super().step(view, {name: state[name] for name in ("next_B", "steps_R")})
        return Moves(**(vars(moves) | {"state": moves.state | {"late_R1": late_R1 + 1}}))


def test_states_that_come_and_go_fit_their_requests(tiny_models):
    requests = []
    for number, (name, limit) in enumerate({"a": 2, "b": 5, "c": 6, "d": 3}.items()):
        requests += requests_of({"x": Remembering()}, {name: (5 + number, 6)}, limit=limit)
    assert run(tiny_models["llama"].model, requests, max_rows=4).failures == {}
