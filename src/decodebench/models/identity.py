"""What a text was made with, as far as the model goes: models of one name are the same only where all of it is."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from decodebench.models.properties import dtype_name, fingerprint

_ELSEWHERE = ("dtype", "torch_dtype", "transformers_version")
"""Keys of a config that say nothing of the model: the dtype is a part of its own, the version is the writer's."""
_PLACES = ("name_or_path", "is_local", "local_files_only", "tokenizer_file", "vocab_file", "merges_file")
"""Arguments of a tokenizer that say where it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """`fingerprint` is that of the weights (`properties.fingerprint`), `resolved_config` the config as transformers
    completed it, `tokenizer` and `chat_template` are hashes (None: there is no template), `eos_ids` end a text.
    """

    fingerprint: str
    dtype: str
    resolved_config: Mapping[str, Any]
    tokenizer: str
    chat_template: str | None
    eos_ids: tuple[int, ...]


def identity(model: Any, tokenizer: Any, eos_ids: tuple[int, ...]) -> Identity:
    """The identity of a transformers model that is used with this tokenizer and these end tokens."""
    template = getattr(tokenizer, "chat_template", None)  # mistral-common has no templates
    return Identity(
        fingerprint=fingerprint(model),
        dtype=dtype_name(model),
        resolved_config=_plain(model.config.to_dict()),
        tokenizer=_hash(*_tokenizer(tokenizer)),
        chat_template=None if not template else _hash(_canonical(template)),
        eos_ids=eos_ids,
    )


def _plain(node: Any) -> Any:
    """A config as JSON has it, without what says nothing of the model; configs may hold configs."""
    if not isinstance(node, Mapping):
        return json.loads(_canonical(node))
    kept = {str(key): value for key, value in node.items() if key not in _ELSEWHERE}
    return {key: _plain(value) for key, value in kept.items() if not key.startswith("_")}


def _tokenizer(tokenizer: Any) -> Iterator[str]:
    """All that decides how a tokenizer cuts a text and writes one."""
    yield type(tokenizer).__name__
    yield _canonical([tokenizer.special_tokens_map, sorted(tokenizer.all_special_ids)])
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()  # as every call without these arguments leaves it
        backend.no_padding()
        yield backend.to_str()
        return
    yield _canonical(tokenizer.get_vocab())
    yield _canonical({key: value for key, value in tokenizer.init_kwargs.items() if key not in _PLACES})
    with TemporaryDirectory() as folder, suppress(NotImplementedError):
        for path in sorted(map(Path, tokenizer.save_vocabulary(folder))):
            yield f"{path.name} {path.read_bytes().hex()}"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _hash(*texts: str) -> str:
    """blake2b, 128 bits, hex, as that of the weights."""
    digest = blake2b(digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
