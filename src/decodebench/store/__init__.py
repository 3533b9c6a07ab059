"""store."""

from decodebench.store.cache import cache_root
from decodebench.store.folder import Key, RunStore, locked, read_manifest
from decodebench.store.naming import labels
from decodebench.store.provenance import command_line, git_commit, machine, versions
from decodebench.store.tables import (
    cells_of,
    read_cell,
    read_records,
    schema,
    write_csv,
    write_json,
    write_records,
    write_whole,
)

__all__ = [
    "Key",
    "RunStore",
    "cache_root",
    "cells_of",
    "command_line",
    "git_commit",
    "labels",
    "locked",
    "machine",
    "read_cell",
    "read_manifest",
    "read_records",
    "schema",
    "versions",
    "write_csv",
    "write_json",
    "write_records",
    "write_whole",
]
