"""Early exits: what an early layer says goes through all that the model does behind its layers.

The right value is the model's own: put in the place of its layers, what its last layer returns gives its logits.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GraniteConfig, GraniteForCausalLM

from architectures import ARCHITECTURES, VOCABULARY, build
from decodebench.engine import choose_rows
from decodebench.engine.exits import exit_logits, find_layers
from decodebench.strategies import ContrastiveDecoding, ContrastiveSearch, DoLa, Greedy, ModelFacts
from engine_runs import CPU, requests_of, run

NO_EXIT = {"Gemma 3n", "Mamba"}
"""Four-dimensional states; states that are not those between the layers, but one layer late."""

PROMPTS = {"a": (5, 6, 7), "b": (9, 8, 7, 6, 5, 4)}
IDS = torch.tensor([[5, 6, 7, 8, 9], [300, 2, 31, 7, 7]])


def between_layers(model: Any, path: str, ids: Tensor = IDS) -> tuple[list[Tensor], Tensor]:
    """What each layer returns at the last position, [B, H], seen by hooks; and the model's logits there, [B, V]."""
    states: list[Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        states.append((output if isinstance(output, Tensor) else output[0])[:, -1])

    hooks = [layer.register_forward_hook(keep) for layer in model.get_submodule(path)]
    with torch.inference_mode():
        logits_BV = model(input_ids=ids).logits[:, -1]
    for hook in hooks:
        hook.remove()
    return states, logits_BV


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in NO_EXIT])
def test_the_exit_at_the_last_layer_is_the_models_own_logits(name):
    model = build(name)
    layers = find_layers(model, CPU, VOCABULARY)
    assert layers.no_hidden is None
    assert layers.no_exit is None
    states, logits_BV = between_layers(model, layers.path)
    with torch.inference_mode():
        exits = [exit_logits(model, layers, state) for state in states]
    torch.testing.assert_close(exits[-1], logits_BV, atol=1e-5, rtol=1e-5)
    assert all(not torch.allclose(early, logits_BV, atol=1e-2) for early in exits[:-1])
    _, again_BV = between_layers(model, layers.path)
    assert torch.equal(again_BV, logits_BV), "the model has its layers back"


BEHIND = {
    "Granite": lambda model, h: model.lm_head(model.model.norm(h)) / 8,
    "Gemma 2": lambda model, h: 5 * torch.tanh(model.lm_head(model.model.norm(h)) / 5),
    "OLMo": lambda model, h: model.lm_head(torch.nn.functional.layer_norm(h, (32,), eps=1e-5)),
    "OPT": lambda model, h: model.lm_head(model.model.decoder.final_layer_norm(h)),
    "OPT, projection 24": lambda model, h: model.lm_head(
        model.model.decoder.project_out(model.model.decoder.final_layer_norm(h))
    ),
    "BERT": lambda model, h: model.cls.predictions.decoder(model.cls.predictions.transform(h)),
    "Llama 4": lambda model, h: model.lm_head(model.model.norm(h)),
    "GPT-1": lambda model, h: model.lm_head(h),
    "Falcon H1": lambda model, h: model.lm_head(model.model.final_layernorm(h)) * 0.5,
}
"""What these models do behind their layers, written down by hand."""


@pytest.mark.parametrize("name", BEHIND)
@pytest.mark.parametrize("whole", [False, True])
def test_an_early_layer_goes_through_scale_cap_projection_and_transform(name, whole):
    """What a strategy is given of the state after layer 1, with a cache and without one: all that is written above."""
    model = build(name)
    forward = choose_rows(model, CPU, VOCABULARY)
    rows = replace(forward, path="whole sequence" if whole else forward.path).make_rows(model, CPU, (1,))
    with torch.inference_mode():
        rows.admit(rows.prefill([tuple(ids) for ids in IDS.tolist()]))
        states, _ = between_layers(model, forward.layers.path)
        expected_BV = BEHIND[name](model, states[0])
        torch.testing.assert_close(rows.exit_logits(torch.arange(2), 1), expected_BV, atol=1e-5, rtol=1e-5)


def contrasts() -> dict[str, Any]:
    return {"dola": DoLa(dola_layers=[1]), "own layer": ContrastiveDecoding(amateur_layer=1), "greedy": Greedy()}


def test_the_head_alone_fits_states_of_its_own_width_only():
    """transformers' variant of dola multiplies by the head alone: of 24 inputs here, and the layers are 32 wide."""
    facts = ModelFacts(vocabulary=VOCABULARY, layers=3)
    strategies = {"theirs": DoLa(dola_layers=[1], variant="transformers"), "paper": DoLa(dola_layers=[1])}
    done = run(build("OPT, projection 24"), requests_of(strategies, PROMPTS, limit=4, facts=facts))
    assert done.failures == {
        "theirs": "model type opt has an output head for states of width 24; its layers give width 32"
    }
    assert {cell for cell, *_ in done.tokens} == {"paper"}


def test_a_scale_behind_the_head_does_not_change_what_dola_writes():
    """Two Granites that say the same: logits / 8, and a head of which every weight is divided by 8. Through the head
    alone the first one's early layer would be 8 times as sure as its last."""
    scaled, plain = (
        GraniteForCausalLM(GraniteConfig(**ARCHITECTURES["Granite"][2] | {"logits_scaling": s})) for s in (8.0, 1.0)
    )
    plain.load_state_dict(scaled.state_dict())
    plain.lm_head.weight.data /= 8
    facts = ModelFacts(vocabulary=VOCABULARY, layers=3)
    texts = []
    for model in (scaled.eval(), plain.eval()):
        done = run(model, requests_of(contrasts(), PROMPTS, limit=12, facts=facts))
        assert not done.failures
        texts.append(done.tokens)
    assert texts[0] == texts[1]
    assert texts[0]["dola", "a", 0, 0] != texts[0]["greedy", "a", 0, 0]


@pytest.mark.parametrize(
    ("name", "failing", "why"),
    [
        (
            "Gemma 3n",
            {"dola", "own layer", "search"},
            "model type gemma3n_text gives hidden states of shape [2, 2, 7, 32] for 2 texts of 7 tokens; "
            "allowed is [2, 7, width]",
        ),
        (
            "Mamba",
            {"dola", "own layer"},
            "model type mamba cannot be left after an early layer: its hidden states are not those between its layers",
        ),
    ],
)
def test_where_it_cannot_be_those_cells_fail_and_the_others_go_on(name, failing, why):
    """Prompts of different lengths: four-dimensional states failed all cells on them, and were misread on others."""
    model = build(name)
    facts = ModelFacts(vocabulary=VOCABULARY, layers=3)
    strategies = contrasts() | {"search": ContrastiveSearch(top_k=3)}
    forward = choose_rows(model, CPU, VOCABULARY)
    done = run(model, requests_of(strategies, PROMPTS, limit=6, facts=facts), forward=forward)
    assert set(done.failures) == failing
    assert set(done.failures.values()) == {f"{why}"}
    assert {cell for cell, *_ in done.tokens} == set(strategies) - failing
    alone = run(model, requests_of({"greedy": Greedy()}, PROMPTS, limit=6), forward=forward)
    assert all(done.tokens[key] == text for key, text in alone.tokens.items())
