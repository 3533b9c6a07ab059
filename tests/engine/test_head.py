"""The output head run apart from the model: used where it is all that the model does to its logits, and right there."""

from dataclasses import replace

import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

from decodebench.engine import choose_rows
from decodebench.engine.head import OwnHead
from decodebench.models.properties import vocabulary
from decodebench.strategies import Beam, Greedy, Temperature
from engine_runs import CACHED, CPU, requests_of, run

STRATEGIES = {"greedy": Greedy(), "beam": Beam(num_beams=3, num_return_sequences=3), "pure": Temperature()}
PROMPTS = {"a": (5, 6, 7), "b": (9, 8, 7, 6, 5, 4)}
SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("arch", ["gpt2", "gptj", "llama", "gemma3"])
def test_the_head_apart_gives_the_same_texts(tiny_models, arch):
    """GPT-J's head has a bias."""
    loaded = tiny_models[arch]
    forward = choose_rows(loaded.model, CPU, vocabulary(loaded.model))
    assert forward.own_head
    requests = requests_of(STRATEGIES, PROMPTS, limit=12)
    for max_rows in (3, 64):  # rows come and go: the buffer grows and shrinks
        apart = run(loaded.model, requests, forward=forward, max_rows=max_rows)
        inside = run(loaded.model, requests, forward=CACHED, max_rows=max_rows)
        assert apart.failures == inside.failures == {}
        assert apart.tokens == inside.tokens


def capped() -> torch.nn.Module:
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=5.0))


def scaled() -> torch.nn.Module:
    return CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.25))


@pytest.mark.parametrize("build", [capped, scaled])
def test_a_model_that_does_more_to_its_logits_keeps_its_head(build):
    torch.manual_seed(3)
    model = build().eval()
    forward = choose_rows(model, CPU, 300)
    assert forward.path == "cached"
    assert not forward.own_head
    requests = requests_of({"beam": STRATEGIES["beam"]}, PROMPTS, limit=12)
    done = run(model, requests, forward=forward)
    wrong = run(model, requests, forward=replace(forward, own_head=True))
    scores = [[outcome.score for outcome in r.outcomes.values()] for r in (done, wrong)]
    assert scores[0] != pytest.approx(scores[1]), "the cap or the scale must be one that matters"


def test_a_model_without_a_linear_head():
    model = torch.nn.Module()
    model.get_output_embeddings = lambda: None
    model.base_model = model
    with pytest.raises(TypeError, match="has no linear head of its own on cpu"):
        OwnHead(model, CPU)
