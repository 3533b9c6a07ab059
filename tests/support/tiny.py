"""Tiny random models of five real architectures, saved as users' models are: they go through the same loading code.

They are made so that decoding them means something: peaked distributions, no ties, an EOS that comes up now and then.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

ARCHS = ("gpt1", "gpt2", "gptj", "llama", "gemma3")
CONTEXT_LENGTH = 192
BOS_ID, EOS_ID, PAD_ID = 0, 1, 2
WITH_BOS = ("llama", "gemma3")
"""The architectures whose tokenizer puts <bos> before every text, as those families do."""

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)

SENTENCES = (
    "오늘은 비가 와서 창밖을 오래 바라보았다.",
    "고양이는 따뜻한 방에서 하루 종일 잠을 잔다.",
    "우리는 주말마다 작은 산에 올라 도시를 내려다본다.",
    "할머니는 시장에서 사과와 배를 한 바구니 사 오셨다.",
    "질문이 있으면 언제든지 편하게 물어보세요.",
    "The old boat moved slowly along the quiet river.",
    "She opened the window and listened to the rain.",
    "A small dog waited at the door for his friend.",
    "We walked home late and talked about the sea.",
    "Bread, cheese and apples were enough for the day.",
)


def build_tokenizer(arch: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 400 tokens; Llama and Gemma 3 put <bos> first, only Gemma 3 has a chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<bos>", "<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    if arch in WITH_BOS:
        bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS_ID)])
    fast: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = fast(
        tokenizer_object=bpe, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", model_max_length=CONTEXT_LENGTH
    )
    if arch == "gemma3":
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(arch: str, vocab_size: int) -> PreTrainedModel:
    """Two layers (Gemma 3: three, of which two look back only 8 tokens), 48 wide."""
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
        "initializer_range": 0.4,
        "tie_word_embeddings": False,
    }
    gpt: dict[str, Any] = common | {"n_positions": CONTEXT_LENGTH, "n_embd": 48, "n_layer": 2, "n_head": 4}
    modern: dict[str, Any] = common | {
        "max_position_embeddings": CONTEXT_LENGTH,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    match arch:
        case "gpt1":
            return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**gpt))
        case "gpt2":
            return GPT2LMHeadModel(GPT2Config(**gpt))
        case "gptj":
            return GPTJForCausalLM(GPTJConfig(**gpt, rotary_dim=8))
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**modern, num_hidden_layers=2))
        case "gemma3":
            layers = ["sliding_attention", "full_attention", "sliding_attention"]
            sizes: dict[str, Any] = {
                "num_hidden_layers": 3,
                "head_dim": 12,
                "query_pre_attn_scalar": 12,
                "sliding_window": 8,
            }
            return Gemma3ForCausalLM(Gemma3TextConfig(**modern, **sizes, layer_types=layers))
    raise ValueError(f"no tiny model of {arch}; there are {ARCHS}")


def build_tiny(arch: str, folder: Path) -> Path:
    """Save a tiny model and its tokenizer into `folder`, the same one every time; returns the folder."""
    tokenizer = build_tokenizer(arch)
    with torch.random.fork_rng():
        torch.manual_seed(20240229)
        model: Any = build_model(arch, len(tokenizer))
    with torch.no_grad():
        # A longer EOS row makes EOS likely in some contexts and unlikely in others.
        model.get_output_embeddings().weight[EOS_ID] *= 1.3
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
