"""DoLa: against plain loops over the paper's equations, and against what the authors' code and transformers compute."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, RepetitionPenaltyLogitsProcessor

from decodebench.errors import ConfigError
from decodebench.strategies import DoLa, Greedy, ModelFacts, Temperature, View
from decodebench.strategies.dola import exchanged_divergence, overlap
from engine_runs import CACHED, WHOLE, requests_of, run, view_of

PROMPTS = {"a": (5, 17, 33, 4), "b": (60, 2), "c": (9, 9, 9, 41, 7, 3, 22)}
LIMIT = 12
EOS_IDS = (1, 30)
LAYERS = 8
FACTS = ModelFacts(vocabulary=64, layers=LAYERS)


@cache
def deep_model(tied: bool = False) -> Any:
    """A Llama of 8 layers, whose layers differ enough for the choice among them to matter."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.5,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


# --- oracles --------------------------------------------------------------------------------------------------------


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def kl(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def paper_scores(final: Sequence[float], early: Sequence[Sequence[float]], alpha: float) -> tuple[int, list[float]]:
    """Which early layer, and log q_N / q_M of the plausible tokens (the paper's equations 2 to 5), -inf elsewhere."""
    p = softmax(final)
    divergences = []
    for layer in early:
        q = softmax(layer)
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        divergences.append((kl(p, m) + kl(q, m)) / 2)
    chosen = divergences.index(max(divergences))
    q = softmax(early[chosen])
    return chosen, [math.log(a / b) if a >= alpha * max(p) else -math.inf for a, b in zip(p, q, strict=True)]


def early_view(final_BV: Tensor, early_LBV: Tensor, **more: Any) -> View:
    """A view whose layers 0, 1, ... say these logits."""
    view = view_of(final_BV, **more)
    facts = replace(view.facts, layers=len(early_LBV))
    return replace(view, facts=facts, exit_logits=lambda rows, layer, normed: early_LBV[layer][rows])


def written_by_hand(
    model: Any, prompt: Sequence[int], layers: Sequence[int], variant: str, penalty: float, limit: int
) -> list[int]:
    """The text by whole forward passes, as the paper or as transformers (up to version 4) says."""
    penalize = RepetitionPenaltyLogitsProcessor(penalty)
    text = list(prompt)
    while len(text) < len(prompt) + limit:
        with torch.inference_mode():
            out = model(torch.tensor([text]), output_hidden_states=True)
        final_V = out.logits[0, -1].double()
        states = [out.hidden_states[layer][0, -1] for layer in layers]
        if variant == "paper":
            states = [model.model.norm(state) for state in states]
        early = [model.lm_head(state).double() for state in states]
        if variant == "paper":
            scores = paper_scores(final_V.tolist(), [e.tolist() for e in early], 0.1)[1]
        else:
            scores = transformers_scores(final_V, early)
        scored = penalize(torch.tensor([text]), torch.tensor([scores]))
        text.append(int(scored.argmax()))
        if text[-1] in EOS_IDS:
            break
    return text[len(prompt) :]


def transformers_scores(final_V: Tensor, early: Sequence[Tensor]) -> list[float]:
    """What transformers computes for a batch of one: `kl_div(input, target)` is KL(target || exp(input))."""
    p = torch.log_softmax(final_V, -1)
    divergences = []
    for layer in early:
        q = torch.log_softmax(layer, -1)
        m = (p.exp() + q.exp()) / 2
        terms = [torch.nn.functional.kl_div(x, m, reduction="none").mean() for x in (p, q)]
        divergences.append(float(sum(terms)) / 2)
    q = torch.log_softmax(early[divergences.index(max(divergences))], -1)
    plausible = p >= p.max() + math.log(0.1)
    return torch.where(plausible, p - q, -torch.inf).tolist()


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [1.0, 4.0, 30.0])
def test_scores_are_the_papers(spread):
    """Each row has its own early layer; far layers too, whose divergences are ln 2 to six digits."""
    generator = torch.Generator().manual_seed(3)
    final_BV = 3 * torch.randn(12, 9, generator=generator)
    early_LBV = spread * torch.randn(5, 12, 9, generator=generator)
    rule = DoLa(dola_layers=[0, 1, 2, 3, 4], relative_top=0.05)
    scores_BV = rule.scores(early_view(final_BV, early_LBV))
    chosen = set()
    for row in range(12):
        layer, expected = paper_scores(final_BV[row].double().tolist(), early_LBV[:, row].double().tolist(), 0.05)
        chosen.add(layer)
        assert scores_BV[row].tolist() == pytest.approx(expected, abs=1e-4)
    assert len(chosen) > 1


def test_the_measures_by_hand():
    """Of p = (1/2, 1/2, 0) and q = (0, 1/2, 1/2), m = (1/4, 1/2, 1/4): KL(p || m) = KL(q || m) = ln 2 / 2, so that
    the Jensen-Shannon divergence is ln 2 / 2, and the overlap ln 2 / 2. Of equal distributions they are 0 and ln 2."""
    p = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]).clamp_min(1e-30).log()
    q = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.25, 0.25]]).clamp_min(1e-30).log()
    assert overlap(p, q).tolist() == pytest.approx([math.log(2) / 2, math.log(2)])
    # KL(m || p) of (1/4, 3/4) against (1/8, 7/8), and against (3/8, 5/8), halved and added
    p, q = (torch.tensor([row]).log() for row in ([1 / 8, 7 / 8], [3 / 8, 5 / 8]))
    m = (1 / 4, 3 / 4)
    expected = (kl(m, (1 / 8, 7 / 8)) + kl(m, (3 / 8, 5 / 8))) / 2
    assert exchanged_divergence(p, q).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("forward", [CACHED, WHOLE], ids=["cached", "whole"])
@pytest.mark.parametrize("variant", ["paper", "transformers"])
@pytest.mark.parametrize(("tied", "layers"), [(False, "low"), (True, "low"), (False, "high"), (False, [5, 0, 3])])
def test_texts_are_those_of_plain_passes(tied, layers, variant, forward):
    """Token for token, all prompts in one batch beside other strategies, and in narrow batches."""
    model = deep_model(tied)
    facts = replace(FACTS, tied=tied)
    rule = DoLa(dola_layers=layers, variant=variant, repetition_penalty=1.2)
    requests = requests_of({"dola": rule, "greedy": Greedy()}, PROMPTS, limit=LIMIT, eos_ids=EOS_IDS, facts=facts)
    done = run(model, requests, forward=forward)
    assert done.failures == {}
    for name, prompt in PROMPTS.items():
        expected = written_by_hand(model, prompt, rule.hidden_layers(facts), variant, 1.2, LIMIT)
        assert list(done.tokens["dola", name, 0, 0]) == expected, name
    assert run(model, requests, forward=forward, max_rows=1).tokens == done.tokens


def test_the_variants_and_the_choices_of_layers_differ():
    model = deep_model()
    rules = {f"{v} {ls}": DoLa(dola_layers=ls, variant=v) for v in ("paper", "transformers") for ls in ("low", "high")}
    done = run(model, requests_of(rules, PROMPTS, limit=LIMIT, facts=FACTS))
    assert len({done.tokens[name, "c", 0, 0] for name in rules}) == 4


@pytest.mark.parametrize(
    ("layers", "tied", "low", "high"),
    [
        (1, False, [0], [0]),
        (2, False, [0], [1]),
        (2, True, [1], [1]),
        (3, True, [2], [1]),
        (4, True, [2], [2]),
        (6, True, [2], [3, 5]),
        (8, False, [0, 2], [4, 6]),
        (18, True, [2, 4, 6, 8], [9, 11, 13, 15, 17]),
        (32, False, [*range(0, 16, 2)], [*range(16, 32, 2)]),
        (40, False, [*range(0, 20, 2)], [*range(20, 40, 2)]),
        (48, True, [*range(2, 20, 2)], [*range(28, 48, 2)]),
    ],
)
def test_the_layers_are_those_of_transformers(layers, tied, low, high):
    facts = ModelFacts(vocabulary=10, layers=layers, tied=tied)
    for name, expected in (("low", low), ("high", high)):
        rule = DoLa(dola_layers=name)
        rule.check(facts)
        assert rule.hidden_layers(facts) == tuple(expected)


@pytest.mark.parametrize("layers", [[LAYERS], [0, LAYERS + 1]])
def test_layers_that_the_model_lacks(layers):
    message = rf"strategy.dola_layers={layers[-1]}: this model has 8 layers; allowed is an earlier exit, 0 .* to 7"
    with pytest.raises(ConfigError, match=message):
        DoLa(dola_layers=layers).check(FACTS)


@pytest.mark.parametrize("none", [[], None])
def test_without_layers_it_is_greedy_or_plain_sampling(none):
    """With the same penalties, on logits."""
    model = deep_model()
    numbers: dict[str, Any] = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3}
    rules = {
        "dola": DoLa(dola_layers=none, **numbers),
        "greedy": Greedy(**numbers),
        "drawn": DoLa(dola_layers=none, do_sample=True, temperature=0.7, num_return_sequences=3),
        "pure": Temperature(temperature=0.7, num_return_sequences=3),
    }
    done = run(model, requests_of(rules, PROMPTS, limit=LIMIT, facts=FACTS))
    for one, other in (("dola", "greedy"), ("drawn", "pure")):
        mine, theirs = ([t for key, t in done.tokens.items() if key[0] == name] for name in (one, other))
        assert mine == theirs


def test_with_only_the_likeliest_plausible_it_is_greedy():
    rules = {"dola": DoLa(relative_top=1.0), "greedy": Greedy()}
    done = run(deep_model(), requests_of(rules, PROMPTS, limit=LIMIT, facts=FACTS))
    for name in PROMPTS:
        assert done.tokens["dola", name, 0, 0] == done.tokens["greedy", name, 0, 0]


def test_draws_follow_the_contrast():
    """20,000 draws from softmax(score / temperature). By the DKW inequality (with Massart's constant) the largest
    distance of the cumulative shares is above 0.0232 with a probability of at most 2 exp(-2 * 20000 * 0.0232**2) =
    9e-10; a token drawn 0.05 too often or too rarely is seen."""
    draws = 20_000
    generator = torch.Generator().manual_seed(11)
    final_V, early_LV = 0.8 * torch.randn(6, generator=generator), torch.randn(3, 6, generator=generator)
    rule = DoLa(dola_layers=[0, 1, 2], do_sample=True, temperature=1.4, relative_top=0.2)
    view = early_view(final_V.expand(draws, -1), early_LV[:, None].expand(-1, draws, -1))
    drawn = rule.step(view, {}).emit_B
    _, scores = paper_scores(final_V.tolist(), early_LV.tolist(), 0.2)
    p = torch.tensor(softmax([s / 1.4 for s in scores]), dtype=torch.float64)
    assert 1 < int((p > 0).sum()) < 6
    share = torch.bincount(drawn, minlength=6).double() / draws
    assert float((share.cumsum(0) - p.cumsum(0)).abs().max()) < 0.0232


def test_one_draw_of_a_row_does_not_hang_on_the_others():
    rule = DoLa(dola_layers=[0, 1], do_sample=True, num_return_sequences=4)
    requests = requests_of({"dola": rule}, PROMPTS, limit=LIMIT, eos_ids=EOS_IDS, facts=FACTS)
    assert run(deep_model(), requests).tokens == run(deep_model(), requests[::-1], max_rows=2).tokens
