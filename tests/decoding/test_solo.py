"""What runs through `model.generate`: drafts of a model's own first layers, wherever its layers lie, or one line."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from decodebench.decoding.solo import fitted, generate_call
from decodebench.errors import ConfigError
from decodebench.models import facts_of
from decodebench.strategies import Assisted

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MAMBA: dict[str, Any] = {"mamba_n_groups": 1, "mamba_d_state": 8, "mamba_d_head": 8}
OWN: dict[str, dict[str, Any]] = {
    "bert": {"is_decoder": True},
    "roberta": {"is_decoder": True},
    "electra": {"is_decoder": True},
    "gpt_neox": {},
    "bamba": {**MAMBA, "mamba_n_heads": 8, "attn_layer_indices": [1], "mamba_chunk_size": 8},
    "falcon_h1": {**MAMBA, "mamba_n_heads": 4, "mamba_d_ssm": 32, "head_dim": 8},
    "mamba": {},
    "qwen3_next": {},
}


def tiny_of(model_type: str) -> Any:
    """A random model of an architecture, as far as a draft of its own asks for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**(SIZES | OWN[model_type])))
    return SimpleNamespace(model=model.eval(), name="tiny", pad_id=0)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra", "gpt_neox"])
def test_the_first_layers_are_found_wherever_they_lie(model_type: str) -> None:
    """BERT's stand two modules deeper than Llama's: a StopIteration. Greedy drafting does not change the text."""
    loaded = tiny_of(model_type)
    strategy = fitted(Assisted(max_new_tokens=6), loaded, facts_of(loaded.model, None, (2,)))
    _, named = generate_call(strategy, {}, loaded)
    ids = torch.tensor([[5, 6, 7]])
    how: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False}
    assert torch.equal(loaded.model.generate(ids, **how, **named), loaded.model.generate(ids, **how))
    assert named["assistant_model"].config.num_hidden_layers == 1
    assert loaded.model.config.num_hidden_layers == 2


@pytest.mark.parametrize("model_type", ["bamba", "falcon_h1", "mamba", "qwen3_next"])
def test_a_model_whose_layers_keep_a_state_is_refused_in_one_line(model_type: str) -> None:
    """An AttributeError (`layer_types` has no setter) ended the command and lost all cells."""
    loaded = tiny_of(model_type)
    with pytest.raises(ConfigError) as error:
        fitted(Assisted(max_new_tokens=6), loaded, facts_of(loaded.model, None, (2,)))
    assert "\n" not in str(error.value)
    assert "tiny" in str(error.value)
    assert "allowed is a model" in str(error.value)
