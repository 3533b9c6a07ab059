"""The report of a run folder as a whole: the files that it writes, and that it never half-writes."""

import csv
import json
import re
import shutil
import warnings
from dataclasses import fields
from pathlib import Path

import pytest

from decodebench.errors import StoreError
from decodebench.records import (
    SCHEMA_VERSION,
    CurvePoint,
    Difference,
    Generation,
    Measurement,
    Rank,
    Reading,
    Timing,
)
from decodebench.report import render
from decodebench.report.folder import load
from sample_run import cell, generation, golden, manifest, measurement, save

PLOTS = {f"{name}.{kind}" for name in ("metrics", "repetition_diversity", "quality_latency") for kind in ("png", "svg")}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = golden(tmp_path_factory.mktemp("report") / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(run)
    return run


def test_render_writes_every_file_and_nothing_else(rendered: Path) -> None:
    made = {"comparison.csv", "report.md", "report.html", "plots"}
    stored = {"manifest.json", "generations.parquet", "measurements.parquet", "latency.parquet"}
    assert {path.name for path in rendered.iterdir()} == made | stored
    assert {path.name for path in (rendered / "plots").iterdir()} == PLOTS


def test_rendering_again_gives_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    run = shutil.copytree(rendered, tmp_path / "run")
    render(run)
    for name in ("report.html", "report.md", "comparison.csv", *(f"plots/{name}" for name in PLOTS)):
        assert (run / name).read_bytes() == (rendered / name).read_bytes(), name


def test_a_folder_named_like_a_partition_changes_no_column(tmp_path: Path) -> None:
    run = load(golden(tmp_path / "strategy=beam"))
    assert [each.strategy for each in run.measurements[:2]] == ["greedy", "beam"]


def test_comparison_csv_has_one_row_per_cell_and_three_columns_per_metric(rendered: Path) -> None:
    rows = list(csv.DictReader((rendered / "comparison.csv").open(encoding="utf-8", newline="")))
    metrics = ["diversity", "rep_4", "distinct_2_characters", "ttft_s", "e2e_s"]  # in the order of GROUPS
    wanted = ["cell", "label", "model", "prompts", "strategy", "seed", "status", "error"]
    assert list(rows[0]) == wanted + [m + end for m in metrics for end in ("", "_ci_low", "_ci_high")]
    assert [row["label"] for row in rows] == ["greedy", "beam", "broken"]
    assert [row["status"] for row in rows] == ["ok", "ok", "failed"]
    greedy, beam, broken = rows
    assert (greedy["diversity"], greedy["diversity_ci_low"], greedy["diversity_ci_high"]) == ("0.25", "0.15", "0.35")
    assert (beam["ttft_s"], beam["ttft_s_ci_low"]) == ("", "")
    assert broken["error"] == "ModelError: logits are NaN <at> step 3"
    assert broken["diversity"] == ""


def test_without_latency_the_plot_is_left_out_and_the_old_one_removed(rendered: Path, tmp_path: Path) -> None:
    run = shutil.copytree(rendered, tmp_path / "run")
    measured = [measurement("greedy", "diversity", 0.5), measurement("greedy", "rep_4", 0.5)]
    save(run, manifest([cell("greedy")]), [generation("greedy", "p")], measured)
    render(run)
    assert not list((run / "plots").glob("quality_latency.*"))
    reason = "Quality against latency: left out, none of e2e_s, tok_per_s was measured."
    assert reason in (run / "report.md").read_text(encoding="utf-8")
    assert reason in (run / "report.html").read_text(encoding="utf-8")


# --- when it cannot be rendered ---


def test_a_rendering_that_fails_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = golden(tmp_path / "run")
    before = {path.name for path in run.iterdir()}

    def broken(*_: object) -> str:
        raise RuntimeError("the template is broken")

    monkeypatch.setattr("decodebench.report.writing.page", broken)
    with pytest.raises(RuntimeError):
        render(run)
    assert {path.name for path in run.iterdir()} == before


def test_a_full_disk_leaves_the_old_report_whole(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(rendered, tmp_path / "run")
    before = (run / "report.html").read_bytes()
    whole_write = Path.write_bytes

    def half_write(path: Path, content: bytes) -> int:
        if "report.html" not in path.name:
            return whole_write(path, content)
        whole_write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half_write)
    with pytest.raises(StoreError, match=r"report\.html: cannot be written \(No space left on device\)"):
        render(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.rglob(".*"))


def test_a_run_whose_every_cell_failed_is_reported(tmp_path: Path) -> None:
    failed = [{"cell": "id-a", "error": "ModelError: no weights"}, {"cell": "early", "error": ""}]
    run = save(tmp_path, manifest([cell("a")], failed), [], [])
    report = render(run)
    assert "a         failed: ModelError: no weights" in report.table
    assert "early     failed: no reason was recorded" in report.table
    assert "2 failed cells" in report.html.read_text(encoding="utf-8")
    assert not (run / "plots").exists()


def test_optional_keys_of_the_manifest_may_be_absent(tmp_path: Path) -> None:
    run = golden(tmp_path)
    whole = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    bare = {"schema_version": SCHEMA_VERSION, "cells": [*whole["cells"][:2]]}
    (run / "manifest.json").write_text(json.dumps(bare), encoding="utf-8")
    render(run)
    assert (run / "report.md").read_text(encoding="utf-8").startswith(f"# {run.name}")


def breaking(run: Path, how: str) -> Path:
    """Break a good run folder in one way."""
    store = run / "manifest.json"
    if how == "no folder":
        return run / "nowhere"
    if how == "no manifest":
        store.unlink()
    elif how == "cut manifest":
        store.write_text(store.read_text(encoding="utf-8")[:40], encoding="utf-8")
    elif how == "newer":
        store.write_text(store.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 99'))
    elif how == "cut parquet":
        table = run / "measurements.parquet"
        table.write_bytes(table.read_bytes()[:-200])
    elif how == "no generations":
        (run / "generations.parquet").unlink()
    elif how == "other columns":
        (run / "latency.parquet").replace(run / "generations.parquet")
    elif how == "stranger":
        save(run, manifest([cell("greedy")]), [generation("ghost", "p")], [])
    elif how == "twice":
        save(run, manifest([cell("greedy")]), [generation("greedy", "p")], [measurement("greedy", "rep_4", 0.1)] * 2)
    return run


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no folder", "there is no such folder"),
        ("no manifest", "is no run folder (no manifest.json)"),
        ("cut manifest", "manifest.json: cannot be read as JSON"),
        ("newer", "schema_version=99; this decodebench reads 1"),
        ("cut parquet", "measurements.parquet: cannot be read as Measurement records, is it cut off?"),
        ("no generations", "generations.parquet: there is no such file"),
        ("other columns", "generations.parquet: has no column seed, sample, prompt, text"),
        ("stranger", "cell 'id-ghost' is not in manifest.json"),
        ("twice", "cell 'id-greedy' has metric 'rep_4' twice"),
    ],
)
def test_a_folder_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path, how: str, message: str) -> None:
    run = breaking(golden(tmp_path / "run"), how)
    with pytest.raises(StoreError, match=re.escape(message)) as caught:
        render(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


RECORDS = {
    "generations": Generation,
    "readings": Reading,
    "measurements": Measurement,
    "curves": CurvePoint,
    "differences": Difference,
    "ranking": Rank,
    "latency": Timing,
}


def test_the_documented_columns_are_those_of_the_records() -> None:
    page = (Path(__file__).parents[2] / "docs" / "run_folder.md").read_text(encoding="utf-8")
    assert f"schema version {SCHEMA_VERSION}" in page
    sections = {section.split()[0]: section for section in page.split("\n## ")}
    for name, record in RECORDS.items():
        section = sections[f"{name}.parquet"]
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        assert sorted(documented) == sorted(each.name for each in fields(record))
