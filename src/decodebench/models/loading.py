"""A model of the configuration -> weights and tokenizer in memory, read once and kept while the next cells need them.

Sources: the packaged Gemma 3 (packaged.py), a hub id, a local folder or .gguf file.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from decodebench.errors import ConfigError, DecodebenchError, ModelError, one_line
from decodebench.models import packaged
from decodebench.models.config import ModelConfig, check_config, local_files

logger = logging.getLogger(__name__)

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")
FINGERPRINT_VALUES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to decode: in eval mode, on its device, its logits known to be finite.

    `model` and `tokenizer` are a PreTrainedModel and a PreTrainedTokenizerBase; `source` says where they came from.
    `eos_ids` may be empty; `pad_id` is only ever fed where it is masked; `context_length` is None for models without a
    limit; `fingerprint` is that of `fingerprint()`.
    """

    model: Any
    tokenizer: Any
    name: str
    source: str
    device: torch.device
    dtype: str
    eos_ids: tuple[int, ...]
    pad_id: int
    context_length: int | None
    fingerprint: str
    parameters: int
    licence: str | None
    load_seconds: float


# --- one model in memory --------------------------------------------------------------------------------------------

_slot: tuple[ModelConfig, LoadedModel] | None = None
_second: tuple[tuple[str, str, str], Any] | None = None
_loads: list[str] = []
_second_fingerprints: dict[str, str] = {}


def load(config: ModelConfig, *, announce: Callable[[str], None] = logger.info) -> LoadedModel:
    """The model of `config`: the one in memory where it is the same, else read anew after letting go of the other.

    The memory of the other is free only if no caller still holds it. `announce` gets the lines meant for the user
    (first conversion, licence, how long it took). Raises what `check_config` raises, and ModelError for what cannot be
    fetched, read or trusted.
    """
    global _slot
    if _slot is not None and _slot[0] == config:
        return _slot[1]
    check_config(config)
    release()
    loaded = _read(config, announce)
    _slot = (config, loaded)
    _loads.append(config.name)
    return loaded


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

    The last one is kept in memory until `release`. `named` is the key that errors name. Raises ConfigError for another
    vocabulary, ModelError for what cannot be fetched, read or trusted.
    """
    global _second
    key = (place, loaded.fingerprint, str(loaded.device))
    if _second is not None and _second[0] == key:
        return _second[1]
    _second = None  # one at a time
    here = Path(place).expanduser().exists()
    where: dict[str, Any] = {"source": "local", "path": place} if here else {"source": "hub", "id": place}
    config = ModelConfig(name=place, device=str(loaded.device), dtype=loaded.dtype, **where)
    try:
        with _reading(config):
            model, tokenizer, _ = _from_pretrained(config, logger.info)
        _probe(config, model, tokenizer)
    except DecodebenchError as error:
        why = one_line(error.__cause__ or error, 300)
        raise ModelError(
            f"{named}={place}: could not be loaded; allowed is a folder of save_pretrained, a .gguf file or a hub "
            f"id ({why})"
        ) from error
    rows, wanted = vocabulary(model), vocabulary(loaded.model)
    if rows != wanted or tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise ConfigError(
            f"{named}={place}: its vocabulary ({rows} tokens) is not that of {loaded.name} ({wanted} tokens); "
            "allowed is a model with the same tokens and ids"
        )
    _second = (key, model)
    _second_fingerprints[place] = fingerprint(model)
    return model


def second_fingerprint(place: str) -> str | None:
    """The fingerprint of a second model that this process has read last from there; None if it has not."""
    return _second_fingerprints.get(place)


# --- reading --------------------------------------------------------------------------------------------------------


def _read(config: ModelConfig, announce: Callable[[str], None]) -> LoadedModel:
    started = time.perf_counter()
    with _reading(config):
        model, tokenizer, source = _from_pretrained(config, announce)
    eos_ids, pad_id = _end_and_pad(config, model, tokenizer)
    _probe(config, model, tokenizer)
    loaded = LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=config.name,
        source=source,
        device=_input_device(model),
        dtype=_dtype_name(model),
        eos_ids=eos_ids,
        pad_id=pad_id,
        context_length=context_length(model.config),
        fingerprint=fingerprint(model),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        licence=config.licence,
        load_seconds=time.perf_counter() - started,
    )
    size = f"{loaded.parameters:,} parameters, {loaded.dtype} on {loaded.device}"
    announce(f"{loaded.name}: {size}, loaded in {loaded.load_seconds:.1f} s")
    return loaded


def _from_pretrained(config: ModelConfig, announce: Callable[[str], None]) -> tuple[Any, Any, str]:
    """Weights and tokenizer through transformers' auto classes, and a text that says where they came from."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, gguf, source = _locate(config, announce)
    common: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    common |= {"revision": config.revision or "main"} if config.source == "hub" else {"local_files_only": True}
    named = {"gguf_file": gguf} if gguf else {}
    tokenizer: Any = AutoTokenizer.from_pretrained(place, **common, **named, **(config.tokenizer or {}))
    options = common | {"dtype": _dtype(config), "output_loading_info": True}
    options |= packaged.gguf_options(gguf) if gguf else {}
    options |= {"device_map": config.device_map} if config.device_map else {}
    weights: Any = AutoModelForCausalLM.from_pretrained(place, **options)
    model, info = weights
    if info["missing_keys"]:  # transformers would go on with random values
        names = sorted(info["missing_keys"])
        raise ModelError(f"model={config.name}: {source} lacks {len(names)} of its weights, first {names[0]}")
    if not config.device_map:
        model.to(_device(config))
    commit = getattr(model.config, "_commit_hash", None)
    # The weights keep `requires_grad`, as a user's do. Nothing here computes gradients, but torch turns a strided batch
    # into one product only for a weight that has it: without, `generate` copies the head for every row (docs/LOG.md).
    return model.eval(), tokenizer, f"{source}@{commit}" if commit else source


def _locate(config: ModelConfig, announce: Callable[[str], None]) -> tuple[str, str | None, str]:
    """Folder or hub id, name of the .gguf file if any, and the source in words."""
    if config.source == "packaged":
        folder = packaged.prepare(licence=config.licence, announce=announce)
        return str(folder), None, f"packaged:{packaged.PACKAGE}"
    if config.source == "hub":
        return str(config.id), None, f"hub:{config.id}"
    place, gguf = local_files(config.path)
    return str(place), gguf, f"local:{config.path}"


def vocabulary(model: Any) -> int:
    """The number of tokens that the model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def _dtype_name(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")


def _input_device(model: Any) -> torch.device:
    """Where token ids go; with device_map the embeddings may be put aside ("meta"), and accelerate moves the ids."""
    device: torch.device = model.get_input_embeddings().weight.device
    return torch.device("cpu") if device.type == "meta" else device


def _device(config: ModelConfig) -> torch.device:
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype(config: ModelConfig) -> torch.dtype | str:
    """auto: float32 on a CPU, the checkpoint's own (which transformers calls auto) on CUDA."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)  # type: ignore[no-any-return]
    return torch.float32 if _device(config).type == "cpu" else "auto"


@contextmanager
def _reading(config: ModelConfig) -> Iterator[None]:
    """Without transformers' progress bars; whatever goes wrong becomes one line for the user."""
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    except DecodebenchError:
        raise
    except Exception as error:  # transformers, safetensors and tokenizers raise a dozen classes, Exception itself too
        raise ModelError(_why_not(config, error)) from error
    finally:
        if shown:
            bars.enable_progress_bar()


def _why_not(config: ModelConfig, error: Exception) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if config.source == "hub" and isinstance(error, OSError):
        return (
            f"model.id={config.id}: could not be fetched from the hub; check the id and the network, or use a copy on "
            f"this machine: model=local model.path=FOLDER ({reason})"
        )
    place = {"hub": f"model.id={config.id}", "local": f"model.path={config.path}", "packaged": f"model={config.name}"}
    return f"{place[config.source]}: could not be loaded ({reason})"


# --- what the decoder must know of a model --------------------------------------------------------------------------


def _end_and_pad(config: ModelConfig, model: Any, tokenizer: Any) -> tuple[tuple[int, ...], int]:
    """EOS ids and pad id. The model's own generation config is then replaced by a bare one.

    What a checkpoint's generation_config.json sets (a temperature, a repetition penalty) would leak into every call of
    `generate` that leaves the field unset. EOS: an eos_token given in the configuration, else the model's generation
    config, its config, the tokenizer.
    """
    rows = vocabulary(model)
    for name in config.tokenizer or {}:
        token_id = getattr(tokenizer, f"{name}_id")
        if token_id is None or token_id >= rows:
            raise ModelError(f"model.tokenizer.{name}={getattr(tokenizer, name)}: not a token of {config.name}")
    overridden = tokenizer.eos_token_id if "eos_token" in (config.tokenizer or {}) else None
    configs = (model.generation_config, model.config.get_text_config())
    ends = (overridden, *(getattr(one, "eos_token_id", None) for one in configs), tokenizer.eos_token_id)
    eos_ids = next(filter(None, (_ids_below(rows, end) for end in ends)), ())
    pads = (tokenizer.pad_token_id, *(getattr(one, "pad_token_id", None) for one in configs))
    pad_ids = () if config.pad_to_eos else next(filter(None, (_ids_below(rows, pad) for pad in pads)), ())
    pad_id = (*pad_ids, *eos_ids, 0)[0]
    model.generation_config = type(model.generation_config)(pad_token_id=pad_id)
    return eos_ids, pad_id


def _ids_below(rows: int, ids: int | Sequence[int] | None) -> tuple[int, ...]:
    """Ids as a tuple, without those that the model has no embedding for (a default made for other models)."""
    sequence = (ids,) if isinstance(ids, int) else tuple(ids or ())
    return tuple(token_id for token_id in sequence if 0 <= token_id < rows)


def context_length(model_config: Any) -> int | None:
    """The most tokens (prompt and continuation) that a model takes; None where its config states no limit."""
    text_config = model_config.get_text_config()
    lengths = (getattr(text_config, key, None) for key in CONTEXT_KEYS)
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def _probe(config: ModelConfig, model: Any, tokenizer: Any) -> None:
    """Feed a few tokens and look at the logits: damaged weights, or a dtype too narrow for them, show as NaN."""
    ids = _ids_below(vocabulary(model), tokenizer("1 + 1 = 2, 물은 H2O").input_ids)[:8] or (0,)
    with torch.inference_mode():
        logits = model(torch.tensor([ids], device=_input_device(model))).logits
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"model={config.name}: logits are NaN or infinite in {_dtype_name(model)}; the weights are damaged, or too "
            "large for this dtype (try model.dtype=float32)"
        )


def fingerprint(model: torch.nn.Module) -> str:
    """A hash that tells weights apart: blake2b (128 bits, hex) of each parameter and buffer, in the model's order.

    Of each: name, shape, dtype, and the bytes of at most 1024 values at an even stride from the first. A change that
    misses all of these values is not seen. The same weights in another dtype have another fingerprint.
    """
    from accelerate.utils import align_module_device

    digest = blake2b(digest_size=16)
    for prefix, module in model.named_modules():
        with align_module_device(module):  # weights that device_map put aside are brought in, a module at a time
            own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            for name, tensor in own:
                digest.update(f"{prefix}.{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
                values = tensor.detach().reshape(-1)
                sample = values[:: max(1, -(-values.numel() // FINGERPRINT_VALUES))].contiguous().cpu()
                digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
