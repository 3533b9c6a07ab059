"""What a model's generation_config.json says of decoding, before the model is loaded. Runs read it for the engines that
apply it by themselves alone; everything else is decoded without it (docs/decisions/0005)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decodebench.errors import ConfigError, worded
from decodebench.models.config import ModelConfig, local_files

_FILE = "generation_config.json"


def said_by_model(config: ModelConfig) -> Mapping[str, Any]:
    """The fields of the model's generation_config.json; none where it has no such file (a GGUF, the packaged model).

    Raises ConfigError for a file that cannot be read, or fetched from the hub.
    """
    if config.source == "local":
        folder, gguf = local_files(config.path)
        return {} if gguf else _fields(folder / _FILE)
    if config.source != "hub":
        return {}
    from transformers.utils.hub import cached_file

    with worded(f"model.id={config.id}: its {_FILE} cannot be fetched"):
        found = cached_file(
            str(config.id), _FILE, revision=config.revision, _raise_exceptions_for_missing_entries=False
        )
    return {} if found is None else _fields(Path(found))


def _fields(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    with worded(f"{file}: cannot be read"):
        found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: is no JSON object; allowed are the fields of a generation config")
    return found
