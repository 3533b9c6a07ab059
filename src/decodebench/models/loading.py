"""A model of the configuration -> weights and tokenizer in memory, read once and kept while the next cells need them.

Sources: the packaged Gemma 3 (packaged.py), a hub id, a local folder or .gguf file.
"""

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from decodebench.errors import ConfigError, DecodebenchError, ModelError, one_line
from decodebench.models.config import ModelConfig, check_config
from decodebench.models.identity import Identity, identity
from decodebench.models.properties import (
    check_logits,
    context_length,
    end_and_pad,
    input_device,
    unused_ids,
    vocabulary,
)
from decodebench.models.second import with_rows
from decodebench.models.weights import read_pretrained

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to decode: in eval mode, on its device, its logits known to be finite.

    `model` and `tokenizer` are a PreTrainedModel and a PreTrainedTokenizerBase; `source` says where they came from.
    `pad_id` is only ever fed where it is masked; `context_length` is None for models without a limit; `identity` is
    what tells it from others of its name. `unused_ids` are those that the tokenizer has no text for, and with
    `mask_unused` they are not to be chosen; `warnings` say what is odd about the model, one line each.
    """

    model: Any
    tokenizer: Any
    name: str
    source: str
    device: torch.device
    identity: Identity
    pad_id: int
    context_length: int | None
    parameters: int
    licence: str | None
    unused_ids: tuple[int, ...]
    mask_unused: bool
    warnings: tuple[str, ...]
    load_seconds: float

    @property
    def dtype(self) -> str:
        """The dtype of the weights, as in float32."""
        return self.identity.dtype

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a text; there may be none."""
        return self.identity.eos_ids

    @property
    def fingerprint(self) -> str:
        """The hash of the weights."""
        return self.identity.fingerprint


_Files = tuple[tuple[str, int, int], ...]
_slot: tuple[tuple[ModelConfig, _Files], LoadedModel] | None = None
_second: tuple[tuple[str, _Files, str, str], Any] | None = None
_loads: list[str] = []
_second_identities: dict[str, Identity] = {}


def load(config: ModelConfig, *, announce: Callable[[str], None] = logger.info) -> LoadedModel:
    """The model of `config`: the one in memory where it is the same, else read anew after letting go of the other.

    One whose files have changed since is another. The memory of the other is free only if no caller still holds it.
    `announce` gets the lines meant for the user
    (first conversion, licence, how long it took). Raises what `check_config` raises, and ModelError for what cannot be
    fetched, read or trusted.
    """
    global _slot
    key = (config, _files(config.path))
    if _slot is not None and _slot[0] == key:
        return _slot[1]
    check_config(config)
    release()
    loaded = _read(config, announce)
    _slot = (key, loaded)
    _loads.append(config.name)
    return loaded


def _files(place: str | None) -> _Files:
    """Name, size and time of change of the files there; none where there is no such file or folder."""
    if not place or not (path := Path(place).expanduser()).exists():
        return ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple(
        (file.name, stat.st_size, stat.st_mtime_ns) for file in files if file.exists() for stat in [file.stat()]
    )


def release() -> None:
    """Let go of the model in memory, if there is one, and of the second one beside it."""
    global _slot, _second
    _second = None
    if _slot is None:
        return
    _slot = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def loads() -> tuple[str, ...]:
    """The names of the models that this process has read, in order; a model taken from memory is not counted again."""
    return tuple(_loads)


def load_second(place: str, loaded: LoadedModel, named: str = "second model") -> Any:
    """A second model (folder, .gguf or hub id) beside the loaded one: the same tokens, its device, its dtype.

    Its head and embeddings may be padded to another height (`with_rows`). The last one is kept in memory until
    `release`. `named` is the key that errors name. Raises ConfigError for other tokens, ModelError for what cannot be
    fetched, read or trusted.
    """
    global _second
    key = (place, _files(place), loaded.fingerprint, str(loaded.device))
    if _second is not None and _second[0] == key:
        return _second[1]
    _second = None  # one at a time
    here = Path(place).expanduser().exists()
    where: dict[str, Any] = {"source": "local", "path": place} if here else {"source": "hub", "id": place}
    config = ModelConfig(name=place, device=str(loaded.device), dtype=loaded.dtype, **where)
    try:
        read = read_pretrained(config, logger.info)
        model, tokenizer = read.model, read.tokenizer
        check_logits(config, model, tokenizer)
    except DecodebenchError as error:
        why = one_line(error.__cause__ or error, 300)
        raise ModelError(
            f"{named}={place}: could not be loaded; allowed is a folder of save_pretrained, a .gguf file or a hub "
            f"id ({why})"
        ) from error
    tokens, wanted = tokenizer.get_vocab(), loaded.tokenizer.get_vocab()
    if tokens != wanted:
        raise ConfigError(
            f"{named}={place}: its vocabulary ({len(tokens)} tokens) is not that of {loaded.name} ({len(wanted)} "
            "tokens); allowed is a model with the same tokens and ids"
        )
    lacking = [token_id for token_id in tokens.values() if token_id >= vocabulary(model)]
    if lacking:
        raise ConfigError(
            f"{named}={place}: has {vocabulary(model)} embeddings, and none for the token {max(lacking)}; allowed is "
            f"a model that knows all {len(wanted)} tokens of {loaded.name}"
        )
    _second_identities[place] = identity(model, tokenizer, end_and_pad(config, model, tokenizer)[0])
    _second = (key, with_rows(model, vocabulary(loaded.model)))
    return _second[1]


def second_identity(place: str) -> Identity | None:
    """The identity of a second model that this process has read last from there; None if it has not."""
    return _second_identities.get(place)


def _read(config: ModelConfig, announce: Callable[[str], None]) -> LoadedModel:
    started = time.perf_counter()
    read = read_pretrained(config, announce)
    model, tokenizer = read.model, read.tokenizer
    eos_ids, pad_id = end_and_pad(config, model, tokenizer)
    doubts = check_logits(config, model, tokenizer)
    loaded = LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=config.name,
        source=read.source,
        device=input_device(model),
        identity=identity(model, tokenizer, eos_ids),
        pad_id=pad_id,
        context_length=context_length(model.config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        licence=config.licence,
        unused_ids=unused_ids(model, tokenizer),
        mask_unused=config.mask_unused,
        warnings=(*read.warnings, *doubts),
        load_seconds=time.perf_counter() - started,
    )
    size = f"{loaded.parameters:,} parameters, {loaded.dtype} on {loaded.device}"
    announce(f"{loaded.name}: {size}, loaded in {loaded.load_seconds:.1f} s")
    return loaded
