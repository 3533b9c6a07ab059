"""A tiny Llama whose next-token probabilities are known, to hold engines against: one layer that adds nothing, so that
the logits depend on the last token alone, or on nothing.

Tokens 0 to 3 are special (<unk>, <s>, </s>, <pad>), then the letters A to Z, a space, a line break, a to z and 0 to 5:
64 in all, each a token of its own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKENS = (
    *("<unk>", "<s>", "</s>", "<pad>"),
    *(chr(ord("A") + n) for n in range(26)),
    *("Ġ", "Ċ"),  # a space and a line break, as byte-level BPE writes them
    *(chr(ord("a") + n) for n in range(26)),
    *"012345",
)
UNK, BOS, EOS, PAD = range(4)
VOCABULARY = len(TOKENS)
ID = {token: number for number, token in enumerate(TOKENS)} | {"EOS": EOS}
CONSTANT = {"A": 0.40, "B": 0.30, "C": 0.15, "D": 0.10, "E": 0.05}
"""After any context. All other tokens are 20 nats below the likeliest."""
TIE = {"A": 0.40, "B": 0.20, "C": 0.20, "D": 0.10, "E": 0.10}
BIGRAM: dict[str, Mapping[str, float]] = {
    "A": {"B": 0.9, "C": 0.1},
    "B": {"A": 0.9, "C": 0.1},
    "D": {"G": 0.6, "EOS": 0.4},
    "G": {"H": 0.7, "EOS": 0.3},
    "H": {"I": 0.8, "EOS": 0.2},
    "I": {"EOS": 1.0},
}
"""By the last token: texts that end, for searches."""
_BELOW, _SHIFT, _SCALE = 20.0, 5.0, 8.0


def ids(text: str) -> list[int]:
    """The tokens of a text of letters."""
    return [ID[letter] for letter in text]


def logits_of(probabilities: Mapping[str, float]) -> list[float]:
    """The logits of these probabilities, `[64]`: ln p + 5, so that some are positive and some are not."""
    row = [math.log(max(probabilities.values())) + _SHIFT - _BELOW] * VOCABULARY
    for token, probability in probabilities.items():
        row[ID[token]] = math.log(probability) + _SHIFT
    return row


def always(probabilities: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    """The same probabilities after every token."""
    return dict.fromkeys(TOKENS, probabilities)


def build_known(folder: Path, table: Mapping[str, Mapping[str, float]]) -> Path:
    """Write a transformers folder (safetensors, config, tokenizer) of a model with these probabilities by the last
    token; after a token that the table lacks those of `CONSTANT`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=VOCABULARY,
        intermediate_size=VOCABULARY,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    model = LlamaForCausalLM(config).to(torch.float32)
    layer = model.model.layers[0]
    with torch.no_grad():
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            projection.weight.fill_(0.01)
        layer.mlp.gate_proj.weight.fill_(0.01)
        layer.mlp.up_proj.weight.fill_(0.01)
        layer.self_attn.o_proj.weight.zero_()  # neither of the two adds anything to the embedding
        layer.mlp.down_proj.weight.zero_()
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        embedding.zero_()
        head.zero_()
        # The norm makes every embedding as long as sqrt(64) = 8 whatever it was: a single 8 stays one.
        for number, token in enumerate(TOKENS):
            embedding[number, number] = _SCALE
            head[:, number] = torch.tensor(logits_of(table.get(token, CONSTANT))) / _SCALE
    model.generation_config.pad_token_id = PAD
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(TOKENS)}, merges=[], unk_token="<unk>")
    )
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
