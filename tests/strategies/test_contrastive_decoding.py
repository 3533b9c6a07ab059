"""Contrastive decoding: against plain loops over the paper's equations, with an early layer and with a second model."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decodebench.deploy.exporting import export_cell
from decodebench.deploy.generate import custom_generate
from decodebench.engine import Decoder, Forward, make_paired
from decodebench.engine.block import Outcome
from decodebench.errors import ConfigError, ModelError
from decodebench.models.loading import load_second
from decodebench.models.properties import fingerprint
from decodebench.models.tokens import encode, model_facts
from decodebench.strategies import Beam, ContrastiveDecoding, Greedy, ModelFacts, Strategy, Temperature, View
from decodebench.strategies.step.scores import Scores
from engine_runs import CACHED, CPU, PROMPTS, WHOLE, Key, key, requests_of, run, view_of
from launches import launch, manifest, texts, without_report, write_prompts

LIMIT = 10
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def paper_scores(expert: Sequence[float], amateur: Sequence[float], rule: ContrastiveDecoding) -> list[float]:
    """Equations 2 and 3 of the paper, the amateur at its temperature; with beta O'Brien and Lewis' score."""
    p = softmax(expert)
    q = softmax([x / rule.amateur_temperature for x in amateur])
    more, less = (1.0, 1.0) if rule.beta is None else (1 + rule.beta, rule.beta)
    return [
        more * math.log(a) - less * math.log(b) if a >= rule.alpha * max(p) else -math.inf
        for a, b in zip(p, q, strict=True)
    ]


def early_view(expert_BV: torch.Tensor, amateur_BV: torch.Tensor, **more: Any) -> View:
    """A view of a model with 4 layers, which says the amateur's logits after layer 2."""
    view = view_of(expert_BV, **more)
    return replace(
        view,
        facts=replace(view.facts, layers=4),
        exit_logits=lambda rows, layer, normed: {2: amateur_BV}[layer][rows],
    )


RULES = {
    "plain": ContrastiveDecoding(),
    "beta": ContrastiveDecoding(beta=0.5, alpha=0.3),
    "cold": ContrastiveDecoding(amateur_temperature=0.5),
    "wide": ContrastiveDecoding(alpha=0.001),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("second", [False, True])
def test_scores_are_the_papers(rule, second):
    generator = torch.Generator().manual_seed(5)
    expert_BV, amateur_BV = 3 * torch.randn(2, 20, 11, generator=generator)
    view = early_view(expert_BV, amateur_BV)
    if second:
        rule = replace(rule, amateur="somewhere")
        view = replace(view, amateur=Scores(amateur_BV))
    chosen_B = rule.step(view, {}).emit_B
    scores_BV = rule.scores(view)
    for row in range(20):
        expected = paper_scores(expert_BV[row].double().tolist(), amateur_BV[row].double().tolist(), rule)
        assert scores_BV[row].tolist() == pytest.approx(expected, abs=1e-4)
        assert int(chosen_B[row]) == expected.index(max(expected))


def test_a_likely_token_that_the_amateur_likes_too_loses():
    """p = (.5, .3, .19, .01), q = (.7, .1, .1, .1): log p/q = (-.34, 1.10, .64, -2.30); the last is not plausible."""
    p, q = torch.tensor([[0.5, 0.3, 0.19, 0.01]]), torch.tensor([[0.7, 0.1, 0.1, 0.1]])
    scores = ContrastiveDecoding().scores(early_view(p.log(), q.log()))[0].tolist()
    assert scores == pytest.approx([math.log(5 / 7), math.log(3), math.log(1.9), -math.inf])


@pytest.mark.parametrize("numbers", [{"alpha": 1.0}, {"beta": 0.0}, {"alpha": 1.0, "do_sample": True}])
def test_it_is_greedy_where_nothing_is_contrasted(tiny_models, numbers):
    """One plausible token, or an amateur without weight."""
    loaded = tiny_models["llama"]
    prompts = {name: encode(loaded, PROMPTS[name]) for name in ("ko", "en")}
    rules = {"contrastive": ContrastiveDecoding(**numbers), "greedy": Greedy()}
    done = run(loaded.model, requests_of(rules, prompts, limit=LIMIT, facts=model_facts(loaded, ())))
    for name in prompts:
        assert done.tokens["contrastive", name, 0, 0] == done.tokens["greedy", name, 0, 0]


@pytest.mark.parametrize(
    ("numbers", "prefix", "expected"),
    [
        ({"min_new_tokens": 5}, [9], 2),  # EOS (0) is all that is plausible and may not come; of 1, 2 (p = q x 1, x 3)
        ({"no_repeat_ngram_size": 1}, [0, 9], 2),
        ({"no_repeat_ngram_size": 1}, [0, 2, 9], 1),
        ({}, [9], 0),
    ],
)
def test_where_penalties_ban_all_that_is_plausible(numbers, prefix, expected):
    """p = (.96, .01, .015, .015 / 7, ...), so that token 0 alone is plausible; without it 1 and 2 are."""
    p = torch.tensor([[0.96, 0.01, 0.015, *[0.015 / 7] * 7]])
    q = torch.tensor([[0.9, 0.01, 0.005, *[0.085 / 7] * 7]])
    view = early_view(p.log(), q.log(), prefixes=[prefix], eos_ids=(0,))
    assert int(ContrastiveDecoding(alpha=0.2, **numbers).step(view, {}).emit_B) == expected


@pytest.mark.parametrize(("layer", "layers", "expected"), [(None, 18, 9), (None, 3, 1), (None, 1, 0), (0, 2, 0)])
def test_the_early_layer(layer, layers, expected):
    facts = ModelFacts(vocabulary=10, layers=layers)
    rule = ContrastiveDecoding(amateur_layer=layer)
    rule.check(facts)
    assert rule.hidden_layers(facts) == (expected,)


def test_a_layer_that_the_model_lacks():
    with pytest.raises(ConfigError, match=r"strategy.amateur_layer=3: this model has 3 layers; .* 0 .* to 2"):
        ContrastiveDecoding(amateur_layer=3).check(ModelFacts(vocabulary=10, layers=3))


def test_draws_follow_the_contrast():
    """20,000 draws from softmax(score / temperature). By the DKW inequality (with Massart's constant) the largest
    distance of the cumulative shares is above 0.0232 with a probability of at most 2 exp(-2 * 20000 * 0.0232**2) =
    9e-10; a token drawn 0.05 too often or too rarely is seen."""
    draws = 20_000
    expert_V = torch.tensor([1.0, 0.4, 0.2, -0.3, -4.0])
    amateur_V = torch.tensor([1.0, -0.5, 0.3, 0.0, -1.0])
    rule = ContrastiveDecoding(do_sample=True, temperature=0.8)
    drawn = rule.step(early_view(expert_V.expand(draws, -1), amateur_V.expand(draws, -1)), {}).emit_B
    expected = paper_scores(expert_V.tolist(), amateur_V.tolist(), rule)
    p = torch.tensor(softmax([s / 0.8 for s in expected]), dtype=torch.float64)
    assert int((p > 0).sum()) == 4
    share = torch.bincount(drawn, minlength=5).double() / draws
    assert float((share.cumsum(0) - p.cumsum(0)).abs().max()) < 0.0232


# --- with a second model --------------------------------------------------------------------------------------------


def paired_run(
    models: tuple[Any, Any], forwards: tuple[Forward, Forward], rules: dict[str, Strategy], prompts: Any, max_rows: int
) -> dict[Key, Outcome]:
    """Decode with both models."""
    outcomes: dict[Key, Outcome] = {}

    def failure(cell: str, why: str) -> None:
        raise AssertionError(f"{cell}: {why}")

    def sink(done: Sequence[Outcome]) -> None:
        outcomes.update({key(outcome): outcome for outcome in done})

    rows = make_paired(models, forwards, CPU)
    requests = requests_of(rules, prompts, limit=LIMIT, eos_ids=EOS_IDS)
    Decoder(rows, max_rows=max_rows, sink=sink, failure=failure).run(requests)
    return outcomes


def written_by_hand(
    models: tuple[Any, Any],
    prompt: Sequence[int],
    rule: ContrastiveDecoding,
    limit: int = LIMIT,
    eos_ids: Sequence[int] = EOS_IDS,
) -> list[int]:
    """The text by whole forward passes of both."""
    text = list(prompt)
    while len(text) < len(prompt) + limit and (len(text) == len(prompt) or text[-1] not in eos_ids):
        with torch.inference_mode():
            expert, amateur = (model(torch.tensor([text])).logits[0, -1].tolist() for model in models)
        scores = paper_scores(expert, amateur, rule)
        text.append(scores.index(max(scores)))
    return text[len(prompt) :]


@pytest.mark.parametrize("max_rows", [1, 4, 128])
@pytest.mark.parametrize(
    "forwards",
    [(CACHED, CACHED), (WHOLE, WHOLE), (CACHED, WHOLE), (WHOLE, CACHED)],
    ids=["cached", "whole", "second whole", "first whole"],
)
def test_texts_are_those_of_plain_passes_of_both(tiny_models, forwards, max_rows):
    """Two rules, and beams that change places beside them; requests come and go."""
    models = tiny_models["llama"].model, tiny_models["gemma3"].model
    prompts = {name: encode(tiny_models["llama"], PROMPTS[name]) for name in ("ko", "en", "short", "ko_long")}
    rules: dict[str, Any] = {
        "plain": ContrastiveDecoding(amateur="there"),
        "beta": ContrastiveDecoding(amateur="there", beta=0.5, alpha=0.3),
    }
    others: dict[str, Strategy] = {"beam": Beam(num_beams=3, num_return_sequences=2), "pure": Temperature()}
    done = paired_run(models, forwards, rules | others, prompts, max_rows)
    for (cell, prompt_id, _, _), outcome in done.items():
        if cell in rules:
            expected = written_by_hand(models, prompts[prompt_id], rules[cell])
            assert list(outcome.token_ids) == expected, (cell, prompt_id)
    alone = run(models[0], requests_of(others, prompts, limit=LIMIT, eos_ids=EOS_IDS))
    assert {k: o.token_ids for k, o in done.items() if k[0] in others} == alone.tokens


def test_nan_of_the_second_model_fails_the_cell(tiny_models):
    amateur = copy.deepcopy(tiny_models["gemma3"].model)
    with torch.no_grad():
        amateur.get_input_embeddings().weight[7] = torch.nan
    rows = make_paired((tiny_models["llama"].model, amateur), (CACHED, CACHED), CPU)
    failures: dict[str, str] = {}
    requests = requests_of({"c": ContrastiveDecoding(amateur="there")}, {"p": (5, 7)}, limit=LIMIT)
    Decoder(rows, max_rows=8, sink=lambda outcomes: None, failure=failures.__setitem__).run(requests)
    assert failures == {"c": "ModelError: the model's logits are NaN or infinite in prompt p"}


def test_the_second_models_tokens_are_not_counted(tiny_models):
    models = tiny_models["llama"].model, tiny_models["gemma3"].model
    prompt = encode(tiny_models["llama"], PROMPTS["ko"])
    done = paired_run(models, (CACHED, CACHED), {"c": ContrastiveDecoding(amateur="x")}, {"ko": prompt}, 8)
    outcome = done["c", "ko", 0, 0]
    assert outcome.computed_tokens == len(prompt) + len(outcome.token_ids) - 1


def test_a_model_is_its_own_best_amateur(tiny_models):
    """log p - log p is 0 for every plausible token, but for rounding: with beta 1 it is greedy again."""
    model = tiny_models["llama"].model
    prompt = encode(tiny_models["llama"], PROMPTS["en"])
    rules = {"self": ContrastiveDecoding(amateur="x", beta=1.0), "greedy": Greedy()}
    done = paired_run((model, model), (CACHED, CACHED), rules, {"en": prompt}, 8)
    assert done["self", "en", 0, 0].token_ids == done["greedy", "en", 0, 0].token_ids


def test_through_generate_it_writes_the_same(tiny_models):
    """`custom_generate` with the second model handed over."""
    loaded = tiny_models["llama"]
    models = loaded.model, tiny_models["gemma3"].model
    prompt = encode(loaded, PROMPTS["en"])
    rule = ContrastiveDecoding(amateur="there", max_new_tokens=LIMIT, eos=list(EOS_IDS))
    call = custom_generate(rule, loaded.tokenizer, second_model=models[1])
    out = loaded.model.generate(torch.tensor([prompt]), custom_generate=call, do_sample=False)
    assert out[0, len(prompt) :].tolist() == written_by_hand(models, prompt, rule)
    with pytest.raises(ConfigError, match=r"second_model: allowed is a model, the strategy names there"):
        custom_generate(rule, loaded.tokenizer)


def test_a_second_model_that_does_not_fit(tiny_models, tmp_path):
    loaded = tiny_models["llama"]
    with pytest.raises(ModelError, match=r"^second model=.*nowhere: could not be loaded; allowed is"):
        load_second(str(tmp_path / "nowhere"), loaded)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path)
    without_report(monkeypatch)


def test_a_grid_with_second_models(tiny_dirs, tiny_models, folder):
    """A run with an amateur, one with another, and two cells without: the texts of each, their weights in the manifest,
    and what cannot be loaded fails its cells alone."""
    places = [str(tiny_dirs["gemma3"]), str(tiny_dirs["gpt2"])]
    common = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "prompts=file", "latency=skip"]
    common += ["prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x", "strategy=contrastive_decoding"]
    result = launch("-m", *common, f"strategy.amateur=null,{','.join(places)},nowhere")
    assert result.code == 1
    found = manifest()
    prints = {
        place: fingerprint(tiny_models[arch].model) for place, arch in zip(places, ("gemma3", "gpt2"), strict=True)
    }
    assert found["second_models"] == prints
    (failed,) = found["failed"]
    assert failed["error"].startswith("strategy.amateur=nowhere: could not be loaded")
    amateurs = {cell["id"]: cell["config"]["strategy"]["amateur"] for cell in found["cells"]}
    loaded = tiny_models["llama"]
    for text in texts():
        place = amateurs[text.cell]
        if place is not None:
            second = tiny_models["gemma3" if place == places[0] else "gpt2"].model
            rule = ContrastiveDecoding(amateur=place)
            prompt = encode(loaded, text.prompt)
            expected = written_by_hand((loaded.model, second), prompt, rule, limit=8, eos_ids=loaded.eos_ids)
            assert list(text.token_ids) == expected
    assert len(texts()) == 3 * 3

    text = next(t for t in texts() if amateurs[t.cell] == places[0])
    lines = export_cell(Path("results/x"), text.cell).lines  # as a user runs them
    given = {"model": loaded.model, "tokenizer": loaded.tokenizer}
    given["inputs"] = {"input_ids": torch.tensor([encode(loaded, text.prompt)])}
    exec("\n".join(lines), given)
    assert given["out"][0].tolist() == [*encode(loaded, text.prompt), *text.token_ids]
