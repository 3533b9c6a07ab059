"""Contrastive search and adaptive contrastive search against plain forward passes over whole texts, and by hand.

transformers' core has neither any more, so nothing is held against it here. The oracle is written from the papers'
equations; penalties in it are transformers' processors.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from decodebench.errors import ConfigError
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode
from decodebench.strategies import AdaptiveContrastive, ContrastiveSearch, Greedy, ModelFacts, Strategy, Temperature
from decodebench.strategies.contrastive import surprise
from decodebench.strategies.step import EMPTY
from engine_runs import CACHED, PROMPTS, WHOLE, Run, requests_of, run, view_of

LIMIT = 10
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
CONTRASTIVE: dict[str, Strategy] = {
    "contrastive": ContrastiveSearch(),
    "three, mild": ContrastiveSearch(penalty_alpha=0.3, top_k=3),
    "likeness alone": ContrastiveSearch(penalty_alpha=1.0, top_k=6),
    "penalties": ContrastiveSearch(repetition_penalty=1.5, no_repeat_ngram_size=2, min_new_tokens=6),
    "adaptive": AdaptiveContrastive(),
    "adaptive, sharp": AdaptiveContrastive(q=8.0, min_k=1, max_k=7),
    "adaptive, penalties": AdaptiveContrastive(repetition_penalty=1.3, min_new_tokens=4),
}


@dataclass
class Text:
    """What the oracle wrote: tokens, their raw log-probs, and how many candidates it weighed for each."""

    tokens: list[int]
    logprobs: list[float]
    counts: list[int]


Weights = Callable[[list[float]], tuple[int, float]]
"""Probabilities of the next token -> (how many candidates, alpha); it may remember what it was asked before."""


def entropy(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def weights_of(rule: Strategy) -> Weights:
    """k_t and alpha_t from the papers' equations."""
    if isinstance(rule, ContrastiveSearch):
        return lambda probabilities: (rule.top_k, rule.penalty_alpha)
    assert isinstance(rule, AdaptiveContrastive)
    past: list[float] = []
    past_k: list[float] = []

    def certainty(value: float, before: list[float], largest: float) -> float:
        """sigmoid(q arctanh(x)) = (1 + x)^(q/2) / ((1 + x)^(q/2) + (1 - x)^(q/2))"""
        x = (value - statistics.median(before)) / largest if before else 0.0
        x = max(-1.0, min(1.0, x))
        up, down = (1 + x) ** (rule.q / 2), (1 - x) ** (rule.q / 2)
        return up / (up + down)

    def weights(probabilities: list[float]) -> tuple[int, float]:
        now = entropy(probabilities)
        count = round(rule.min_k + (rule.max_k - rule.min_k) * certainty(now, past, math.log(len(probabilities))))
        best = sorted(probabilities, reverse=True)[:count]
        now_k = entropy([p / sum(best) for p in best])
        alpha = certainty(now_k, past_k, math.log(count) if count > 1 else 1.0)
        past.append(now)
        past_k.append(now_k)
        return count, alpha

    return weights


def processors_of(rule: Strategy, prompt: tuple[int, ...], eos_ids: tuple[int, ...]) -> LogitsProcessorList:
    found = LogitsProcessorList()
    if rule.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(rule.repetition_penalty))
    if rule.no_repeat_ngram_size:
        found.append(NoRepeatNGramLogitsProcessor(rule.no_repeat_ngram_size))
    if rule.min_new_tokens:
        found.append(MinNewTokensLengthLogitsProcessor(len(prompt), rule.min_new_tokens, list(eos_ids)))
    return found


def by_hand(model: Any, prompt: tuple[int, ...], rule: Strategy, limit: int, eos_ids: tuple[int, ...]) -> Text:
    """Each candidate's hidden state by its own forward pass over the whole text."""

    def read(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            out = model(torch.tensor([ids]), output_hidden_states=True)
        return out.logits[0, -1], out.hidden_states[-1][0].double()

    weights, processors = weights_of(rule), processors_of(rule, prompt, eos_ids)
    ids, text = list(prompt), Text([], [], [])
    while True:
        logits_V, context_TH = read(ids)
        raw_V = torch.log_softmax(logits_V.double(), -1)
        p_V = torch.softmax(processors(torch.tensor([ids]), logits_V[None].clone())[0].double(), -1).tolist()
        count, alpha = weights(p_V)
        scored = []
        for token in sorted(range(len(p_V)), key=lambda i: (-p_V[i], i))[:count]:
            hidden_H = read([*ids, token])[1][-1]
            likeness = max(float(torch.dot(hidden_H, h) / (hidden_H.norm() * h.norm())) for h in context_TH)
            scored.append(((1 - alpha) * p_V[token] - alpha * likeness, token))
        token = max(scored, key=lambda pair: pair[0])[1]
        ids.append(token)
        text.tokens.append(token)
        text.logprobs.append(float(raw_V[token]))
        text.counts.append(count)
        if token in eos_ids or len(text.tokens) == limit:
            return text


_written: dict[tuple[str, str, str], Text] = {}


def expected(loaded: LoadedModel, cell: str, prompt_id: str) -> Text:
    """The oracle's text, written once for all tests."""
    key = (loaded.name, cell, prompt_id)
    if key not in _written:
        prompt = encode(loaded, PROMPTS[prompt_id])
        _written[key] = by_hand(loaded.model, prompt, CONTRASTIVE[cell], LIMIT, EOS_IDS)
    return _written[key]


def prompts_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names}


def decoded(loaded: LoadedModel, rules: dict[str, Strategy], *names: str, limit: int = LIMIT, **how: Any) -> Run:
    requests = requests_of(rules, prompts_of(loaded, *names), limit=limit, eos_ids=EOS_IDS)
    done = run(loaded.model, requests, layers=(-1,), **how)
    assert done.failures == {}
    return done


# --- the texts of the definition ------------------------------------------------------------------------------------

CASES = [(arch, CACHED, rows) for arch in ("gpt2", "gptj", "llama", "gemma3") for rows in (1, 19, 128)]
CASES += [("gpt1", WHOLE, 128), ("gpt1", WHOLE, 19), ("llama", WHOLE, 128), ("gemma3", WHOLE, 19)]


@pytest.mark.parametrize(
    ("arch", "forward", "max_rows"), CASES, ids=[f"{arch}, {how.path}, {rows} rows" for arch, how, rows in CASES]
)
def test_texts_are_those_of_the_definition(tiny_models, arch, forward, max_rows):
    """Seven rules beside greedy and a sampler whose rows they may share. 1 row: each request alone; 19: a few."""
    loaded = tiny_models[arch]
    others = {"greedy": Greedy(), "pure": Temperature()}
    names = ("ko", "en", "short")
    done = decoded(loaded, CONTRASTIVE | others, *names, forward=forward, max_rows=max_rows)
    for cell in CONTRASTIVE:
        for name in names:
            outcome, text = done.outcomes[cell, name, 0, 0], expected(loaded, cell, name)
            assert list(outcome.token_ids) == text.tokens, (cell, name)
            assert list(outcome.token_logprobs) == pytest.approx(text.logprobs, abs=1e-4), (cell, name)
    alone = decoded(loaded, others, *names, forward=forward)
    assert {key: tokens for key, tokens in done.tokens.items() if key[0] in others} == alone.tokens


def test_the_cases_tell_the_rules_apart(tiny_models):
    """The rules above write different texts, of which some end with an end token and some at the limit."""
    loaded = tiny_models["llama"]
    texts = {(cell, name): expected(loaded, cell, name).tokens for cell in CONTRASTIVE for name in ("ko", "en")}
    assert len({tuple(text) for text in texts.values()}) > len(CONTRASTIVE)
    lengths = [len(text) for text in texts.values()]
    assert min(lengths) < LIMIT == max(lengths)
    greedy = decoded(loaded, {"greedy": Greedy()}, "ko", "en").tokens
    assert all(texts["contrastive", name] != list(greedy["greedy", name, 0, 0]) for name in ("ko", "en"))
    counts = {count for name in ("ko", "en") for count in expected(loaded, "adaptive, sharp", name).counts}
    assert len(counts) > 2


def test_requests_that_come_and_go(tiny_models):
    """Prompts of 3 to 35 tokens, limits of 1 to 16, room for three requests of 4 rows: those that join differ."""
    loaded = tiny_models["gemma3"]
    requests = []
    limits = {"ko": 1, "en": 12, "ko_long": 5, "short": 16}
    rules = {"contrastive": ContrastiveSearch(), "adaptive": AdaptiveContrastive(min_k=2, max_k=4)}
    for name, limit in limits.items():
        requests += requests_of(rules, prompts_of(loaded, name), limit=limit)
    for order in (requests, requests[::-1]):
        done = run(loaded.model, order, max_rows=12, layers=(-1,))
        assert done.failures == {}
        for request in requests:
            alone = run(loaded.model, [request], layers=(-1,)).tokens
            assert {key: done.tokens[key] for key in alone} == alone
            assert [len(tokens) for tokens in alone.values()] == [limits[request.prompt_id]]


def test_half_precision_runs(tiny_models):
    loaded = tiny_models["llama"]
    model = type(loaded.model)(loaded.model.config).to(torch.bfloat16).eval()
    rules = {"contrastive": ContrastiveSearch(), "adaptive": AdaptiveContrastive()}
    requests = requests_of(rules, prompts_of(loaded, "ko", "en"), limit=5)
    done = run(model, requests, max_rows=8, layers=(-1,))
    assert done.failures == {}
    assert {len(tokens) for tokens in done.tokens.values()} == {5}


# --- what it equals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        ContrastiveSearch(penalty_alpha=0.0),
        ContrastiveSearch(penalty_alpha=0.0, top_k=9),
        ContrastiveSearch(top_k=1),
        ContrastiveSearch(top_k=1, penalty_alpha=1.0),
    ],
    ids=["alpha 0", "alpha 0, 9 candidates", "1 candidate", "1 candidate, alpha 1"],
)
def test_what_equals_greedy(tiny, rule):
    forward = WHOLE if tiny.name == "gpt1" else CACHED
    penalties: dict[str, Any] = {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 5}
    rules = {"search": rule, "greedy": Greedy()}
    rules |= {"search, penalties": replace(rule, **penalties), "greedy, penalties": Greedy(**penalties)}
    tokens = decoded(tiny, rules, "ko", "en", "short", forward=forward).tokens
    for name in ("ko", "en", "short"):
        assert tokens["search", name, 0, 0] == tokens["greedy", name, 0, 0]
        assert tokens["search, penalties", name, 0, 0] == tokens["greedy, penalties", name, 0, 0]


# --- what is computed -----------------------------------------------------------------------------------------------


def test_every_candidate_is_computed(tiny_models):
    """P tokens, then for each new one, the first and the last too, as many as it had candidates: 4, or k_t of 15."""
    loaded = tiny_models["llama"]
    for cell in ("contrastive", "adaptive", "adaptive, sharp"):
        done = decoded(loaded, {cell: CONTRASTIVE[cell]}, "en")
        counts = expected(loaded, cell, "en").counts
        cost = len(encode(loaded, PROMPTS["en"])) + sum(counts)
        assert done.outcomes[cell, "en", 0, 0].computed_tokens == cost == done.rows.tokens_computed
        assert set(counts) == {4} or cell != "contrastive"


# --- one step by hand -----------------------------------------------------------------------------------------------


def stepped(rule: ContrastiveSearch, p_V: list[float], hidden_KH: list[list[float]]) -> tuple[int, list[int]]:
    """The token that is emitted after a prompt of one token with the hidden state [1, 0], and the first candidates.

    The candidates, in their order, get the given hidden states.
    """
    k = rule.top_k
    logits_BV = torch.tensor(p_V).log().expand(k, -1)
    asked: list[int] = []

    def prompt_hidden(request: int, layer: int) -> torch.Tensor:
        asked.append(request)
        return torch.tensor([[1.0, 0.0]])

    view = replace(view_of(logits_BV, prompt_length=1, limit=5), prompt_hidden=prompt_hidden)
    first = rule.step(replace(view, hidden=lambda rows, layer: torch.ones(k, 2)), rule.start(1, view.device))
    assert first.emit_B.tolist() == [EMPTY] * k
    second = rule.step(replace(view, hidden=lambda rows, layer: torch.tensor(hidden_KH)), first.state)
    assert asked == [0], "the prompt is read once"
    assert len(set(second.emit_B.tolist())) == 1
    return int(second.emit_B[0]), first.feed_B.tolist()


@pytest.mark.parametrize(
    ("alpha", "token"),
    [
        # Token 2 has p 0.6 and cosine 1, token 0 p 0.3 and cosine 0.6, token 1 p 0.1 and cosine -1.
        (0.0, 2),  # 0.6, 0.3, 0.1
        (0.1, 2),  # 0.54 - 0.1 = 0.44, 0.27 - 0.06 = 0.21, 0.09 + 0.1 = 0.19
        (0.3, 1),  # 0.42 - 0.3 = 0.12, 0.21 - 0.18 = 0.03, 0.07 + 0.3 = 0.37
        (1.0, 1),  # -1, -0.6, 1
    ],
)
def test_a_choice_by_hand(alpha, token):
    rule = ContrastiveSearch(penalty_alpha=alpha, top_k=3)
    assert stepped(rule, [0.3, 0.1, 0.6], [[2.0, 0.0], [0.6, 0.8], [-3.0, 0.0]]) == (token, [2, 0, 1])


def test_a_penalty_that_turns_the_choice():
    # Token 2: 0.5 * 0.6 - 0.5 * 1 = -0.2; token 0: 0.5 * 0.3 - 0.5 * 0 = 0.15.
    assert stepped(ContrastiveSearch(penalty_alpha=0.5, top_k=2), [0.3, 0.1, 0.6], [[1.0, 0.0], [0.0, 7.0]])[0] == 0


def test_of_equal_candidates_the_smaller_id():
    emitted, fed = stepped(ContrastiveSearch(top_k=3), [0.1, 0.3, 0.3, 0.3], [[0.0, 1.0]] * 3)
    assert (emitted, fed) == (1, [1, 2, 3])


def test_a_banned_token_is_no_candidate():
    """Tokens 0, 1 and 3 were seen: two of five are left for four rows, the others rest, and count for nothing."""
    rule = ContrastiveSearch(top_k=4, no_repeat_ngram_size=1)
    view = view_of(torch.tensor([[5.0, 4.0, 1.0, 3.0, 2.0]]).expand(4, -1), [[0, 1, 3]] * 4, prompt_length=3)
    view = replace(view, hidden=lambda rows, layer: torch.ones(4, 2), prompt_hidden=lambda r, layer: torch.ones(3, 2))
    moves = rule.step(view, rule.start(1, view.device))
    assert moves.feed_B.tolist() == [4, 2, EMPTY, EMPTY]
    # Of the two that are left p is e^2 / (e^2 + e^1) = 0.731 and 0.269.
    assert moves.state["p"].tolist() == pytest.approx([0.731059, 0.268941, 0.0, 0.0], abs=1e-6)
    rest = replace(view, hidden=lambda rows, layer: torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]]))
    assert rule.step(rest, moves.state).emit_B.tolist() == [4] * 4


def test_penalties_know_the_token_that_is_emitted():
    """Token 2 is emitted and may not come again: it is no candidate for what follows it in the same step."""
    rule = ContrastiveSearch(top_k=1, no_repeat_ngram_size=1)
    view = replace(
        view_of(torch.tensor([[0.0, 1.0, 2.0]]), [[0]]),
        hidden=lambda rows, layer: torch.ones(1, 2),
        prompt_hidden=lambda request, layer: torch.ones(1, 2),
    )
    first = rule.step(view, rule.start(1, view.device))
    second = rule.step(view, first.state)
    assert (second.emit_B.tolist(), second.feed_B.tolist()) == ([2], [1])


# --- how k and alpha follow the entropy -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("past", "entropy_now", "q", "k", "alpha"),
    [
        ([], 3.0, 1.0, 10, 0.5),  # the first step: x = 0, 5 + 10 / 2
        # Median 2, x = (3.12 - 2) / 4 = 0.28, sigmoid(arctanh x) = sqrt(1.28) / (sqrt(1.28) + sqrt(0.72)) = 4/7
        ([1.0, 3.5, 2.0], 3.12, 1.0, 11, 4 / 7),  # 5 + 40/7 = 10.71
        ([1.0, 3.5, 2.0], 0.88, 1.0, 9, 3 / 7),  # x = -0.28: 5 + 30/7 = 9.29
        # Of an even number the mean of the middle two, (1 + 3) / 2 = 2; x = 0.25; with q = 2 it is (1 + x) / 2
        ([3.0, 0.5, 1.0, 3.5], 3.0, 2.0, 11, 0.625),  # 5 + 6.25 = 11.25
        ([2.0], 2.0, 5.0, 10, 0.5),
        ([0.0], 4.0, 1.0, 15, 1.0),  # x = 1: the end of the range
        ([9.0], 1.0, 1.0, 5, 0.0),  # x = -2, as if the candidates before were more: the end too
    ],
)
def test_k_and_alpha_by_hand(past, entropy_now, q, k, alpha):
    """The largest entropy is 4 nats; what lies behind the past steps does not count."""
    rule = AdaptiveContrastive(q=q)
    past_RL = torch.tensor([[*past, 7.0, 7.0], [0.0] * (len(past) + 2)])
    now_R1, count_R1 = torch.tensor([[entropy_now], [1.0]]), torch.tensor([[len(past)], [0]])
    found = surprise(now_R1, torch.tensor(4.0), past_RL, count_R1)
    assert rule.count(found)[:, 0].tolist() == [k, 10]
    assert rule.alpha(found)[:, 0].tolist() == pytest.approx([alpha, 0.5])


def test_adaptive_state_by_hand():
    """Two of three tokens as candidates at least, two at most: p = 1/2, 1/4, 1/4, then the same again."""
    rule = AdaptiveContrastive(min_k=2, max_k=2)
    view = replace(
        view_of(torch.tensor([0.5, 0.25, 0.25]).log().expand(2, -1)),
        hidden=lambda rows, layer: torch.ones(2, 2),
        prompt_hidden=lambda request, layer: torch.ones(1, 2),
    )
    state = rule.step(view, rule.start(1, view.device)).state
    # 1/2 ln 2 + 2 * 1/4 ln 4 = 1.5 ln 2; of 2/3 and 1/3: ln 3 - 2/3 ln 2
    assert float(state["entropy"][0, 0]) == pytest.approx(1.5 * math.log(2))
    assert float(state["entropy_k"][0, 0]) == pytest.approx(math.log(3) - 2 / 3 * math.log(2))
    assert state["alpha"].tolist() == [[0.5]]


# --- bad values that only the model shows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (ContrastiveSearch(top_k=9), "strategy.top_k=9: allowed is up to 8, the model's vocabulary"),
        (AdaptiveContrastive(max_k=15), "strategy.max_k=15: allowed is up to 8, the model's vocabulary"),
    ],
)
def test_more_candidates_than_tokens(rule, message):
    with pytest.raises(ConfigError) as raised:
        rule.check(ModelFacts(vocabulary=8))
    assert str(raised.value) == message
    rule.check(ModelFacts(vocabulary=15))
