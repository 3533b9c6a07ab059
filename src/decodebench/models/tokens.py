"""Text <-> token ids: templates around a prompt, and the text of a continuation."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from decodebench.errors import ConfigError, ModelError, PromptError, one_line
from decodebench.models.loading import LoadedModel
from decodebench.models.properties import vocabulary
from decodebench.models.token_bytes import stop_strings
from decodebench.prompts import DEFAULT_DATE, check_template
from decodebench.strategies.step import ModelFacts


def encode(loaded: LoadedModel, text: str, template: str | None = None, today: str | None = None) -> tuple[int, ...]:
    """The prompt's token ids, with the special tokens that the tokenizer adds by default (Gemma: <bos>).

    `template`: None, "chat" (the tokenizer's own, as one user message) or a format string around the text. `today` is
    what a chat template that asks for the date is told, YYYY-MM-DD; None: what it is told by default.
    ConfigError: a template that cannot be used. PromptError: nothing left to feed. ModelError: a tokenizer that fails,
    ids without embedding.
    """
    check_template(template)
    if template == "chat":
        words = _dialogue(loaded, text, _Clock(today or DEFAULT_DATE))
        special = {"add_special_tokens": False}  # the template has written them
    else:
        words, special = text if template is None else template.format(text=text), {}
    ids = _ids(loaded.tokenizer, words, **special)
    if not ids:
        raise PromptError(f"prompt text {text!r}: has no tokens for {loaded.name}; give a text that is not empty")
    rows = vocabulary(loaded.model)
    if max(ids) >= rows:
        raise ModelError(f"model={loaded.name}: the tokenizer gives id {max(ids)}, the model knows {rows} tokens")
    return ids


def _dialogue(loaded: LoadedModel, text: str, clock: "_Clock") -> str:
    """The chat template around one user message, at this time."""
    if not loaded.tokenizer.chat_template:
        raise ConfigError(f"prompts.template=chat: the tokenizer of {loaded.name} has no chat template; allowed: null")
    from transformers.utils import chat_template_utils

    module: Any = chat_template_utils
    real = module.datetime
    module.datetime = clock  # no argument takes its place: a template is handed plain data alone
    message = [{"role": "user", "content": text}]
    try:
        return str(loaded.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
    except Exception as error:  # a template is a program: it raises what it likes
        raise ConfigError(
            f"prompts.template=chat: the chat template of {loaded.name} fails ({_why(error)}); allowed: null, or a "
            "format string around {text}"
        ) from error
    finally:
        module.datetime = real


def asks_for_the_date(loaded: LoadedModel) -> bool:
    """Whether the chat template of this model writes the date, or the time, into a prompt."""
    clock = _Clock(DEFAULT_DATE)
    _dialogue(loaded, "Hello", clock)
    return clock.asked


class _Clock:
    """What stands for transformers' `datetime`: midnight of a day, since a template may ask for the time as well."""

    def __init__(self, day: str) -> None:
        self._time = datetime.fromisoformat(day)
        self.asked = False

    def now(self) -> datetime:
        """The time that `strftime_now` writes."""
        self.asked = True
        return self._time


def ids_sha256(ids: Sequence[int]) -> str:
    """What tells prompts apart as they were fed: hex SHA-256 of the token ids in decimal, with commas between them."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def decode(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """The text of a continuation: these ids alone, special tokens left out, spaces untouched.

    A character whose bytes are cut off at the end shows as U+FFFD. A tokenizer that drops the space of a leading
    SentencePiece piece (Llama 2) drops it here too, since the prompt is not decoded along.
    """
    return _text(loaded.tokenizer, ids)


def model_facts(
    loaded: LoadedModel, eos_ids: tuple[int, ...], stop: Sequence[str] | None = None, stop_keep: bool = False
) -> ModelFacts:
    """What strategies may know of a loaded model, in a cell with these end tokens and stop strings.

    Raises what `stop_strings` raises.
    """
    masked = () if not loaded.mask_unused else loaded.unused_ids
    return facts_of(loaded.model, loaded.tokenizer, eos_ids, masked, stop, stop_keep)


def facts_of(
    model: Any,
    tokenizer: Any,
    eos_ids: tuple[int, ...],
    masked_ids: Iterable[int] = (),
    stop: Sequence[str] | None = None,
    stop_keep: bool = False,
) -> ModelFacts:
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
        stops=stop_strings(stop or (), tokenizer, vocabulary(model)),
        stop_keep=stop_keep,
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
