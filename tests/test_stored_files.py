"""Files of a run that anything may have written: whatever is wrong with one, every command says it on one line."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from changes import changed_bytes, changed_json, changed_table
from decodebench.deploy import export_cell
from decodebench.errors import DecodebenchError
from decodebench.records import CurvePoint, Difference, Generation, Measurement, Rank, Reading, StoredPrompt, Timing
from decodebench.regression import check, check_text, make_baseline, read_baseline, write_baseline
from decodebench.report import render
from decodebench.scoring import score_run
from decodebench.store import read_manifest, read_records, write_records
from launches import node_of, without_plots
from sample_run import unscored

TABLES = {
    "prompts": StoredPrompt,
    "generations": Generation,
    "references": Generation,
    "readings": Reading,
    "latency": Timing,
    "measurements": Measurement,
    "curves": CurvePoint,
    "differences": Difference,
    "ranking": Rank,
}
CHANGES = 300
"""Of each file, to what reads it."""
CALLED = 4
"""Of these, to every command."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run with every file that a run may have, and its baseline beside it."""
    folder = unscored(tmp_path_factory.mktemp("stored") / "run", prompts=4)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for cell in manifest["cells"]:
        cell["config"] = {**cell["config"], "prompts": {"template": None}, "strategy": node_of(cell["strategy"])}
        cell["generation_config"] = {
            "do_sample": cell["strategy"] != "greedy",
            "eos_token_id": [1],
            "max_new_tokens": 8,
        }
    path.write_text(json.dumps(manifest))
    timing = Timing(
        cell="g0", model="gemma", strategy="greedy", prompt_id="p00", round=0, e2e_s=1.5, ttft_s=0.1, ttft_reason=None,
        new_tokens=8, peak_bytes=None, peak_reason="not measured on a CPU",
    )  # fmt: skip
    write_records(folder / "latency.parquet", Timing, [replace(timing, round=number) for number in range(3)])
    rows = [
        StoredPrompt(
            prompts="seed_ko", prompt_id=f"p{at:02}", text="a", references=("b", "c"), cluster="d", language="ko"
        )
        for at in range(4)
    ]
    write_records(folder / "prompts.parquet", StoredPrompt, rows)
    score_run(folder)
    write_baseline(folder.with_name("baseline"), make_baseline(folder))
    return folder


def said(call: Callable[[], object]) -> str | None:
    """What a call refuses to do in one line, None where it does it; anything else that it raises is a failure."""
    line = None
    try:
        call()
    except DecodebenchError as error:
        line = str(error)
    assert line is None or len(line.splitlines()) == 1
    return line


def commands(run: Path) -> Iterator[Callable[[], object]]:
    """What the commands over a stored run do, each without its command line."""
    baseline = run.with_name("baseline")
    yield lambda: render(run)
    yield lambda: check_text(check(run, read_baseline(baseline)))
    yield lambda: write_baseline(run / "baseline", make_baseline(run))
    yield lambda: export_cell(run, "g0", run / "greedy")
    yield lambda: export_cell(run, "t0", run / "top_p")
    yield lambda: score_run(run)
    yield lambda: render(run)


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and no plots, which take most of the time."""
    without_plots(monkeypatch)
    shutil.copy(whole.with_name("baseline"), tmp_path / "baseline")
    return shutil.copytree(whole, tmp_path / "run")


def test_nothing_is_wrong_with_a_whole_run(run: Path) -> None:
    assert [said(call) for call in commands(run)] == [None] * 7


def test_a_manifest_that_was_changed(run: Path) -> None:
    path = run / "manifest.json"
    whole = json.loads(path.read_text())
    refused = 0
    for seed in range(CHANGES):
        path.write_text(json.dumps(changed_json(whole, seed)))
        refused += said(lambda: read_manifest(run)) is not None
        said(lambda: export_cell(run, "g0", run / "greedy"))
    assert 50 < refused < CHANGES
    for seed in range(CALLED):
        path.write_text(json.dumps(changed_json(whole, CHANGES + seed)))
        for call in commands(run):
            said(call)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_was_changed(run: Path, name: str) -> None:
    path, kind = run / f"{name}.parquet", TABLES[name]
    whole, data = pq.read_table(path), path.read_bytes()
    refused = 0
    for seed in range(CHANGES):
        if seed % 10:
            pq.write_table(changed_table(whole, seed), path)
        else:
            path.write_bytes(changed_bytes(data, seed))
        refused += said(lambda: read_records(path, kind)) is not None
    assert 50 < refused < CHANGES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, where a number overflows
        for seed in range(CALLED):
            pq.write_table(changed_table(whole, CHANGES + seed), path)
            for call in commands(run):
                said(call)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"cells": "x"}, 'cells is "x"; allowed is a list'),
        ({"cells": [1]}, "cells[0] is 1; allowed is an object"),
        ({"cells": [{"id": "a"}]}, "cells[0] has no model, prompts, seed, strategy"),
        ({"failed": [{"cell": "a", "error": None}]}, "failed[0].error is null; allowed is a text"),
        ({"models": {"m": {"parameters": 10**30}}}, f"models.m.parameters is {10**30}; allowed is a whole number"),
        ({"models": {"m": {"vocabulary": True}}}, "models.m.vocabulary is true; allowed is a whole number"),
        ({"prompts": {"p": {}}}, "prompts.p has no sha256"),
        ({"seconds": {"load": float("nan")}}, "seconds.load is NaN; allowed is a number"),
        ({"scorer": {"id": "self"}}, "scorer has no dtype, fingerprint"),
        ({"schema_version": True}, "schema_version=True; this decodebench reads 1"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_named_with_its_place(run: Path, change: dict[str, Any], line: str) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = said(lambda: read_manifest(run))
    assert found is not None
    assert found.removeprefix(f"{path}: ").removesuffix("; see docs/run_folder.md") == line


def test_a_cell_that_is_there_twice(run: Path) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"cells": manifest["cells"] + manifest["cells"][:1]}))
    assert said(lambda: read_manifest(run)) == f"{path}: the cell g0 is there twice"


def test_json_that_is_too_deep(run: Path) -> None:
    (run / "manifest.json").write_text("[" * 100_000)
    assert "cannot be read as JSON" in (said(lambda: read_manifest(run)) or "")
