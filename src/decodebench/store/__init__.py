"""The run folder on disk. In: records and a manifest. Out: the same, whole or not at all; other stages see only this.

`folder` is a run that is being written, and its journal; `tables` parquet and csv, `checking` what they must be when
they are read; `manifest` manifest.json as it is read; `naming` what cells are called; `provenance` the command, commit,
versions and machine of a manifest; `changes` what differs between two such records; `cache` where converted models and
locks lie; `choice` choice.json as it is read.
"""

from decodebench.store.cache import cache_root
from decodebench.store.changes import both_known, differences, flat, other_model
from decodebench.store.choice import StoredChoice, StoredContender, StoredRace, read_choice
from decodebench.store.folder import Key, RunStore, locked
from decodebench.store.manifest import read_manifest
from decodebench.store.naming import labels
from decodebench.store.provenance import command_line, git_commit, machine, versions
from decodebench.store.tables import (
    cells_of,
    opened,
    read_cell,
    read_records,
    rows_of_cell,
    schema,
    write_csv,
    write_json,
    write_records,
    write_whole,
)

__all__ = [
    "Key",
    "RunStore",
    "StoredChoice",
    "StoredContender",
    "StoredRace",
    "both_known",
    "cache_root",
    "cells_of",
    "command_line",
    "differences",
    "flat",
    "git_commit",
    "labels",
    "locked",
    "machine",
    "opened",
    "other_model",
    "read_cell",
    "read_choice",
    "read_manifest",
    "read_records",
    "rows_of_cell",
    "schema",
    "versions",
    "write_csv",
    "write_json",
    "write_records",
    "write_whole",
]
