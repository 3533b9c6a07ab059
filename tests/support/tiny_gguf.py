"""A tiny model as a .gguf file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decodebench.models import LoadedModel
from tiny import BOS_ID, EOS_ID, PAD_ID


def write_gguf(file: Path, loaded: LoadedModel, add: Callable[[Any], object] = lambda writer: None) -> None:
    """The tiny Llama as llama.cpp would store it: float32 tensors, query and key rows interleaved for its rotary.

    `add` gives the writer keys and tensors beside these; a key that it sets is not set here.
    """
    gguf = pytest.importorskip("gguf", reason="the demo extra is not installed")
    config, state = loaded.model.config, loaded.model.state_dict()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    add(writer)
    if "llama.rope.freq_base" not in writer.kv_data[0]:
        writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads(loaded.tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].__getitem__))
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_pad_token_id(PAD_ID)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in state.items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:
            rows, width = tensor.shape
            tensor = tensor.view(heads, 2, rows // heads // 2, width).transpose(1, 2).reshape(rows, width)
        writer.add_tensor(names.get_name(name, (".weight",)), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
