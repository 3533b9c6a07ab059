"""Weights and tokenizer through transformers' auto classes, and what is said where that fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from decodebench.errors import DecodebenchError, ModelError
from decodebench.models import adapters, packaged
from decodebench.models.config import ModelConfig, local_files
from decodebench.models.doubts import tokenizer_doubts
from decodebench.models.gguf import complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A model in eval mode on its device, its tokenizer, a text that says where they came from, and what is odd."""

    model: Any
    tokenizer: Any
    source: str
    warnings: tuple[str, ...]


def read_pretrained(config: ModelConfig, announce: Callable[[str], None]) -> Pretrained:
    """What a configured model is in memory.

    `announce` gets the lines meant for the user. Raises ModelError for what cannot be fetched or read.
    """
    with _reading(config):
        return _from_pretrained(config, announce)


def _from_pretrained(config: ModelConfig, announce: Callable[[str], None]) -> Pretrained:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, gguf, source = _locate(config, announce)
    hub = config.source == "hub"
    where: dict[str, Any] = {"revision": config.revision or "main"} if hub else {"local_files_only": True}
    adapter = adapters.described(config.name, place, **where)
    common = where | {"trust_remote_code": config.trust_remote_code}
    named = {"gguf_file": gguf} if gguf else {}
    tokenizer: Any = AutoTokenizer.from_pretrained(place, **common, **named, **(config.tokenizer or {}))
    # A tensor of another shape is our error below: it names the tensor.
    options = common | {"dtype": _dtype(config), "output_loading_info": True, "ignore_mismatched_sizes": True}
    options |= packaged.gguf_options(gguf) if gguf else {}
    options |= {"device_map": config.device_map} if config.device_map else {}
    weights: Any = AutoModelForCausalLM.from_pretrained(place, **options)
    model, info = weights
    if info["mismatched_keys"]:
        name, there, wanted = min(info["mismatched_keys"])
        raise ModelError(
            f"model={config.name}: {name} has the shape {list(there)} in {source}, and {list(wanted)} by its "
            "config.json (vocab_size and sizes of layers)"
        )
    if info["missing_keys"]:  # transformers would go on with random values
        names = sorted(info["missing_keys"])
        raise ModelError(f"model={config.name}: {source} lacks {len(names)} of its weights, first {names[0]}")
    if gguf:  # read once: a vocabulary of 262,144 tokens takes its time
        doubts = complete(model, tokenizer, Path(place) / gguf, f"model.path={config.path}")
    else:
        doubts = tokenizer_doubts(tokenizer, _tokenizer_json(config, place))
    if adapter is not None:
        source = f"{source} with {adapter}"
        adapters.refuse_inactive(config.name, model)
    if not config.device_map:
        model.to(_device(config))
    commit = getattr(model.config, "_commit_hash", None)
    # The weights keep `requires_grad`, as a user's do. Nothing here computes gradients, but torch turns a strided batch
    # into one product only for a weight that has it: without, `generate` copies the head for every row (docs/LOG.md).
    return Pretrained(
        model=model.eval(),
        tokenizer=tokenizer,
        source=f"{source}@{commit}" if commit else source,
        warnings=doubts,
    )


def _tokenizer_json(config: ModelConfig, place: str) -> Path | None:
    """The tokenizer.json that was read with the model; None where it has none."""
    if config.source != "hub":
        file = Path(place) / "tokenizer.json"
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place, "tokenizer.json", revision=config.revision or "main")
    return Path(found) if isinstance(found, str) else None


def _locate(config: ModelConfig, announce: Callable[[str], None]) -> tuple[str, str | None, str]:
    """Folder or hub id, name of the .gguf file if any, and the source in words."""
    if config.source == "packaged":
        folder = packaged.prepare(licence=config.licence, announce=announce)
        return str(folder), None, f"packaged:{packaged.PACKAGE}"
    if config.source == "hub":
        return str(config.id), None, f"hub:{config.id}"
    place, gguf = local_files(config.path)
    return str(place), gguf, f"local:{config.path}"


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
