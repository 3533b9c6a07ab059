"""Text <-> token ids: templates around a prompt, and the text of a continuation."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from decodebench.errors import ConfigError, ModelError, PromptError
from decodebench.models.loading import LoadedModel
from decodebench.models.properties import vocabulary
from decodebench.prompts import check_template
from decodebench.strategies.step import ModelFacts


def encode(loaded: LoadedModel, text: str, template: str | None = None) -> tuple[int, ...]:
    """The prompt's token ids, with the special tokens that the tokenizer adds by default (Gemma: <bos>).

    `template`: None, "chat" (the tokenizer's own, as one user message) or a format string around the text.
    ConfigError: a template that cannot be used. PromptError: nothing left to feed. ModelError: ids without embedding.
    """
    check_template(template)
    if template == "chat":
        if not loaded.tokenizer.chat_template:
            raise ConfigError(
                f"prompts.template=chat: the tokenizer of {loaded.name} has no chat template; allowed: null"
            )
        message = [{"role": "user", "content": text}]
        dialogue = loaded.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        ids = loaded.tokenizer(dialogue, add_special_tokens=False).input_ids  # the template has written them
    else:
        ids = loaded.tokenizer(text if template is None else template.format(text=text)).input_ids
    if not ids:
        raise PromptError(f"prompt text {text!r}: has no tokens for {loaded.name}; give a text that is not empty")
    rows = vocabulary(loaded.model)
    if max(ids) >= rows:
        raise ModelError(f"model={loaded.name}: the tokenizer gives id {max(ids)}, the model knows {rows} tokens")
    return tuple(ids)


def decode(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """The text of a continuation: these ids alone, special tokens left out, spaces untouched.

    A character whose bytes are cut off at the end shows as U+FFFD. A tokenizer that drops the space of a leading
    SentencePiece piece (Llama 2) drops it here too, since the prompt is not decoded along.
    """
    return _text(loaded.tokenizer, ids)


def model_facts(loaded: LoadedModel, eos_ids: tuple[int, ...]) -> ModelFacts:
    """What strategies may know of a loaded model, in a cell with these end tokens."""
    masked = () if not loaded.mask_unused else loaded.unused_ids
    return facts_of(loaded.model, loaded.tokenizer, eos_ids, masked)


def facts_of(model: Any, tokenizer: Any, eos_ids: tuple[int, ...], masked_ids: Iterable[int] = ()) -> ModelFacts:
    """The same of a transformers model; without a tokenizer, strategies that need text say so.

    `masked_ids` are never to be chosen; an end token is not masked.
    """
    config = model.config.get_text_config()
    facts = ModelFacts(
        vocabulary=vocabulary(model),
        layers=int(config.num_hidden_layers),
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        eos_ids=eos_ids,
        masked_ids=tuple(token_id for token_id in masked_ids if token_id not in eos_ids),
    )
    if tokenizer is None:
        return facts
    return replace(
        facts,
        encode=lambda text: tuple(tokenizer(text, add_special_tokens=False).input_ids),
        encode_prompt=lambda text: tuple(tokenizer(text).input_ids),
        decode=lambda ids: _text(tokenizer, ids),
    )


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
