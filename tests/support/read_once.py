"""Hydra's yaml files, read once in a process: it reads and parses some twenty of them for every job it composes."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType


def read_once() -> Iterator[None]:
    """Within it a file that is as it was is not read again; nearly half of the time of composing goes by that.

    What Hydra makes of a file it changes afterwards, so each reading is a copy (by pickle, faster than deepcopy). A
    file is known by its place, the time of its change, its size and its inode; an error is never kept.
    """
    read = ConfigRepository.load_config
    known: dict[Any, bytes] = {}

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or (source.scheme() != "file" and source.provider != "hydra"):
            return read(self, config_path)
        key: tuple[object, ...] = (source.provider, source.path, config_path)
        if source.scheme() == "file":  # else it lies in Hydra's own package
            stat = Path(source.path, source._normalize_file_name(config_path)).stat()
            key += (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if key not in known:
            known[key] = pickle.dumps(read(self, config_path))
        return pickle.loads(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", load_config)
        yield
