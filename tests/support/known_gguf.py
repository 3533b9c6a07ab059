"""The model of known_logits as a .gguf file, for llama.cpp and what is built on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from known_logits import BOS, CONSTANT, EOS, PAD, TOKENS, UNK, VOCABULARY, logits_of

_SCALE = 8.0  # the norm makes every embedding as long as sqrt(64), whatever it was
_NORMAL, _CONTROL = 1, 3  # types of tokens


def write_known_gguf(
    file: Path, table: Mapping[str, Mapping[str, float]], metadata: Mapping[str, int | float | str] | None = None
) -> Path:
    """Write a model with these next-token probabilities by the last token, those of `CONSTANT` after a token that the
    table lacks. `metadata` are keys beside those of the model, such as general.sampling.temp."""
    gguf = pytest.importorskip("gguf", reason="the demo extra is not installed")
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("known")
    writer.add_context_length(4096)
    writer.add_embedding_length(VOCABULARY)
    writer.add_block_count(1)
    writer.add_feed_forward_length(VOCABULARY)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-12)
    writer.add_rope_dimension_count(VOCABULARY // 2)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    _tokenizer(writer)
    for key, value in (metadata or {}).items():
        add = {int: writer.add_int32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(key, value)
    for name, tensor in _tensors(table).items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _tokenizer(writer: Any) -> None:
    """Every token is one of its own: no merge makes another."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(TOKENS))
    writer.add_token_types([_CONTROL if number <= PAD else _NORMAL for number in range(VOCABULARY)])
    writer.add_token_merges(["0 0"])  # a list must not be empty; there is no token 00
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(False)


def _tensors(table: Mapping[str, Mapping[str, float]]) -> dict[str, np.ndarray]:
    """One layer that adds nothing: the outputs of its attention and of its MLP are zero."""
    size = (VOCABULARY, VOCABULARY)
    ones, small, zeros = np.ones(VOCABULARY, np.float32), np.full(size, 0.01, np.float32), np.zeros(size, np.float32)
    head_VH = np.stack([np.array(logits_of(table.get(token, CONSTANT)), np.float32) for token in TOKENS], axis=1)
    inputs = dict.fromkeys(("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"), small)
    outputs = dict.fromkeys(("attn_output", "ffn_down"), zeros)
    norms = dict.fromkeys(("attn_norm", "ffn_norm"), ones)
    return {
        "token_embd": np.eye(VOCABULARY, dtype=np.float32) * np.float32(_SCALE),
        "output": head_VH / np.float32(_SCALE),
        "output_norm": ones,
        **{f"blk.0.{name}": tensor for name, tensor in (inputs | outputs | norms).items()},
    }
