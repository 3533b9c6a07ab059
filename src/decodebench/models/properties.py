"""What a decoder must know of a model in memory (ends, context, fingerprint), and whether its logits are sound."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import torch

from decodebench.errors import ModelError, one_line, worded
from decodebench.models.config import ModelConfig

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")
FINGERPRINT_VALUES = 1024
_UNIFORM = 1e-4
"""Logits whose range is at most this, or this share of the largest, are all the same but for rounding."""


def vocabulary(model: Any) -> int:
    """The number of tokens that the model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def unused_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids that the model can draw and the tokenizer has no token for, ascending: the padding of a head, mostly."""
    known = set(tokenizer.get_vocab().values())
    return tuple(token_id for token_id in range(vocabulary(model)) if token_id not in known)


def ranges(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending ids as the first and the last of each that follow one another.

    >>> ranges([3, 4, 5, 9])
    [(3, 5), (9, 9)]
    """
    found: list[tuple[int, int]] = []
    for token_id in ids:
        first = found.pop()[0] if found and found[-1][1] == token_id - 1 else token_id
        found.append((first, token_id))
    return found


def dtype_name(model: Any) -> str:
    """The dtype of the weights as the configuration names it, as in float32."""
    return str(model.dtype).removeprefix("torch.")


def input_device(model: Any) -> torch.device:
    """Where token ids go; with device_map the embeddings may be put aside ("meta"), and accelerate moves the ids."""
    device: torch.device = model.get_input_embeddings().weight.device
    return torch.device("cpu") if device.type == "meta" else device


def end_and_pad(config: ModelConfig, model: Any, tokenizer: Any) -> tuple[tuple[int, ...], int]:
    """EOS ids and pad id. The model's own generation config is then replaced by a bare one.

    What a checkpoint's generation_config.json sets (a temperature, a repetition penalty) would leak into every call of
    `generate` that leaves the field unset. EOS: an eos_token given in the configuration, else the model's generation
    config, its config, the tokenizer. Raises ModelError for a configured special token that the model does not know.
    """
    rows = vocabulary(model)
    for name in config.tokenizer or {}:
        token_id = getattr(tokenizer, f"{name}_id")
        if token_id is None or token_id >= rows:
            raise ModelError(f"model.tokenizer.{name}={getattr(tokenizer, name)}: not a token of {config.name}")
    owners = {
        "generation_config.json": model.generation_config,
        "config.json": model.config.get_text_config(),
        "the tokenizer": tokenizer,
    }
    ends, pads = (
        {
            owner: _ids_below(rows, getattr(of, key, None), f"model={config.name}: {key} of {owner}")
            for owner, of in owners.items()
        }
        for key in ("eos_token_id", "pad_token_id")
    )
    overridden = ends["the tokenizer"] if "eos_token" in (config.tokenizer or {}) else ()
    eos_ids = next(filter(None, (overridden, *ends.values())), ())
    pad_ids = () if config.pad_to_eos else next(filter(None, (pads.pop("the tokenizer"), *pads.values())), ())
    pad_id = (*pad_ids, *eos_ids, 0)[0]
    model.generation_config = type(model.generation_config)(pad_token_id=pad_id)
    return eos_ids, pad_id


def _ids_below(rows: int, ids: Any, key: str) -> tuple[int, ...]:
    """Ids as a tuple, without those that the model has no embedding for (a default made for other models)."""
    sequence = [] if ids is None else ids if isinstance(ids, list | tuple) else [ids]
    if not all(type(token_id) is int for token_id in sequence):
        raise ModelError(f"{key}={one_line(repr(ids), 60)}: allowed is a token id, a list of them, or null")
    return tuple(token_id for token_id in sequence if 0 <= token_id < rows)


def context_length(model_config: Any) -> int | None:
    """The most tokens (prompt and continuation) that a model takes; None where its config states no limit."""
    text_config = model_config.get_text_config()
    lengths = (getattr(text_config, key, None) for key in CONTEXT_KEYS)
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def check_logits(config: ModelConfig, model: Any, tokenizer: Any) -> tuple[str, ...]:
    """What is odd about the logits of a few tokens.

    Raises ModelError where they are NaN or infinite (damaged weights, or too narrow a dtype), or not one for each id
    that has an embedding.
    """
    try:
        told = list(tokenizer("1 + 1 = 2, 물은 H2O").input_ids)
    except Exception as error:  # one that comes with its model is any program
        why = one_line(f"{type(error).__name__}: {error}", 200)
        raise ModelError(f"model={config.name}: its tokenizer fails ({why})") from error
    ids = _ids_below(vocabulary(model), told, f"model={config.name}: the tokenizer's input_ids")[:8] or (0,)
    with worded(f"model={config.name}: the model cannot read a few tokens"), torch.inference_mode():
        logits = model(torch.tensor([ids], device=input_device(model))).logits
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"model={config.name}: logits are NaN or infinite in {dtype_name(model)}; the weights are damaged, or too "
            "large for this dtype (try model.dtype=float32)"
        )
    if logits.shape[-1] != vocabulary(model):
        raise ModelError(
            f"model={config.name}: {_name_of(model, model.get_output_embeddings(), 'the output head')} gives "
            f"{logits.shape[-1]} logits, {_name_of(model, model.get_input_embeddings(), 'the embeddings')} has "
            f"{vocabulary(model)} rows; allowed is a head as high as the embeddings"
        )
    low, high = float(logits.amin(-1).min()), float(logits.amax(-1).max())
    spread = float((logits.amax(-1) - logits.amin(-1)).max())
    if spread <= _UNIFORM * max(1.0, abs(low), abs(high)):
        return (
            f"model={config.name}: the logits are uniform, every token is as likely as every other: the output head "
            "says nothing, and texts are noise",
        )
    return ()


def _name_of(model: Any, module: Any, otherwise: str) -> str:
    """What the weight of a part of the model is called."""
    return next((f"{name}.weight" for name, each in model.named_modules() if each is module), otherwise)


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
