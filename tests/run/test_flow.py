"""Whole runs on tiny models: grids, launchers, failing cells, what a run leaves, and what the next one makes of it."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from decodebench.errors import StoreError
from decodebench.models import loading as models
from decodebench.plan.cells import Plan, plan
from decodebench.plan.config import job_config
from decodebench.records import Generation, Measurement, Timing
from decodebench.run import RunFailedError, execute
from decodebench.store.tables import read_records
from launches import PROMPTS, compose, launch, manifest, one_thread, texts, without_report, write_prompts

Run = Callable[..., str]
BROKEN = "strategy.name=broken strategy._target_=own_strategies.Broken"
BEAM_AND_SAMPLES = 3 * 5 + 3 * 3
"""Texts of strategy=beam,sample (or top_p) on three prompts."""


threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with prompts and a user's own configuration; reports are left out unless a test wants them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    write_prompts(tmp_path)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    without_report(monkeypatch)


@pytest.fixture
def good(tiny_dirs: dict[str, Path]) -> list[str]:
    """The arguments of a small run, without a strategy."""
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x"]


@pytest.fixture
def run(good: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a grid without Hydra, each job given by its overrides; returns what was said, without a report."""
    without_report(monkeypatch)

    def run(*jobs: str, also: Sequence[str] = ()) -> str:
        said: list[str] = []
        execute(plan([job_config(compose(*good, *also, *job.split())) for job in jobs]), echo=said.append)
        return "\n".join(said)

    return run


def own_configuration(**files: str) -> str:
    """Yaml files of a user, by group; returns the override that makes Hydra find them."""
    for name, text in files.items():
        group, _, choice = name.partition("_")
        path = Path("own", group, f"{choice}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return f"hydra.searchpath=[file://{Path('own').absolute()}]"


def broken_strategy() -> str:
    return own_configuration(
        strategy_broken="defaults:\n  - /rules@_here_: default\n  - _self_\n"
        "name: broken\n_target_: own_strategies.Broken\n"
    )


def plain(generations: list[Generation]) -> list[Generation]:
    """Without the numbers whose last bits may depend on the batch."""
    return [replace(g, token_logprobs=(), score=None) for g in generations]


# --- what a run leaves ----------------------------------------------------------------------------------------------


def test_a_run_leaves_its_folder_and_nothing_else(good: list[str]) -> None:
    before = {path.name for path in Path().iterdir()}
    done = launch("-m", *good, "strategy=beam,sample")
    assert (done.code, done.err) == (0, "")
    assert "report: results/x/report.html" in done.out
    assert {path.name for path in Path().iterdir()} - before == {"results", "cache"}
    files = {str(path.relative_to("results/x")) for path in Path("results/x").rglob("*") if path.is_file()}
    tables = {"generations.parquet", "measurements.csv", "measurements.parquet", "comparison.csv"}
    assert {"manifest.json", "prompts.parquet", "report.md", "report.html"} | tables <= files
    assert {Path(name).suffix for name in files if name.startswith("plots/")} == {".png", ".svg"}
    assert "journal.jsonl" not in files

    assert len(texts()) == BEAM_AND_SAMPLES
    assert [*pd.read_csv("results/x/comparison.csv")["strategy"]] == ["beam", "sample"]
    stored = pd.read_parquet("results/x/generations.parquet")
    wanted = "cell model strategy prompt_id sample prompt text token_ids token_logprobs finish_reason"
    assert {*wanted.split(), "delivered_tokens", "computed_tokens"} <= {*stored.columns}
    measured = pd.read_csv("results/x/measurements.csv")
    wanted = "cell strategy metric value reason unit direction n ci_low ci_high version"
    assert {*wanted.split()} <= {*measured.columns}
    assert [*measured["metric"].unique()] == [*pd.read_parquet("results/x/measurements.parquet")["metric"].unique()]
    missing = measured[measured["value"].isna() | measured["ci_low"].isna()]
    assert missing["reason"].notna().all()


def test_generations_are_in_the_order_of_the_grid_with_their_texts(run: Run) -> None:
    run("strategy=beam", "strategy=top_p")
    order = [(g.strategy, g.prompt_id, g.sample) for g in texts()]
    assert order == [(s, p["id"], n) for s, count in (("beam", 5), ("top_p", 3)) for p in PROMPTS for n in range(count)]
    assert {g.prompt_id: g.prompt for g in texts()} == {p["id"]: p["text"] for p in PROMPTS}
    assert all("<eos>" not in g.text and g.delivered_tokens == len(g.token_ids) for g in texts())


def test_the_manifest_has_all_that_is_needed_to_repeat_the_run(
    good: list[str], tiny_dirs: dict[str, Path], fast: None
) -> None:
    launch("-m", *good, "strategy=greedy,top_p", "strategy.repetition_penalty=1.2", "seed=3,4")
    found = manifest()
    assert found["status"] == "complete"
    assert found["command"].startswith("python -m decodebench -m model=local ")
    assert found["seed"] == [3, 4]
    assert {"python", "torch", "transformers", "decodebench"} <= found["versions"].keys()
    assert [(c["strategy"], c["seed"]) for c in found["cells"]] == [
        ("greedy", 3),
        ("greedy", 4),
        ("top_p", 3),
        ("top_p", 4),
    ]
    (model,) = found["models"].items()
    assert model[0] == "local"
    assert model[1]["fingerprint"]
    assert model[1]["config"]["path"] == str(tiny_dirs["llama"])
    assert found["prompts"]["file"]["count"] == 3
    cell = found["cells"][-1]
    assert cell["config"]["strategy"]["top_p"] == 0.9
    assert cell["generation_config"]["top_p"] == 0.9
    assert cell["generation_config"]["top_k"] == 0
    assert cell["generation_config"]["repetition_penalty"] == 1.2
    counts = found["counts"]
    # Greedy decodes the same texts with either seed: rows of equal prefixes are computed once.
    assert counts["requests_total"] == counts["requests_decoded"] == 2 * 3 + 2 * 9
    assert counts["prefills"] == 3
    assert counts["tokens_computed"] < counts["tokens_alone"] == sum(g.computed_tokens for g in texts())


def test_scoring_again_keeps_the_unit_of_the_run_unless_another_is_named(run: Run) -> None:
    run("strategy=greedy", also=["metrics.unit=words"])
    metrics = pd.read_csv("results/x/measurements.csv")["metric"].tolist()
    assert "rep_4_words" in metrics
    assert launch("score", "results/x").code == 0
    assert pd.read_csv("results/x/measurements.csv")["metric"].tolist() == metrics
    assert launch("score", "results/x", "--unit", "characters").code == 0
    assert "rep_4_characters" in pd.read_csv("results/x/measurements.csv")["metric"].tolist()


# --- grids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "cells"),
    [
        (["strategy=beam,sample"], ["beam", "sample"]),
        (["strategy=glob(top_*)"], ["top_h", "top_k", "top_n_sigma", "top_p"]),
        (
            ["strategy=top_p", "strategy.top_p=0.8,0.9,0.95"],
            ["top_p top_p=0.8", "top_p top_p=0.9", "top_p top_p=0.95"],
        ),
        (["seed=1,2,3", "strategy=greedy"], ["greedy"] * 3),
        (
            ["experiment=tour"],
            [
                *("greedy", "beam", "temperature", "typical", "sample temperature=0.75", "sample temperature=0.85"),
                *("top_k top_k=10", "top_k top_k=50", "top_p top_p=0.8", "top_p top_p=0.9", "top_p top_p=0.95"),
                *("min_p min_p=0.05", "min_p min_p=0.1"),
            ],
        ),
    ],
)
def test_grids(arguments: list[str], cells: list[str], good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Plan] = []
    monkeypatch.setattr("decodebench.choosing.flow.execute", lambda plan, **_: planned.append(plan))
    assert launch("-m", *good, *arguments).code == 0
    assert [job.cell.strategy for job in planned[0].jobs] == cells


def test_the_command_line_holds_for_every_grid(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Plan] = []
    monkeypatch.setattr("decodebench.choosing.flow.execute", lambda plan, **_: planned.append(plan))
    launch("-m", "experiment=seed_notebook", "strategy.max_total_tokens=120", *good[:3])
    assert [job.strategy.max_total_tokens for job in planned[0].jobs] == [120] * 3


def test_the_seed_notebook_has_its_three_generations(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Plan] = []
    monkeypatch.setattr("decodebench.choosing.flow.execute", lambda plan, **_: planned.append(plan))
    launch("-m", "experiment=seed_notebook", *good[:3])
    cells = [(type(j.strategy).__name__, [p.id for p in j.prompts], asdict(j.strategy)) for j in planned[0].jobs]
    assert [(name, prompts) for name, prompts, _ in cells] == [
        ("Beam", ["greeting"]),
        ("Sample", ["greeting"]),
        ("Sample", ["interview"]),
    ]
    lengths = [(numbers["max_new_tokens"], numbers["max_total_tokens"]) for *_, numbers in cells]
    assert lengths == [(None, 100), (None, 100), (None, 256)]
    first, last = cells[1][2], cells[2][2]
    assert [first[key] for key in ("temperature", "top_k", "top_p", "num_return_sequences")] == [0.75, 50, 0.95, 3]
    assert [last[key] for key in ("temperature", "top_k", "top_p", "num_return_sequences")] == [0.85, 50, 0.95, 3]
    interview = planned[0].jobs[2].prompts[0].text
    assert interview.startswith("\n요즘 굉장히 핫한")
    assert interview.endswith("\nQ : GPT님, 요즘 바쁘시죠?\nA : ")


def test_every_way_of_launching_gives_the_same_texts(good: list[str], run: Run) -> None:
    launch("-m", *good, "strategy=beam,top_p")
    assert launch("-m", *good, "strategy=beam,top_p", "name=serial", "hydra/launcher=basic").code == 0
    assert launch("-m", *good, "strategy=beam,top_p", "name=product", "hydra/sweeper=basic").code == 0
    assert launch(*good, "name=one", "strategy=top_p").code == 0
    run("strategy=beam", "strategy=top_p", also=["name=narrow", "engine.max_rows=1"])
    for name in ("serial", "product", "narrow"):
        assert plain(texts(name)) == plain(texts()), name
    assert plain(texts("one")) == [g for g in plain(texts()) if g.strategy == "top_p"]
    packed, serial = manifest(), manifest("serial")
    assert packed.keys() == serial.keys()
    assert packed["cells"] == serial["cells"]
    assert packed["models"] == serial["models"]
    columns = [pd.read_csv(f"results/{name}/measurements.csv").columns.tolist() for name in ("x", "serial", "one")]
    assert columns[0] == columns[1] == columns[2]


# --- models ---------------------------------------------------------------------------------------------------------


def test_each_model_is_loaded_once_and_is_alone_in_memory(
    good: list[str], tiny_dirs: dict[str, Path], fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.release()
    alive: list[int] = []
    earlier: list[weakref.ref[Any]] = []
    read = models._read

    def watched(*arguments: Any) -> models.LoadedModel:
        gc.collect()
        alive.append(sum(one() is not None for one in earlier))
        loaded = read(*arguments)
        earlier.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(models, "_read", watched)
    before = models.loads()
    template = "defaults:\n  - local\n  - _self_\nname: {0}\npath: {1}\n"
    searchpath = own_configuration(
        model_one=template.format("one", tiny_dirs["llama"]), model_two=template.format("two", tiny_dirs["gpt2"])
    )
    done = launch("-m", searchpath, "seed=1,2", "model=one,two", *good[2:], "strategy=greedy,top_p")
    assert done.code == 0, done.err
    assert models.loads()[len(before) :] == ("one", "two")
    assert alive == [0, 0]
    cells = [(c["seed"], c["model"], c["strategy"]) for c in manifest()["cells"]]
    assert cells == [(s, m, d) for s in (1, 2) for m in ("one", "two") for d in ("greedy", "top_p")]
    assert list(manifest()["models"]) == ["one", "two"]


def test_models_of_one_name_are_told_apart(run: Run, tiny_dirs: dict[str, Path]) -> None:
    llama, gpt2 = tiny_dirs["llama"], tiny_dirs["gpt2"]
    run("strategy=greedy")
    assert {g.model for g in texts()} == {"local"}
    run("strategy=greedy", f"strategy=greedy model.path={gpt2}")
    found = manifest()
    assert list(found["models"]) == [f"local path={llama}", f"local path={gpt2}"]
    assert found["models"][f"local path={llama}"]["fingerprint"] != found["models"][f"local path={gpt2}"]["fingerprint"]
    assert found["counts"]["requests_stored_before"] == found["counts"]["requests_decoded"] == 3
    assert [g.model for g in texts()] == [f"local path={llama}"] * 3 + [f"local path={gpt2}"] * 3


# --- cells that fail ------------------------------------------------------------------------------------------------


def test_a_cell_that_fails_does_not_lose_the_others(good: list[str]) -> None:
    done = launch("-m", broken_strategy(), *good, "strategy=greedy,broken", "strategy.max_new_tokens=8,180")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line == "decodebench: error: 3 of 4 cells failed; the reasons are in results/x/report.html"
    rows = pd.read_csv("results/x/comparison.csv").set_index("strategy")
    assert rows.index[rows["status"] == "ok"].tolist() == ["greedy max_new_tokens=8"]
    assert rows.loc["broken max_new_tokens=8", "error"] == "ValueError: broken on purpose"
    assert "more than the 192 of the context" in str(rows.loc["greedy max_new_tokens=180", "error"])
    for name in ("report.md", "report.html"):
        assert "broken on purpose" in Path("results/x", name).read_text(encoding="utf-8")
    assert manifest()["status"] == "failed"
    measured = read_records(Path("results/x/measurements.parquet"), Measurement)
    assert {m.strategy for m in measured} == {"greedy max_new_tokens=8"}


def test_one_cell_after_the_other_none_that_fails_is_forgotten(good: list[str], fast: None) -> None:
    grid = ["strategy=broken,greedy", "strategy.max_new_tokens=180,8", "hydra/launcher=basic"]
    done = launch("-m", broken_strategy(), *good, *grid)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "3 of 3 cells so far failed" in done.err
    failed = {f["cell"]: f["error"] for f in manifest()["failed"]}
    errors = [(c["strategy"], failed.get(c["id"], "")[:30]) for c in manifest()["cells"]]
    assert errors == [
        ("broken max_new_tokens=180", "prompts=file: prompt long has "),
        ("greedy max_new_tokens=180", "prompts=file: prompt long has "),
        ("broken max_new_tokens=8", "ValueError: broken on purpose"),
        ("greedy max_new_tokens=8", ""),
    ]
    assert {g.strategy for g in texts() if g.strategy.startswith("greedy")} == {"greedy max_new_tokens=8"}


def test_failed_cells_may_leave_the_grid_and_the_others_stay(run: Run) -> None:
    with pytest.raises(RunFailedError, match="1 of 2 cells failed"):
        run("strategy=greedy", f"strategy=greedy {BROKEN}")
    kept = texts()
    run("strategy=greedy", "strategy=top_p")
    found = manifest()
    assert (found["status"], found["failed"]) == ("complete", [])
    assert [c["strategy"] for c in found["cells"]] == ["greedy", "top_p"]
    assert (found["counts"]["requests_stored_before"], found["counts"]["requests_decoded"]) == (3, 9)
    assert texts()[:3] == [g for g in kept if g.strategy == "greedy"]


def test_a_run_of_which_nothing_was_decoded_still_says_why(good: list[str]) -> None:
    done = launch(*good, "strategy=greedy", *BROKEN.split())
    assert done.code == 1
    assert "1 of 1 cells failed" in done.err
    assert pd.read_csv("results/x/comparison.csv")["error"].tolist() == ["ValueError: broken on purpose"]


def test_a_model_that_cannot_be_loaded_loses_its_cells_alone(run: Run, tiny_dirs: dict[str, Path]) -> None:
    damaged = shutil.copytree(tiny_dirs["gpt2"], Path("damaged"))
    (damaged / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunFailedError, match="1 of 2 cells failed"):
        run("strategy=greedy model.path=damaged", "strategy=greedy")
    first, second = manifest()["cells"]
    assert [f["cell"] for f in manifest()["failed"]] == [first["id"]]
    assert "model.path=damaged: could not be loaded" in manifest()["failed"][0]["error"]
    assert [g.cell for g in texts()] == [second["id"]] * 3


# --- going on -------------------------------------------------------------------------------------------------------


def interrupt(stored: int) -> list[Generation]:
    """Make the run look as if it had been killed when so many of its texts were stored; returns all of its texts."""
    run_dir, before = Path("results/x"), texts()
    journal = "".join(json.dumps(asdict(g), ensure_ascii=False) + "\n" for g in before[:stored])
    (run_dir / "journal.jsonl").write_text(journal + '{"cell": "half a li', encoding="utf-8")
    for table in ("generations.parquet", "measurements.parquet", "measurements.csv"):
        (run_dir / table).unlink()
    (run_dir / "manifest.json").write_text(json.dumps(manifest() | {"status": "running"}), encoding="utf-8")
    return before


@pytest.mark.parametrize(
    ("stored", "whole"),
    [
        (0, 0),
        (5, 5),
        (7, 5),  # beam returns five texts at once: two of five are as good as none
        (17, 17),
        (BEAM_AND_SAMPLES, BEAM_AND_SAMPLES),
    ],
)
def test_a_killed_run_decodes_what_is_missing_and_gives_the_same(stored: int, whole: int, run: Run) -> None:
    grid = ("strategy=beam", "strategy=top_p")
    run(*grid)
    measured = read_records(Path("results/x/measurements.parquet"), Measurement)
    before = interrupt(stored)
    run(*grid)
    counts = manifest()["counts"]
    assert counts["requests_total"] == BEAM_AND_SAMPLES
    assert (counts["requests_stored_before"], counts["requests_decoded"]) == (whole, BEAM_AND_SAMPLES - whole)
    assert plain(texts()) == plain(before)
    again = read_records(Path("results/x/measurements.parquet"), Measurement)
    assert [(m.cell, m.metric, m.reason, m.n) for m in again] == [(m.cell, m.metric, m.reason, m.n) for m in measured]
    assert [m.value is None for m in again] == [m.value is None for m in measured]
    values, expected = ([m.value for m in found if m.value is not None] for found in (again, measured))
    assert values == pytest.approx(expected, rel=1e-5)
    assert not Path("results/x/journal.jsonl").exists()


def test_kill_9_in_the_middle(good: list[str], fast: None) -> None:
    """The real thing: texts are on disk while the run goes on, no second process may write, and nothing is lost."""
    slow = ["strategy=temperature", "strategy.name=slow", "strategy._target_=own_strategies.Slow"]
    command = [*good, *slow, "engine.max_rows=1", "strategy.eos=none"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1] / "support"), "SLOW_S": "0.04"}
    process = subprocess.Popen(
        [sys.executable, "-m", "decodebench", *command],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = Path("results/x/journal.jsonl")
    try:
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
        assert "another process is writing results/x" in launch(*command).err
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    stored = journal.read_bytes().count(b"\n")
    assert 2 <= stored < 9
    with journal.open("ab") as stream:
        stream.write(b'{"cell": "')  # and the power failed as well
    assert launch(*command).code == 0
    counts = manifest()["counts"]
    assert (counts["requests_stored_before"], counts["requests_decoded"]) == (stored, 9 - stored)
    assert launch(*command, "name=whole").code == 0
    assert plain(texts()) == plain(texts("whole"))


def test_a_run_repeated_decodes_nothing_and_changes_nothing(run: Run) -> None:
    run("strategy=greedy", "strategy=top_p")
    before = {name: Path("results/x", name).read_bytes() for name in ("generations.parquet", "measurements.csv")}
    run("strategy=greedy", "strategy=top_p")
    counts = manifest()["counts"]
    assert (counts["requests_stored_before"], counts["requests_decoded"], counts["forward_passes"]) == (12, 0, 0)
    assert {name: Path("results/x", name).read_bytes() for name in before} == before


def test_a_larger_grid_adds_its_cells_and_renames_the_old_ones(run: Run) -> None:
    run("strategy=top_p")
    before = texts()
    assert {g.strategy for g in before} == {"top_p"}
    run("strategy=top_p strategy.top_p=0.8", "strategy=top_p strategy.top_p=0.9")
    counts = manifest()["counts"]
    assert (counts["requests_stored_before"], counts["requests_decoded"]) == (9, 9)
    assert [c["strategy"] for c in manifest()["cells"]] == ["top_p top_p=0.8", "top_p top_p=0.9"]
    kept = [g for g in texts() if g.strategy == "top_p top_p=0.9"]
    assert [replace(g, strategy="top_p") for g in kept] == before


@pytest.mark.parametrize("change", ["strategy=top_p", "seed=1", "prompts.ids=[ko]"])
def test_a_grid_without_the_stored_cells_is_refused(change: str, good: list[str], fast: None) -> None:
    launch(*good, "strategy=greedy")
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    for mode in ([], ["-m"], ["-m", "hydra/launcher=basic"]):
        done = launch(*mode, *good, "strategy=greedy", change)
        assert done.code == 3
        assert "name=x: results/x holds cells that this grid does not have (greedy" in done.err
        assert "to start afresh choose another name=, or delete results/x" in done.err
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before


def test_other_weights_under_the_same_path_are_refused(run: Run, tiny_dirs: dict[str, Path]) -> None:
    copy = shutil.copytree(tiny_dirs["llama"], Path("copy"))
    run("strategy=greedy model.path=copy")
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"] *= 2
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    models.release()
    with pytest.raises(StoreError, match="name=x: results/x was made with other weights of model=local"):
        run("strategy=greedy model.path=copy")
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before


def test_a_folder_that_is_no_run_is_left_alone(good: list[str], fast: None) -> None:
    Path("results/x").mkdir(parents=True)
    Path("results/x/thesis.txt").write_text("precious", encoding="utf-8")
    done = launch(*good, "strategy=greedy")
    assert done.code == 3
    assert "has files but no manifest.json" in done.err
    assert [path.name for path in Path("results/x").iterdir()] == ["thesis.txt"]


# --- the timed pass -------------------------------------------------------------------------------------------------


def timings() -> list[Timing]:
    return read_records(Path("results/x/latency.parquet"), Timing)


def test_the_timed_pass_of_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decodebench.latency.timing.gc.collect", lambda: 0)  # slow in a process as large as this one
    quick = ["latency=quick", "latency.new_tokens=4"]
    run("strategy=greedy", "strategy=beam", also=quick)
    first = timings()
    assert [(t.strategy, t.round, t.prompt_id) for t in first] == [
        (strategy, number, "ko") for strategy in ("greedy", "beam") for number in range(3)
    ]
    assert {t.new_tokens for t in first} == {4}
    measured = {(m.strategy, m.metric): m for m in read_records(Path("results/x/measurements.parquet"), Measurement)}
    assert measured["greedy", "ttft_s"].value is not None
    assert measured["beam", "ttft_s"].value is None
    assert "only when it has finished" in str(measured["beam", "ttft_s"].reason)
    assert measured["beam", "e2e_s"].value is not None

    run("strategy=greedy", "strategy=beam", also=quick)
    assert timings() == first, "a repeated run times nothing"
    run("strategy=greedy", "strategy=beam")
    assert timings() == first, "what was timed stays"
    run("strategy=greedy", "strategy=beam", "strategy=top_p", also=quick)
    assert len(timings()) == 9
    assert not {t.e2e_s for t in timings()} & {t.e2e_s for t in first}, "all are timed again, in interleaved rounds"


def test_a_prompt_without_room_for_the_timed_tokens_is_not_timed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run("strategy=greedy", also=["latency=quick", "latency.new_tokens=190"])
    assert "greedy is not timed: with latency.new_tokens=190 no prompt fits the context of local" in caplog.text
    assert not Path("results/x/latency.parquet").exists()
