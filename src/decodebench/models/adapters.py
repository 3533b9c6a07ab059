"""An adapter beside its base (adapter_config.json, of peft): transformers adds it where peft is installed, and decodes
the bare base where it is not, without a word."""

import json
from pathlib import Path
from typing import Any

from decodebench.errors import ModelError, one_line

CONFIG = "adapter_config.json"
INSTALL = "pip install 'decodebench[peft]'"


def described(name: str, place: str, **where: Any) -> str | None:
    """The adapter of a folder or hub id in words, as in `adapter LORA of google/gemma-3-270m`; None: it has none.

    `where` is what transformers is told of the place (revision, local_files_only). Raises ModelError where it cannot be
    read, or peft is not installed.
    """
    from transformers.utils import import_utils
    from transformers.utils.peft_utils import find_adapter_config_file

    found = find_adapter_config_file(place, **where)
    if found is None:
        return None
    try:
        told = json.loads(Path(found).read_text(encoding="utf-8"))
        kind, base = told["peft_type"], told.get("base_model_name_or_path")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"model={name}: {CONFIG} of {place} is not that of an adapter ({one_line(error)})") from error
    if not import_utils.is_peft_available():
        raise ModelError(
            f"model={name}: {place} has an adapter ({CONFIG}, {kind}), which needs peft; run {INSTALL}, or take that "
            "file away to decode the bare base"
        )
    return one_line(f"adapter {kind} of {base}" if base else f"adapter {kind}")


def refuse_inactive(name: str, model: Any) -> None:
    """Raise ModelError where the adapter was read and is not in use: the bare base would be decoded."""
    if not (getattr(model, "_hf_peft_config_loaded", False) and model.active_adapters()):
        raise ModelError(f"model={name}: its adapter ({CONFIG}) was not added to the base; is its peft_type supported?")
