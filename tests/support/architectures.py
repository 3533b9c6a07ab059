"""Tiny random models of many architectures, which differ in what they do behind their layers."""

from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 400
BOS_ID, EOS_ID, PAD_ID = 0, 1, 2  # as tests/support/tiny.py

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": BOS_ID,
    "eos_token_id": EOS_ID,
    "pad_token_id": PAD_ID,
    "initializer_range": 0.4,
    "tie_word_embeddings": False,
}
_GPT = _COMMON | {"n_positions": 128, "n_embd": 32, "n_layer": 3, "n_head": 4}
_WIDE = _COMMON | {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_OLDER = _WIDE | {"intermediate_size": 64, "max_position_embeddings": 128}
_MODERN = _OLDER | {"num_key_value_heads": 2}
_OPT = _WIDE | {"ffn_dim": 64, "max_position_embeddings": 128}
_MAMBA = {"mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
_GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8}
_GEMMA3N = {
    "num_hidden_layers": 4,
    "head_dim": 8,
    "altup_num_inputs": 2,
    "sliding_window": 8,
    "laurel_rank": 4,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "num_kv_shared_layers": 0,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "activation_sparsity_pattern": [0.0] * 4,
}

ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "GPT-1": ("OpenAIGPTConfig", "OpenAIGPTLMHeadModel", _GPT),
    "GPT-2": ("GPT2Config", "GPT2LMHeadModel", _GPT),
    "GPT-J": ("GPTJConfig", "GPTJForCausalLM", _GPT | {"rotary_dim": 8}),
    "GPT-NeoX": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _OLDER),
    "BLOOM": ("BloomConfig", "BloomForCausalLM", _COMMON | {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "OPT": ("OPTConfig", "OPTForCausalLM", _OPT | {"word_embed_proj_dim": 32}),
    "OPT, projection 24": ("OPTConfig", "OPTForCausalLM", _OPT | {"word_embed_proj_dim": 24}),
    "BERT": ("BertConfig", "BertLMHeadModel", _OLDER | {"is_decoder": True}),
    "Llama": ("LlamaConfig", "LlamaForCausalLM", _MODERN),
    "Mistral": ("MistralConfig", "MistralForCausalLM", _MODERN | {"sliding_window": 8}),
    "Mixtral": ("MixtralConfig", "MixtralForCausalLM", _MODERN | {"num_local_experts": 2}),
    "Qwen 3": ("Qwen3Config", "Qwen3ForCausalLM", _MODERN | {"head_dim": 8}),
    "Granite": ("GraniteConfig", "GraniteForCausalLM", _MODERN | {"logits_scaling": 8.0}),
    "Cohere": ("CohereConfig", "CohereForCausalLM", _MODERN | {"logit_scale": 0.25}),
    "OLMo": ("OlmoConfig", "OlmoForCausalLM", _MODERN),
    "Gemma 2": ("Gemma2Config", "Gemma2ForCausalLM", _MODERN | _GEMMA | {"final_logit_softcapping": 5.0}),
    "Gemma 3": ("Gemma3TextConfig", "Gemma3ForCausalLM", _MODERN | _GEMMA),
    "Gemma 3n": ("Gemma3nTextConfig", "Gemma3nForCausalLM", _MODERN | _GEMMA3N),
    "Llama 4": (
        "Llama4TextConfig",
        "Llama4ForCausalLM",
        _MODERN | {"head_dim": 8, "intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "Falcon H1": (
        "FalconH1Config",
        "FalconH1ForCausalLM",
        _MODERN | _MAMBA | {"head_dim": 8, "mamba_d_ssm": 32, "mamba_n_heads": 4, "lm_head_multiplier": 0.5},
    ),
    "Bamba": (
        "BambaConfig",
        "BambaForCausalLM",
        _MODERN | _MAMBA | {"mamba_n_heads": 8, "attn_layer_indices": [1]},
    ),
    "Mamba": (
        "MambaConfig",
        "MambaForCausalLM",
        _COMMON | {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 3},
    ),
}
"""Name -> the configuration's class, the model's class, and its sizes (heads of 8, 32 wide, 3 or 4 layers)."""


def build(name: str, **changes: Any) -> PreTrainedModel:
    """The tiny model of that name, the same one every time; `changes` to its configuration."""
    config, model, sizes = ARCHITECTURES[name]
    with torch.random.fork_rng():
        torch.manual_seed(20261128)
        made: PreTrainedModel = getattr(transformers, model)(getattr(transformers, config)(**sizes | changes))
    return made.eval().requires_grad_(False)
