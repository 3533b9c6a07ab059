"""The benchmarks run: on tiny random weights, with the figures that they promise. No timing is asserted."""

import importlib
import json
import logging
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    """A benchmark in a process of its own, as a user starts it; returns what it printed."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """The same in this process, which has imported torch and transformers already."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as Python does for a script

    def run_here(script: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        return capsys.readouterr().out

    threads, quiet = torch.get_num_threads(), logging.root.manager.disable
    yield run_here
    torch.set_num_threads(threads)
    logging.disable(quiet)


@pytest.mark.parametrize("loop", [True, False])
def test_sweep(tmp_path: Path, loop: bool, run_here: Callable[..., str]) -> None:
    figures = tmp_path / "figures.json"
    flags = [] if loop else ["--no-loop"]
    start = run if loop else run_here
    out = start(
        "sweep.py", "--random", "tiny", "--quick", "--dtype", "float32", "--rounds", "2", "--json", str(figures), *flags
    )
    read = json.loads(figures.read_text())
    contenders = {"batched", "packed", "one more"} | ({"loop"} if loop else set())
    assert set(read["seconds"]) == contenders
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in read["seconds"].values())
    assert (read["ratio_loop"] is not None) == loop
    assert read["ratio_batched"]["low"] <= read["ratio_batched"]["ratio"] <= read["ratio_batched"]["high"]
    # 5 strategies on 3 prompts: greedy 1, three samplers of 3 samples, beam returning 1: 11 texts a prompt
    assert read["counts"]["texts"] == 33
    assert read["counts"]["tokens_computed"] <= read["counts"]["tokens_alone"]
    assert read["floor_s"] == read["products_s"] + read["cache_reads_s"] > 0
    assert read["floor_ratio"] > 0
    assert read["ratio_one_more"]["ratio"] > 0
    assert read["peers"] == {}
    assert "measured / floor" in out


def test_growth(tmp_path: Path, run_here: Callable[..., str]) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["--random", "tiny", "--dtype", "float32", "--repeats", "1", "--most", "8", "--json", str(figures)]
    run_here("growth.py", *arguments, "--plot", str(tmp_path / "growth.png"))
    read = json.loads(figures.read_text())
    assert read["strategies"]["x"] == [1, 2, 4, 8]
    assert all(len(series["seconds"]) == len(series["x"]) for series in read.values())
    # 1, 2, 4 strategies x 4 prompts x 3 samples x (prompt + 23 fed tokens): exactly proportional when nothing is shared
    alone = read["strategies"]["tokens_alone"]
    assert alone[1:] == [2 * alone[0], 4 * alone[0], 8 * alone[0]]
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_random_weights_need_no_more_than_torch_and_transformers() -> None:
    """`make cuda-check` runs where hydra, pandas and pyarrow may be missing."""
    absent = ("hydra", "omegaconf", "pandas", "pyarrow", "platformdirs", "jinja2", "evaluate")
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); sys.path.insert(0, {str(BENCHMARKS)!r})\n"
    code += "import sweep; work = sweep.random_work('tiny', 'float32', quick=True)\n"
    code += "packed = sweep.Packed(64); packed(work); print(packed.counts['texts'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().endswith("33"), done.stderr[-2000:]


def test_launches() -> None:
    """Counts of the pretended GPU: they are the same on every machine."""
    rows = [line.split() for line in run("launches.py").splitlines()[2:]]
    waits = {" ".join(row[:-2]): int(row[-1]) for row in rows}
    operations = {" ".join(row[:-2]): int(row[-2]) for row in rows}
    assert len(rows) == 17
    assert waits.pop("the whole step") == 1
    assert set(waits.values()) == {0}
    assert operations["greedy"] < operations["top_k=50"] < operations["typical=0.95"] < operations["the whole step"]


def test_scoring(run_here: Callable[..., str]) -> None:
    printed = run_here("scoring.py", "--quick", "--references")
    assert "24 texts of 50 tokens: " in printed


def test_verifying() -> None:
    """Of each kind 100 verifications by simulation: right settings pass and wrong ones are found, in 95 at least."""
    rows = run("verifying.py", "--quick").splitlines()[1:]
    assert len(rows) == 11
    assert min(float(row.split("+-")[0].split()[-1]) for row in rows) >= 95


def test_architectures(run_here: Callable[..., str]) -> None:
    """Of two architectures: the exit that Granite has, the cells that Gemma 3n refuses."""
    printed = run_here("architectures.py", "--quick", "--only", "Gr").splitlines()
    assert "| Granite | 5 | none | 3 of 3 | yes |" in printed
    printed = run_here("architectures.py", "--quick", "--only", "Gemma 3n").splitlines()
    assert "| Gemma 3n | 2 | contrastive_search, contrastive_decoding, dola | 3 of 3 | no |" in printed
    assert printed[-1].startswith("- Gemma 3n: model type gemma3n_text gives hidden states of shape [2, 2,")


# --- benchmarks/peers.py: what it hands to other harnesses, without them ----------------------------------------------


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """benchmarks/peers.py as a module, its cache in a folder of the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("peers")
    monkeypatch.setattr(module, "CACHE", tmp_path / ".peers")
    return module


@pytest.fixture
def ladder(peers: Any) -> Any:
    """The whole ladder: its strategies and texts, with prompts of as many tokens as the texts have words."""
    work = importlib.import_module("work")
    return work.Work(
        model=None,
        device=torch.device("cpu"),
        dtype="bfloat16",
        pad_id=0,
        strategies=work.strategies(64),
        prompts=tuple((1,) * len(text.split()) for text in work.PROMPTS),
        new_tokens=64,
        texts=work.PROMPTS,
    )


class Pretended:
    """In the place of subprocess.run: keeps the commands; the last of them prints and returns what it is told."""

    def __init__(self, printed: str, status: int = 0, after: Callable[[], object] = lambda: None) -> None:
        self.printed, self.status, self.after = printed, status, after
        self.calls: list[tuple[list[str], dict[str, str]]] = []

    def __call__(self, command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        self.calls.append((command, env))
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
            return subprocess.CompletedProcess(command, 0, stdout="")
        self.after()
        return subprocess.CompletedProcess(command, self.status, stdout=self.printed)


def read_yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def test_lm_eval_gets_a_task_for_each_strategy(peers: Any, ladder: Any, tmp_path: Path) -> None:
    tasks = peers.lm_eval_tasks(ladder, tmp_path)
    assert len(tasks) == len(list(tmp_path.glob("*.yaml"))) == 16
    written = [json.loads(line)["text"] for line in (tmp_path / "prompts.jsonl").read_text("utf-8").splitlines()]
    assert tuple(written) == ladder.texts
    for (name, task), strategy in zip(tasks.items(), ladder.strategies.values(), strict=True):
        read = read_yaml(tmp_path / f"{name}.yaml")
        assert read == {"task": name} | task
        keywords = read["generation_kwargs"]
        assert (keywords["min_new_tokens"], keywords["max_new_tokens"], keywords["until"]) == (64, 64, [])
        # these it passes by itself, or cannot take
        assert not {"num_return_sequences", "pad_token_id", "use_cache", "eos_token_id"} & set(keywords)
        assert None not in keywords.values()
        assert read["repeats"] == strategy.samples == (3 if keywords["do_sample"] else 1)
        expected = {key: value for key, value in strategy.generation_config().items() if key in keywords}
        assert {key: keywords[key] for key in expected} == expected
    assert sum(task["repeats"] for task in tasks.values()) == 3 + 13 * 3


def test_optimum_benchmark_gets_a_job_for_each_strategy(peers: Any, ladder: Any, tmp_path: Path) -> None:
    jobs = peers.optimum_jobs(ladder, tmp_path)
    assert len(jobs) == len(set(jobs)) == 16
    shared = read_yaml(tmp_path / "peer.yaml")
    assert shared["backend"]["torch_dtype"] == "bfloat16"
    assert shared["scenario"]["input_shapes"] == {"batch_size": 8, "sequence_length": 10}
    assert (shared["scenario"]["warmup_runs"], shared["scenario"]["iterations"]) == (0, 1)
    texts = 0
    for job in jobs:
        keywords = read_yaml(tmp_path / "strategy" / f"{job}.yaml")["scenario"]["generate_kwargs"]
        assert keywords["min_new_tokens"] == keywords["max_new_tokens"] == 64
        texts += keywords["num_return_sequences"] * 8
    assert texts == sum(strategy.returns * strategy.samples for strategy in ladder.strategies.values()) * 8 == 368


def test_a_run_of_lm_eval_gives_its_seconds(
    peers: Any, ladder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = "\rRunning generate_until requests:   0%| | 0/336 [00:00<?, ?it/s]"
    pretended = Pretended(bar + "\rRunning generate_until requests: 100%|##| 336/336 [01:02:05<00:00,  2.10s/it]\n")
    monkeypatch.setattr(peers.subprocess, "run", pretended)
    monkeypatch.setenv("PYTHONPATH", "ours")
    assert peers.lm_eval(ladder, tmp_path) == 3725.0
    (command, environment), *more = pretended.calls
    assert not more
    assert command[command.index("--batch_size") + 1] == "8"
    assert len(command[command.index("--tasks") + 1].split(",")) == 16
    assert environment["HF_HUB_OFFLINE"] == environment["HF_DATASETS_OFFLINE"] == "1"
    assert environment["OMP_NUM_THREADS"] == str(torch.get_num_threads())
    assert "PYTHONPATH" not in environment
    monkeypatch.setattr(peers.subprocess, "run", Pretended(bar.replace("  0%", "100%").replace("<?", "<0")))
    with pytest.raises(SystemExit, match="lm_eval: 336 requests were due, and 0 requests found"):
        peers.lm_eval(ladder, tmp_path)


def test_a_run_of_optimum_benchmark_adds_up_its_seconds(
    peers: Any, ladder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        for number in range(16):
            folder = tmp_path / "jobs" / str(number)
            folder.mkdir(parents=True)
            report = {"generate": {"latency": {"count": 1, "total": 0.5}}}
            (folder / "benchmark_report.json").write_text(json.dumps(report))

    monkeypatch.setattr(peers.subprocess, "run", Pretended("", after=write))
    assert peers.optimum_benchmark(ladder, tmp_path) == 8.0
    (tmp_path / "second").mkdir()
    monkeypatch.setattr(peers.subprocess, "run", Pretended(""))
    with pytest.raises(SystemExit, match="16 jobs of one call were due, 0 reports found"):
        peers.optimum_benchmark(ladder, tmp_path / "second")


@pytest.mark.parametrize("name", ["lm_eval", "optimum_benchmark"])
def test_a_peer_is_installed_once(peers: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = Pretended("")
    monkeypatch.setattr(peers.subprocess, "run", pretended)
    peers.install(name)
    steps = [command[1:4] for command, _ in pretended.calls]
    assert [step[1] for step in steps] == ["venv", "pip", "pip"]
    assert pretended.calls[-1][0][-len(peers.REQUIREMENTS[name]) :] == list(peers.REQUIREMENTS[name])
    pins = (peers.CACHE / name / "constraints.txt").read_text().splitlines()
    assert [pin for pin in pins if pin.startswith("torch==")]
    assert (name == "lm_eval") == any(pin.startswith("transformers==") for pin in pins)
    peers.install(name)
    assert len(pretended.calls) == 3


def test_a_failed_installation_is_one_line_and_leaves_nothing(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = "Collecting\nERROR: No matching   distribution found for lm-eval\n[notice] A new release of pip\n\n"
    monkeypatch.setattr(peers.subprocess, "run", Pretended(printed, status=1))
    with pytest.raises(SystemExit) as stopped:
        peers.install("lm_eval")
    line = "lm_eval: its pip failed with status 1: ERROR: No matching distribution found for lm-eval "
    assert stopped.value.code == line + "(see .peers/lm_eval.log)"
    assert [path.name for path in peers.CACHE.iterdir()] == ["lm_eval.log"]


def test_peers_need_the_packaged_model() -> None:
    command = [sys.executable, str(BENCHMARKS / "sweep.py"), "--random", "tiny", "--peers", "lm_eval"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--peers: they read the packaged model" in done.stderr
