"""The run folder: what is written survives, what is damaged is said, what does not belong is refused."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.errors import StoreError
from decodebench.records import SCHEMA_VERSION, Generation, Timing
from decodebench.store.folder import RunStore, locked, read_manifest
from decodebench.store.tables import read_records, write_csv, write_json, write_records

TEXT = Generation(
    cell="c1",
    model="m",
    strategy="top_p",
    seed=0,
    prompt_id="ko",
    sample=0,
    prompt="오늘은",
    text=" 비가\n\u2028와서",
    token_ids=(5, 6, 1),
    token_logprobs=(-0.5, -1.25, -0.1),
    finish_reason="eos",
    delivered_tokens=3,
    computed_tokens=5,
    score=None,
)
TEXTS = [TEXT, replace(TEXT, sample=1, text="b"), replace(TEXT, prompt_id="en", score=-1.5, is_search=True)]
TIMING = Timing(
    cell="c1",
    model="m",
    strategy="top_p",
    prompt_id="ko",
    round=0,
    e2e_s=1.5,
    ttft_s=None,
    ttft_reason="because",
    new_tokens=4,
    peak_bytes=None,
    peak_reason="because",
)
IDENTITY = {"fingerprint": "aa", "dtype": "float32", "tokenizer": "tt"}
MANIFEST: dict[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "cells": [
        {"id": "c1", "model": "m", "prompts": "p", "seed": 0, "strategy": "top_p", "config": {}},
        {"id": "c2", "model": "m", "prompts": "p", "seed": 0, "strategy": "beam", "config": {}},
    ],
    "models": {"m": {"fingerprint": "aa", "dtype": "float32", "config": {"path": "here", "device": "cpu"}}},
    "prompts": {},
    "references": [],
    "unread": [],
    "failed": [],
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "results" / "x"


@pytest.fixture
def store(run_dir: Path) -> Iterator[RunStore]:
    """A store in which decoding has begun."""
    begun = RunStore(run_dir)
    begun.begin(MANIFEST)
    yield begun
    begun.close()


def test_opening_creates_nothing(run_dir: Path) -> None:
    RunStore(run_dir)
    assert not run_dir.parent.exists()


def test_what_was_appended_is_there_for_the_next_process_without_a_close(store: RunStore, run_dir: Path) -> None:
    store.append(TEXTS[:2])
    store.append(TEXTS[2:])
    again = RunStore(run_dir)
    assert list(again.generations.values()) == TEXTS
    assert again.generations[("c1", "ko", 1)] == TEXTS[1]
    assert again.manifest == MANIFEST


def test_finish_turns_the_journal_into_tables(store: RunStore, run_dir: Path) -> None:
    store.append(TEXTS)
    store.finish(reversed(TEXTS), [TIMING])
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "generations.parquet",
        "latency.parquet",
        "manifest.json",
    ]
    again = RunStore(run_dir)
    assert list(again.generations.values()) == TEXTS[::-1]
    assert again.timings == [TIMING]


def test_a_text_in_table_and_journal_is_one_text(store: RunStore, run_dir: Path) -> None:
    """As when a process dies between writing the table and dropping the journal."""
    store.append(TEXTS)
    write_records(run_dir / "generations.parquet", Generation, TEXTS)
    assert list(RunStore(run_dir).generations.values()) == TEXTS


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_half_written_last_line_is_dropped_and_can_be_written_again(store: RunStore, run_dir: Path, cut: int) -> None:
    store.append(TEXTS[:2])
    store.close()
    journal = run_dir / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + json.dumps(asdict(TEXTS[2]), ensure_ascii=False).encode()[:cut])
    again = RunStore(run_dir)
    assert list(again.generations.values()) == TEXTS[:2]
    assert journal.read_bytes() == whole
    again.begin(MANIFEST)
    again.append(TEXTS[2:])
    again.close()
    assert list(RunStore(run_dir).generations.values()) == TEXTS


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"cell": "c1"}', b"\xff"])
def test_a_damaged_line_in_the_middle_is_named(store: RunStore, run_dir: Path, line: bytes) -> None:
    store.append(TEXTS[:1])
    store.close()
    journal = run_dir / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + line + b"\n" + journal.read_bytes())
    with pytest.raises(StoreError, match=r"journal.jsonl: line 2 is damaged .*; delete the line to decode it again"):
        RunStore(run_dir)


def test_begin_again_writes_the_manifest_and_goes_on_with_the_journal(
    store: RunStore, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(TEXTS[:1])
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda *arguments: opened.append(arguments))
    store.begin(MANIFEST | {"status": "second model"})
    store.append(TEXTS[1:])
    assert not opened, "the journal is open already"
    assert read_manifest(run_dir)["status"] == "second model"
    assert list(RunStore(run_dir).generations.values()) == TEXTS


def test_cells_that_the_grid_does_not_have_are_refused(store: RunStore) -> None:
    store.refuse_foreign(["c1", "c2", "c3"])
    with pytest.raises(StoreError, match=r"name=x: .*\(beam; .*to start afresh choose another name=, or delete"):
        store.refuse_foreign(["c1"])


def test_a_failed_cell_may_go(store: RunStore) -> None:
    with pytest.raises(StoreError, match="beam"):
        store.refuse_foreign(["c1"])
    store.write_manifest(MANIFEST | {"failed": [{"cell": "c2", "error": "why"}]})
    store.refuse_foreign(["c1"])


def test_other_weights_are_refused(store: RunStore) -> None:
    store.refuse_other_model({"path": "here"}, IDENTITY)
    store.refuse_other_model({"path": "elsewhere"}, IDENTITY | {"fingerprint": "bb"})
    with pytest.raises(StoreError, match=r"other weights of model=m \(fingerprint aa -> bb\); to start afresh"):
        store.refuse_other_model({"path": "here"}, IDENTITY | {"fingerprint": "bb"})
    with pytest.raises(StoreError, match=r"other weights, dtype of model=m .*; dtype float32 -> bfloat16\)"):
        store.refuse_other_model({"path": "here"}, IDENTITY | {"fingerprint": "bb", "dtype": "bfloat16"})


def test_a_cell_whose_model_could_not_be_loaded_says_nothing_of_weights(store: RunStore) -> None:
    with pytest.raises(StoreError, match="other weights"):
        store.refuse_other_model({"path": "here"}, IDENTITY | {"fingerprint": "bb"})
    store.write_manifest(MANIFEST | {"models": {}})
    store.refuse_other_model({"path": "here"}, IDENTITY | {"fingerprint": "bb"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "schema_version=None"),
        ('{"schema_version": 99}', "schema_version=99; this decodebench reads 1"),
        ("{}", "schema_version=None"),
    ],
)
def test_a_manifest_that_cannot_be_used(run_dir: Path, content: str, message: str) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=message):
        RunStore(run_dir)


def test_places_that_are_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="is a file"):
        RunStore(tmp_path / "file")
    with pytest.raises(StoreError, match=r"has files but no manifest.json"):
        RunStore(tmp_path)
    with pytest.raises(StoreError, match="is no run folder"):
        read_manifest(tmp_path)
    with pytest.raises(StoreError, match="cannot be created"):
        RunStore(tmp_path / "file" / "x").begin(MANIFEST)


def test_a_table_that_is_none(store: RunStore, run_dir: Path) -> None:
    (run_dir / "generations.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"generations.parquet: cannot be read as Generation records"):
        RunStore(run_dir)


def full_disk(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_while_decoding_keeps_what_is_there(
    store: RunStore, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(TEXTS[:1])
    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(StoreError, match="the disk is full; finished texts are kept, and the same command with name=x"):
        store.append(TEXTS[1:])
    monkeypatch.undo()
    assert list(RunStore(run_dir).generations.values()) == TEXTS[:1]


def test_a_full_disk_at_the_start_leaves_no_folder(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(StoreError, match=r"manifest.json: cannot be written .*No space left"):
        RunStore(run_dir).begin(MANIFEST)
    assert not run_dir.exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"한글": 1})
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        write_json(path, {})
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert json.loads(path.read_text(encoding="utf-8")) == {"한글": 1}


def test_only_one_process_writes_a_run(run_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    with locked(run_dir):
        with pytest.raises(StoreError, match="name=x: another process is writing"), locked(run_dir):
            pytest.fail("locked twice")
        with locked(run_dir.with_name("y")):
            pass
    with locked(run_dir):
        pass
    assert not run_dir.exists()


def test_a_lock_that_cannot_be_made_is_said(run_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"cannot be written .*DECODEBENCH_CACHE"), locked(run_dir):
        pytest.fail("locked without a lock")


characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
log_probs = st.floats(max_value=0, allow_nan=False, allow_infinity=False)
tokens = st.lists(st.tuples(st.integers(0, 2**40), log_probs), max_size=3)
records = st.builds(
    lambda tokens, **told: Generation(
        token_ids=tuple(id_ for id_, _ in tokens), token_logprobs=tuple(logprob for _, logprob in tokens), **told
    ),
    tokens,
    **dict.fromkeys(("cell", "model", "strategy", "prompt_id", "prompt", "text"), characters),
    seed=st.integers(0, 9),
    sample=st.integers(0, 9),
    finish_reason=st.sampled_from(["eos", "length"]),
    delivered_tokens=st.integers(0, 9),
    computed_tokens=st.integers(0, 9),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    is_search=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(records, max_size=4))
def test_every_record_comes_back_from_journal_and_table(texts: list[Generation], tmp_path_factory: Any) -> None:
    run_dir = tmp_path_factory.mktemp("any") / "x"
    store = RunStore(run_dir)
    store.begin(MANIFEST)
    store.append(texts)
    by_key = {(text.cell, text.prompt_id, text.sample): text for text in texts}
    assert RunStore(run_dir).generations == by_key
    store.finish(by_key.values(), [])
    assert RunStore(run_dir).generations == by_key
    assert read_records(run_dir / "generations.parquet", Generation) == list(by_key.values())


def test_missing_values_are_empty_in_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", Timing, [TIMING])
    header, row = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True)) == {
        **{name: str(value) for name, value in asdict(TIMING).items()},
        "ttft_s": "",
        "peak_bytes": "",
    }
