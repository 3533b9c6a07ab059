"""Text <-> token ids: templates around a prompt, and the text of a continuation."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from decodebench.errors import ConfigError, ModelError, PromptError, one_line
from decodebench.models.loading import LoadedModel
from decodebench.models.properties import vocabulary
from decodebench.prompts import check_template
from decodebench.strategies.step import ModelFacts

log = logging.getLogger(__name__)
_ignoring: set[str] = set()
"""Models of which was said that their chat template leaves the message out."""


def encode(loaded: LoadedModel, text: str, template: str | None = None) -> tuple[int, ...]:
    """The prompt's token ids, with the special tokens that the tokenizer adds by default (Gemma: <bos>).

    `template`: None, "chat" (the tokenizer's own, as one user message) or a format string around the text.
    ConfigError: a template that cannot be used. PromptError: nothing left to feed. ModelError: a tokenizer that fails,
    ids without embedding.
    """
    check_template(template)
    if template == "chat":
        words, special = _dialogue(loaded, text), {"add_special_tokens": False}  # the template has written them
    else:
        words, special = text if template is None else template.format(text=text), {}
    ids = _ids(loaded.tokenizer, words, **special)
    if not ids:
        raise PromptError(f"prompt text {text!r}: has no tokens for {loaded.name}; give a text that is not empty")
    rows = vocabulary(loaded.model)
    if max(ids) >= rows:
        raise ModelError(f"model={loaded.name}: the tokenizer gives id {max(ids)}, the model knows {rows} tokens")
    return ids


def _dialogue(loaded: LoadedModel, text: str) -> str:
    """The chat template around one user message; that it leaves the message out is said once for a model."""
    if not loaded.tokenizer.chat_template:
        raise ConfigError(f"prompts.template=chat: the tokenizer of {loaded.name} has no chat template; allowed: null")
    dialogue = _rendered(loaded, text)
    # Most templates hold the text as it is; others may have changed it, so that only another text tells.
    if text.strip() not in dialogue and loaded.fingerprint not in _ignoring and dialogue == _rendered(loaded, "\ue000"):
        _ignoring.add(loaded.fingerprint)
        log.warning(
            "prompts.template=chat: the chat template of %s leaves the prompt's text out, so all prompts are the same; "
            "use prompts.template=null, or a format string around {text}",
            loaded.name,
        )
    return dialogue


def _rendered(loaded: LoadedModel, text: str) -> str:
    message = [{"role": "user", "content": text}]
    try:
        dialogue = loaded.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program: it raises what it likes
        raise ConfigError(
            f"prompts.template=chat: the chat template of {loaded.name} fails ({_why(error)}); allowed: null, or a "
            "format string around {text}"
        ) from error
    return str(dialogue)


def decode(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """The text of a continuation: these ids alone, special tokens left out, spaces untouched.

    A character whose bytes are cut off at the end shows as U+FFFD. A tokenizer that drops the space of a leading
    SentencePiece piece (Llama 2) drops it here too, since the prompt is not decoded along.
    """
    return _text(loaded.tokenizer, ids)


def model_facts(loaded: LoadedModel, eos_ids: tuple[int, ...]) -> ModelFacts:
    """What strategies may know of a loaded model, in a cell with these end tokens."""
    return facts_of(loaded.model, loaded.tokenizer, eos_ids)


def facts_of(model: Any, tokenizer: Any, eos_ids: tuple[int, ...]) -> ModelFacts:
    """The same of a transformers model; without a tokenizer, strategies that need text say so."""
    config = model.config.get_text_config()
    facts = ModelFacts(
        vocabulary=vocabulary(model),
        layers=int(config.num_hidden_layers),
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        eos_ids=eos_ids,
    )
    if tokenizer is None:
        return facts
    return replace(
        facts,
        encode=lambda text: _ids(tokenizer, text, add_special_tokens=False),
        encode_prompt=lambda text: _ids(tokenizer, text),
        decode=lambda ids: _text(tokenizer, ids),
    )


def _ids(tokenizer: Any, text: str, **options: bool) -> tuple[int, ...]:
    with _tokenizing(tokenizer):
        return tuple(tokenizer(text, **options).input_ids)


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    with _tokenizing(tokenizer):
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


@contextmanager
def _tokenizing(tokenizer: Any) -> Iterator[None]:
    """Whatever a tokenizer raises as one line."""
    try:
        yield
    except Exception as error:  # one that comes with its model is any program
        name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        raise ModelError(f"the tokenizer of {name} fails ({_why(error)})") from error


def _why(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 200)
