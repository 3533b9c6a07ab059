"""Which models, and how to read them: conf/model and conf/scorer, checked as far as that goes without reading one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from decodebench.errors import ConfigError, DecodebenchError, ModelError, allowed_names
from decodebench.models import adapters, packaged

SOURCES = ("packaged", "hub", "local")
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "sep_token", "cls_token")

SELF = "self"
"""The scorer that is the generating model."""
SCORERS = "allowed is null, self (the model that generated the texts), a folder of save_pretrained, a .gguf or a hub id"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(?<!\.gguf)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model, and how to read it: the keys of conf/model/*.yaml.

    `id` and `revision` belong to source hub, `path` to source local. `tokenizer` replaces special tokens by name.
    `pad_to_eos` pads with the EOS id, for models trained so. `mask_unused` keeps ids that the tokenizer has no text for
    from being chosen. `device_map` spreads the layers through accelerate.
    """

    name: str
    source: Literal["packaged", "hub", "local"]
    id: str | None = None
    revision: str | None = None
    path: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    device_map: str | None = None
    tokenizer: Mapping[str, str] | None = None
    pad_to_eos: bool = False
    mask_unused: bool = False
    trust_remote_code: bool = False
    licence: str | None = None


def check_config(config: ModelConfig) -> None:
    """Raise ConfigError or ModelError for what can be seen to be wrong without reading the model."""
    _check_name("model.source", config.source, SOURCES)
    _check_name("model.dtype", config.dtype, DTYPES)
    for token in config.tokenizer or {}:
        _check_name("model.tokenizer", token, SPECIAL_TOKENS)
    _check_source(config)
    _check_device(config)


def _check_name(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key}={value}: unknown; {allowed_names(str(value), allowed)}")


def _check_source(config: ModelConfig) -> None:
    if config.id is not None and config.source != "hub":
        raise ConfigError(f"model.id={config.id}: only for models from the hub; use model=hub model.id=...")
    if config.revision is not None and config.source != "hub":
        raise ConfigError(f"model.revision={config.revision}: only for models from the hub; use model=hub model.id=...")
    if config.path is not None and config.source != "local":
        raise ConfigError(f"model.path={config.path}: only for local models; use model=local model.path=...")
    if config.source == "hub" and not config.id:
        raise ConfigError(f"model.id={config.id}: must be given, as owner/name on the hub, for model={config.name}")
    if config.source == "local":
        local_files(config.path)
    if config.source == "packaged":
        packaged.check_available()


def local_files(path: str | None) -> tuple[Path, str | None]:
    """The folder of a local model, and the name of its .gguf file where that is what holds the weights."""
    if not path:
        raise ConfigError(f"model.path={path}: must be given: a folder with config.json and weights, or a .gguf file")
    place = Path(path).expanduser()
    if not place.exists():
        raise ModelError(
            f"model.path={path}: does not exist; allowed: a folder with config.json and weights, or a .gguf"
        )
    if place.is_file():
        return _gguf_file(place, path)
    has_weights = any(next(place.glob(pattern), None) for pattern in ("*.safetensors", "*.bin"))
    if has_weights and any((place / name).is_file() for name in ("config.json", adapters.CONFIG)):
        return place, None
    ggufs = sorted(place.glob("*.gguf"))
    if len(ggufs) > 1:
        names = ", ".join(file.name for file in ggufs)
        raise ConfigError(f"model.path={path}: several .gguf files; name one of them: {names}")
    if ggufs:
        return _gguf_file(ggufs[0], path)
    missing = "config.json" if has_weights else "weights (*.safetensors, *.bin or *.gguf)"
    raise ModelError(f"model.path={path}: the folder has no {missing}; give one written by save_pretrained, or a .gguf")


def _gguf_file(file: Path, path: str) -> tuple[Path, str]:
    with file.open("rb") as stream:
        if file.suffix != ".gguf" or stream.read(4) != b"GGUF":
            raise ModelError(
                f"model.path={path}: not a GGUF file; allowed: a folder of save_pretrained, or a .gguf file"
            )
    return file.parent, file.name


def _check_device(config: ModelConfig) -> None:
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", config.device)
    if match is None:
        raise ConfigError(f"model.device={config.device}: unknown; allowed: auto, cpu, cuda, cuda:N (N a GPU's number)")
    if config.device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match[1] or 0) >= count:
            raise ModelError(f"model.device={config.device}: this machine has {count} usable GPUs; use auto or cpu")
    if config.device_map is not None:
        _check_name("model.device_map", config.device_map, DEVICE_MAPS)
        if config.device != "auto":
            raise ConfigError(f"model.device={config.device}: has no effect beside model.device_map; leave it at auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerConfig:
    """The keys of conf/scorer: the model that reads the texts again; None: none does, SELF: the one that wrote them."""

    id: str | None = None
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.id in (None, SELF) and self.dtype != "auto":
            which = f"scorer.id={self.id or 'null'}"
            raise ConfigError(f"scorer.dtype={self.dtype}: has no effect with {which}; allowed is auto")
        if self.id not in (None, SELF):
            self.model("auto")

    def model(self, device: str) -> ModelConfig:
        """How a scorer of its own is loaded. Raises ConfigError for what can be seen to be wrong without reading it."""
        place = str(self.id)
        here = Path(place).expanduser().exists()
        if not here and not _HUB_ID.fullmatch(place):
            raise ConfigError(f"scorer.id={place}: there is no such file or folder; {SCORERS}")
        if here:
            config = ModelConfig(name=place, source="local", path=place, device=device, dtype=self.dtype)
        else:
            config = ModelConfig(name=place, source="hub", id=place, device=device, dtype=self.dtype)
        try:
            check_config(config)
        except DecodebenchError as error:
            wrong = str(error).replace("model.path=", "scorer.id=").replace("model.dtype=", "scorer.dtype=")
            raise ConfigError(wrong) from error
        return config
