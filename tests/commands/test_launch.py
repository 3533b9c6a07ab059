"""The command line: what bad input gets is one line and an exit code, and nothing is left behind."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decodebench.commands import COMMANDS
from decodebench.engine.cached_rows import CachedRows
from decodebench.models import loading as models
from decodebench.plan.cells import Plan
from decodebench.plan.config import conf_dir
from decodebench.records import Generation
from decodebench.store.tables import read_records
from decodebench.strategies import Greedy, Sample
from launches import PROMPTS, Launch, launch, one_thread, without_report, write_prompts

GREEDY, SAMPLE = (", ".join(sorted(f.name for f in fields(kind))) for kind in (Greedy, Sample))
NO_EFFECT = "has no effect with strategy"
STRATEGIES = ", ".join(sorted(path.stem for path in (conf_dir() / "strategy").glob("*.yaml")))
WITH_M = "launch it with -m (python -m decodebench -m ...)"
KEYS = "choose, engine, experiment, latency, metrics, model, name, prompts, results, scorer, seed, strategy, task"

BAD = {
    # unknown names
    "strategy=topp": f"strategy=topp: unknown; allowed: {STRATEGIES}; did you mean top_p?",
    "model=gpt3": "model=gpt3: unknown; allowed: gemma3_270m, gpt2, gptj_6b, hub, kogpt_6b, local, openai_gpt; did you",
    "experiment=tuor": "experiment=tuor: unknown; allowed: choose, seed_notebook, tour; did you mean tour?",
    "hydra/launcher=joblib": "hydra/launcher=joblib: unknown; allowed: basic, packed",
    "strategy=": f"strategy=: unknown; allowed: {STRATEGIES}",
    # unknown keys
    "modle=gpt2": f"modle=gpt2: unknown key; allowed: {KEYS}; did you mean model?",
    "rnadom.key=1": "rnadom={'key': 1}: unknown key; allowed: ",
    "strategy.topp=0.9": f"strategy.topp=0.9: {NO_EFFECT}=sample; allowed: {SAMPLE}; did you mean top_p?",
    "+strategy.topp=0.9": f"strategy.topp=0.9: {NO_EFFECT}=sample; allowed: {SAMPLE}; did you mean top_p?",
    "strategy=greedy strategy.temperature=0.5": f"strategy.temperature=0.5: {NO_EFFECT}=greedy; allowed: {GREEDY}",
    "strategy=greedy +strategy.temperature=0.5": f"strategy.temperature=0.5: {NO_EFFECT}=greedy; allowed: {GREEDY}",
    # values of a wrong type
    "strategy.top_p=abc": "strategy.top_p=abc: must be a number or null",
    "engine.max_rows=many": "engine.max_rows=many: must be a whole number",
    # values out of range
    "strategy=beam strategy.num_return_sequences=6": "num_return_sequences=6: allowed is 1 to strategy.num_beams=5",
    "strategy=top_p strategy.top_p=0": "strategy.top_p=0.0: allowed is above 0, at most 1",
    "strategy=top_p strategy.top_p=1.01": "strategy.top_p=1.01: allowed is above 0, at most 1",
    "strategy.temperature=0": "strategy.temperature=0.0: allowed is above 0 (for temperature 0 use strategy=greedy)",
    "strategy.temperature=nan": "strategy.temperature=nan: allowed is ",
    "strategy.eos=[9999]": "strategy.eos=[9999]: local has token ids 0 to ",
    "metrics.unit=wrod": "metrics.unit=wrod: allowed: characters, jamo, morphemes, tokens, words; did you",
    "latency=quick latency.rounds=2": "latency.rounds=2: allowed is 3 or more (latency=skip leaves the pass out)",
    "name=a/b": "name=a/b: allowed is one folder name, created below results=results",
    # prompts
    "prompts.path=missing.txt": "prompts.path=missing.txt: no such file",
    "prompts.path=null": "prompts=file must be given a file (.txt, .jsonl, .json, .csv, .tsv, .parquet), for",
    "prompts.path=empty.txt": "prompts.path=empty.txt: the file is empty",
    "prompts.path=latin.txt": "prompts.path=latin.txt: not UTF-8 at byte 10 (line 2)",
    "prompts.path=blank.txt": "prompts.path=blank.txt: line 2: empty prompt",
    "prompts.text_column=txt": "prompts.text_column=txt: no such column; allowed: id, text; did you mean text?",
    "prompts.ids=[kp]": "prompts.ids=kp: none of the 3 prompts; allowed: en, ko, long; did you mean ko?",
    "prompts.template=say": "prompts.template='say': allowed: null, chat, or a text with {text} in it once",
    "strategy.max_new_tokens=180": "prompt long has 34 tokens, with 180 new ones 214: more than the 192 of",
    "strategy.max_total_tokens=9": "strategy.max_total_tokens=9: prompt ko has 10 tokens; allowed is 11 or more",
    # models
    "model.device=cuda:9": "model.device=cuda:9: this machine has ",
    "model.dtype=float23": "model.dtype=float23: unknown; allowed: auto, bfloat16, float16, float32; did you",
    "model.path=.": "model.path=.: the folder has no weights",
    "model.path=nowhere": "model.path=nowhere: does not exist",
    "model=hub model.path=null model.id=no/where": "model.id=no/where: could not be fetched from the hub; check",
    # grids
    "strategy=greedy,beam": f"strategy=greedy,beam: several values are a sweep; {WITH_M}",
    "experiment=tour": f"experiment=tour: is a grid; {WITH_M}",
    "-m name=a,b": "name: cannot be swept, it holds for the whole run",
    "-m latency=skip,quick": "latency: cannot be swept, it holds for the whole run",
    "-m strategy=greedy,topp": "strategy=topp: unknown; allowed: ",
    "-m strategy=top_p strategy.top_p=0.9,1.9": "strategy.top_p=1.9: allowed is above 0, at most 1",
    "-m strategy=sample,greedy strategy.temperature=0.5": f"strategy.temperature=0.5: {NO_EFFECT}=greedy",
    "-m hydra/launcher=basic strategy=top_p strategy.top_p=0.9,1.9": "strategy.top_p=1.9: allowed is above 0",
    "-m experiment=tour strategy.top_p=0.5": f"strategy.top_p=0.5: {NO_EFFECT}=greedy",
    "-m experiment=tour hydra/sweeper=basic": "Key 'grids' not in 'BasicSweeperConf'",
    "-m seed=1,x": "seed=x: allowed is a whole number, 0 or more",
    # what is no override
    "strategy.top_p=[1": "strategy.top_p=[1: no viable alternative at input '[1'; allowed is key=value",
    "beam": "beam: Error parsing override 'beam' missing EQUAL",
    "=3": "=3: has no key; allowed are key=value and the flags that --help names",
    "--strategy=beam": "unrecognized arguments: --strategy=beam; allowed are key=value and the flags that --help names",
}  # fmt: skip
"""Arguments, after those of a good run, and what the error says."""


threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with good and bad prompt files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    write_prompts(tmp_path)
    Path("empty.txt").write_bytes(b"")
    Path("latin.txt").write_bytes("one line\ncafé".encode("latin-1").replace(b"caf", b"c"))
    Path("blank.txt").write_bytes(b"a prompt\n \n")


@pytest.fixture
def good(tiny_dirs: dict[str, Path]) -> list[str]:
    """The arguments of a run that would be good."""
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x"]


def refused(done: Launch) -> str:
    """The one line of an error; nothing else was printed but the news of loading, and no file was left."""
    assert done.code == 3
    (line,) = done.err.splitlines()
    assert not Path("results").exists()
    assert not [line for line in done.out.splitlines() if "loaded in" not in line]
    return line.removeprefix("decodebench: error: ")


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_gets_one_line(arguments: str, good: list[str]) -> None:
    before = sorted(Path().iterdir())
    line = refused(launch(*good, *arguments.split()))
    assert BAD[arguments] in line
    assert {path.name for path in Path().iterdir()} - {path.name for path in before} <= {"cache"}


NAMES = "baseline, check, choose, export, import, report, score, strategies, verify"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["repotr", "x"], f"repotr: unknown command; allowed: {NAMES}; did you mean report?"),
        (["report"], "report: takes the path of a run folder, as in: report results/NAME"),
        (["report", "a", "b"], "report: takes the path of a run folder"),
        (["report", "results/x"], "results/x: there is no such folder; allowed: the folder of a run"),
        (["score", "results/x"], "results/x: there is no such folder; allowed: the folder of a run"),
        (["report", "--opne", "x"], "report --opne: unknown flag; allowed: --help, -h"),
        (["report", "--", "--x"], "--x: there is no such folder; allowed: the folder of a run"),
        (["score"], "score: takes the path of a run folder or of a file of texts, as in: score results/NAME"),
        (["score", "results/x", "words"], "score words: allowed beside the run or file are task=NAME"),
        (["score", "results/x", "--unit", "wrod"], "--unit=wrod: allowed: characters, jamo, morphemes, tokens, words;"),
        (["score", "results/x", "--unit"], "score --unit: must have one value after it (see score --help)"),
        (["score", "results/x", "--unti=word"], "score --unti=word: unknown flag; allowed: --against, --compat, "),
        (["score", "results/x", "--un", "word"], "score --un: unknown flag; allowed: --against, --compat, "),
        (["score", "results/x", "--unit=word", "--unit=jamo"], "score --unit: is given twice; allowed is once"),
        (["score", "x.csv", "--unit=word"], "x.csv: no such file"),
        (
            ["export", "results/x", "c", "-f", "y"],
            "export -f: unknown flag; allowed: --accept, --help, --output, --texts, --to, -h, -o; did you mean -o?",
        ),
        (["export", "results/x", "c", "-ox", "--output=y"], "export --output: is given twice; allowed is once"),
    ],
)  # fmt: skip
def test_bad_commands(arguments: list[str], message: str) -> None:
    assert refused(launch(*arguments)).startswith(message)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([name, "--help"], [name, "x", "-h"]):
        with pytest.raises(SystemExit) as left:
            launch_to_stdout(*words)
        assert left.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: python -m decodebench {name} ")
        assert f"examples:\n  python -m decodebench {name} " in shown
        assert max(map(len, shown.splitlines())) <= 120


def test_help_of_a_command_is_quick() -> None:
    """Nothing that is slow to import is: the reports' pandas, torch, Hydra."""
    code = "import sys; from decodebench.commands import score\ntry: score(['--help'])\nexcept SystemExit: pass\n"
    code += "print('loaded:', sorted({'numpy', 'pandas', 'torch', 'transformers', 'hydra'} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("loaded: []\n")


def test_a_bad_value_in_a_sweep_is_said_before_a_model_is_loaded(good: list[str]) -> None:
    before = models.loads()
    models.release()
    refused(launch("-m", *good, "strategy=greedy,top_p", "strategy.top_p=0.9,7"))
    refused(launch("-m", *good, "hydra/launcher=basic", "strategy=top_p", "strategy.top_p=0.9,7"))
    assert models.loads() == before


@pytest.fixture
def nan_model(tiny_dirs: dict[str, Path], tmp_path: Path) -> Path:
    """A tiny model with NaN in a weight of its last layer."""
    folder = shutil.copytree(tiny_dirs["llama"], tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_model_of_nan_is_refused(good: list[str], nan_model: Path) -> None:
    line = refused(launch(*good, f"model.path={nan_model}"))
    assert line.startswith("model=local: logits are NaN or infinite in float32; the weights are damaged")


def full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_in_the_middle_is_said_and_the_run_goes_on_later(
    good: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_report(monkeypatch)
    write, calls = os.write, []

    def fills_up(file: int, data: bytes) -> int:
        calls.append(data)
        return write(file, data) if len(calls) < 2 else full()

    monkeypatch.setattr(os, "write", fills_up)
    done = launch(*good, "engine.max_rows=1", "strategy=greedy")
    monkeypatch.setattr(os, "write", write)
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "results/x: the disk is full; finished texts are kept, and the same command with name=x goes on" in done.err
    assert sorted(path.name for path in Path("results/x").iterdir()) == [
        "journal.jsonl",
        "manifest.json",
        "prompts.parquet",
    ]
    assert launch(*good, "engine.max_rows=1", "strategy=greedy").code == 0


def test_a_full_disk_at_the_start_leaves_no_run(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", full)
    done = launch(*good)
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "No space left on device" in done.err
    assert not list(Path("results").iterdir())


def test_half_as_many_rows_go_on_where_memory_runs_out(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three prompts are three rows at once; here there is memory for two."""
    without_report(monkeypatch)
    arguments = ["strategy=greedy", "strategy.max_new_tokens=12", "strategy.eos=none", "engine.max_rows=4"]
    assert launch(*good, *arguments).code == 0
    advance, refused = CachedRows.advance, []

    def little(rows: CachedRows, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        if len(parents) == rows.prefills == len(PROMPTS):  # the start-up probe has two
            refused.append(len(parents))
            raise torch.OutOfMemoryError("tried to allocate 1 EiB")
        return advance(rows, parents, tokens)

    monkeypatch.setattr(CachedRows, "advance", little)
    done = launch(*good, *arguments, "name=y")
    assert done.code == 0
    assert refused == [3]
    assert "engine.max_rows=4: out of memory; half as many rows go on" in done.out
    x, y = (read_records(Path("results") / name / "generations.parquet", Generation) for name in "xy")
    assert [(g.prompt_id, g.token_ids) for g in x] == [(g.prompt_id, g.token_ids) for g in y]
    assert json.loads(Path("results/y/manifest.json").read_text())["memory"]["local"]["halvings"] == 1


def test_no_memory_left_says_how_to_go_on(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    without_report(monkeypatch)
    advance, calls = CachedRows.advance, []

    def too_much(rows: CachedRows, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        calls.append(len(parents))
        if len(calls) > 30:  # the probe, and the first steps
            raise torch.OutOfMemoryError("tried to allocate 1 EiB")
        return advance(rows, parents, tokens)

    monkeypatch.setattr(CachedRows, "advance", too_much)
    done = launch(*good, "strategy=greedy", "strategy.max_new_tokens=40", "strategy.eos=none")
    monkeypatch.setattr(CachedRows, "advance", advance)
    assert done.code == 3
    assert "engine.max_rows=1: out of memory, and no request has fewer rows; finished texts are kept" in done.err
    assert "the same command with name=x goes on" in done.err.splitlines()[-1]
    assert launch(*good, "strategy=greedy", "strategy.max_new_tokens=40", "strategy.eos=none").code == 0


def test_an_interrupt_says_that_the_run_can_go_on(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("decodebench.run.stages.decode_cells", interrupted)
    done = launch(*good)
    assert done.code == 130
    assert "the same command with name=RUN goes on" in done.err


def test_flags_may_stand_anywhere(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Plan] = []
    monkeypatch.setattr("decodebench.choosing.flow.execute", lambda plan, **_: planned.append(plan))
    assert launch(*good, "-m", "strategy=greedy,beam", "seed=1").code == 0
    assert [(job.cell.strategy, job.cell.seed) for job in planned[0].jobs] == [("greedy", 1), ("beam", 1)]


def test_python_and_its_environment_are_left_as_they_were(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "an", "argument"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    launch(*good, "strategy=topp")
    assert sys.argv == ["pytest", "an", "argument"]
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_the_traceback_can_be_asked_for(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="strategy=topp: unknown"):
        launch(*good, "strategy=topp")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_help_shows_commands_groups_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        launch_to_stdout("--help")
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for part in (
        "report RUN",
        "score FILE --unit UNIT",
        "export RUN CELL [-o FOLDER]",
        "strategies [NAME]",
        "-m strategy=beam,sample",
        f"strategy: {STRATEGIES}",
        "num_return_sequences: 3",
        "name=",
    ):
        assert part in shown
    assert "Powered by Hydra" not in shown


def test_cfg_shows_the_configuration_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    launch_to_stdout("--cfg", "job", "strategy=beam", "strategy.num_beams=7")
    shown = capsys.readouterr().out
    assert "num_beams: 7" in shown
    assert not Path("results").exists()


def launch_to_stdout(*arguments: str) -> None:
    from decodebench.__main__ import main

    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["strategy=topp"], 3, "did you mean top_p?"), (["repotr", "x"], 3, "did you mean report?")],
)
def test_the_exit_code_is_that_of_the_process(arguments: list[str], code: int, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "decodebench", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("decodebench: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("results").exists()
