"""The run folder: what is there already, what is added while decoding, and what a finished run leaves.

While a run decodes, each finished text is a line of journal.jsonl, forced to disk; a killed run loses only what was not
finished. When the run is over the lines become generations.parquet and the journal goes.
"""

import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock

from decodebench.errors import DiskError, StoreError, one_line
from decodebench.records import Generation, StoredPrompt, Timing
from decodebench.store.cache import cache_root
from decodebench.store.changes import other_model
from decodebench.store.checking import checked
from decodebench.store.manifest import read_manifest
from decodebench.store.tables import as_table, read_records, records_of, schema, write_json, write_records

log = logging.getLogger(__name__)

Key = tuple[str, str, int]
"""(cell, prompt id, sample): what names a text in a run."""


class RunStore:
    """One run folder. Opening reads what is there; nothing is created before `begin`."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.prompts: list[StoredPrompt] = []
        self.generations: dict[Key, Generation] = {}
        self.references: list[Generation] = []
        self.timings: list[Timing] = []
        self.manifest: Mapping[str, Any] = {}
        self._journal: int | None = None
        if run_dir.exists() and not run_dir.is_dir():
            raise StoreError(f"{run_dir}: is a file; choose another name=")
        if self._manifest_path.exists():
            self.manifest = read_manifest(run_dir)
            self._read()
        elif run_dir.is_dir() and any(run_dir.iterdir()):
            raise StoreError(f"{run_dir}: has files but no manifest.json; choose another name=, or empty the folder")

    @property
    def _manifest_path(self) -> Path:
        return self.run_dir / "manifest.json"

    @property
    def _journal_path(self) -> Path:
        return self.run_dir / "journal.jsonl"

    def _read(self) -> None:
        stored = read_records(self.run_dir / "generations.parquet", Generation, optional=True)
        if self._journal_path.exists():
            stored += _journal_lines(self._journal_path)
        self.generations = {(g.cell, g.prompt_id, g.sample): g for g in stored}
        self.prompts = read_records(self.run_dir / "prompts.parquet", StoredPrompt, optional=True)
        self.references = read_records(self.run_dir / "references.parquet", Generation, optional=True)
        self.timings = read_records(self.run_dir / "latency.parquet", Timing, optional=True)

    def refuse_foreign(self, cells: Iterable[str]) -> None:
        """Raise StoreError where the folder holds cells that the grid does not have; those that failed may go."""
        known = {*cells, *(entry["cell"] for entry in self.manifest.get("failed", ()))}
        foreign = [c["strategy"] for c in self.manifest.get("cells", ()) if c["id"] not in known]
        if foreign:
            raise StoreError(
                f"name={self.run_dir.name}: {self.run_dir} holds cells that this grid does not have "
                f"({', '.join(foreign[:5])}; prompts, model or seed may differ); to start afresh choose another name=, "
                f"or delete {self.run_dir}"
            )

    def refuse_other_model(self, model: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Raise StoreError where a cell was stored with this model (its configuration) as it was, and it is `now` (its
        identity) another one."""
        for label, entry in self.manifest.get("models", {}).items():
            if _asks_alike(entry.get("config") or {}, model):
                self._refuse(f"model={label}", entry, now)

    def refuse_other_second_model(self, place: str, now: Mapping[str, Any]) -> None:
        """Raise StoreError where cells were stored with another second model from there."""
        prints = self.manifest.get("second_models", {})
        older = {"fingerprint": prints[place]} if place in prints else {}
        self._refuse(f"the second model {place}", self.manifest.get("second_identities", {}).get(place, older), now)

    def _refuse(self, what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        if other := other_model(then, now):
            raise StoreError(
                f"name={self.run_dir.name}: {self.run_dir} was made with other {other.parts} of {what} "
                f"({other.changes}); to start afresh choose another name=, or delete {self.run_dir}"
            )

    def refuse_fewer_texts(self, texts: Mapping[str, int]) -> None:
        """Raise StoreError where a cell has texts beyond the number that each prompt is to have now."""
        for cell, prompt_id, sample in self.generations:
            if sample >= texts.get(cell, sample + 1):
                known = next((c["strategy"] for c in self.manifest.get("cells", ()) if c["id"] == cell), cell)
                raise StoreError(
                    f"name={self.run_dir.name}: {self.run_dir} has {sample + 1} texts or more of {known} for the "
                    f"prompt {prompt_id!r}, and this grid asks for {texts[cell]}; allowed are as many or more, or "
                    "another name="
                )

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Create the folder, write the manifest, open the journal; called again, write the manifest."""
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"{self.run_dir}: cannot be created ({error.strerror})") from error
        try:
            self.write_manifest(manifest)
        except StoreError:
            with suppress(OSError):  # there may be something in it
                self.run_dir.rmdir()
            raise
        if self._journal is None:
            log.info("run folder: %s", self.run_dir)
            with _disk_errors(self.run_dir):
                self._journal = os.open(self._journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        self.manifest = manifest
        write_json(self._manifest_path, manifest)

    def append(self, generations: Iterable[Generation]) -> None:
        """Add finished texts, on disk when this returns.

        Raises DiskError where the disk refuses. Where a text has a value that the tables cannot hold, or that nobody
        could read back, what pyarrow, json or `checked` raises; then none of them is added.
        """
        if self._journal is None:
            raise StoreError(f"{self.run_dir}: not begun")
        new = list(generations)
        checked(as_table(Generation, new), Generation, schema(Generation))  # at the end of the run it would be too late
        lines = "".join(json.dumps(asdict(g), ensure_ascii=False) + "\n" for g in new).encode()
        with _disk_errors(self.run_dir):
            while lines:
                lines = lines[os.write(self._journal, lines) :]
            os.fsync(self._journal)
        self.generations.update({(g.cell, g.prompt_id, g.sample): g for g in new})

    def write_prompts(self, prompts: Iterable[StoredPrompt]) -> None:
        """Replace prompts.parquet."""
        self.prompts = list(prompts)
        write_records(self.run_dir / "prompts.parquet", StoredPrompt, self.prompts)

    def write_references(self, references: Iterable[Generation]) -> None:
        """Replace references.parquet; without references there is no such file."""
        self.references = list(references)
        self._replace("references.parquet", Generation, self.references)

    def write_timings(self, timings: Iterable[Timing]) -> None:
        """Replace latency.parquet; without timings there is no such file."""
        self.timings = list(timings)
        self._replace("latency.parquet", Timing, self.timings)

    def finish(self, generations: Iterable[Generation], timings: Iterable[Timing]) -> None:
        """Write generations.parquet and latency.parquet (in the given order), then drop the journal."""
        write_records(self.run_dir / "generations.parquet", Generation, generations)
        self.write_timings(timings)
        self.close()
        self._journal_path.unlink(missing_ok=True)

    def _replace(self, name: str, kind: type, records: Sequence[Any]) -> None:
        path = self.run_dir / name
        if records:
            write_records(path, kind, records)
        else:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the journal; what is in it stays."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None


def _asks_alike(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two configurations name one model, wherever it runs."""
    return bool(then) and all(then.get(key) == now.get(key) for key in now)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run folder against a second process on this machine; a killed process frees it."""
    name = hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]
    folder = cache_root() / "locks"
    lock = filelock.FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise StoreError(f"name={run_dir.name}: another process is writing {run_dir}") from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror}); DECODEBENCH_CACHE names another") from error
    try:
        yield
    finally:
        lock.release()


def _journal_lines(path: Path) -> list[Generation]:
    """The texts of a journal. A last line without its end was being written when the run was killed: it is cut off."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        log.info("%s: one half-written line dropped", path)
        with path.open("rb+") as stream:
            stream.truncate(whole)
    generations: list[Generation] = []
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
        try:
            generations += records_of([json.loads(line)], Generation)
        except (ValueError, RecursionError) as error:
            raise StoreError(
                f"{path}: line {number} is damaged ({one_line(error, 200)}); delete the line to decode it again"
            ) from error
    return generations


@contextmanager
def _disk_errors(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else f"cannot be written ({error.strerror})"
        raise DiskError(
            f"{run_dir}: {what}; finished texts are kept, and the same command with name={run_dir.name} goes on"
        ) from error
