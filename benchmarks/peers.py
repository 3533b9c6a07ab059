"""Two other harnesses on the grid of sweep.py, as their users run them, each in an environment and process of its own.

Both get the packaged model in the folder that decodebench has converted, its dtype, as many threads, and exactly as
many new tokens for each text: end tokens are suppressed by `min_new_tokens`. Both call `generate`, once for each
strategy and batch, with the numbers of `generation_config_fields`. What they do otherwise:

- `lm_eval`: EleutherAI's lm-evaluation-harness, one call for all strategies, so the model is loaded once. A strategy is
  a task (`generate_until`, metric `bypass`) on a local file with the texts of our prompts; a batch has as many rows as
  there are prompts. It takes one text for a request (`num_return_sequences` above 1 fails), so three samples are
  `repeats: 3`, and a beam search that returns five texts returns its best one here: the search itself is the same.
- `optimum_benchmark`: Hugging Face's optimum-benchmark, one call with one job for each strategy, each job in a process
  of its own that loads the model (its default launcher), no warm-up, one iteration. It has no prompts: its input is
  random tokens, as many rows as we have prompts, all of the median length of ours. That is another input with the same
  number of new tokens. `num_return_sequences` passes. Release 0.6.0 needs a transformers below 5, so it gets one.

Seconds are of the whole process (start, imports, loading, decoding, results) and of the decoding alone, as the peer
reports it: lm_eval's progress bar, in whole seconds; optimum-benchmark's latencies of `generate`, added up.

The first use installs a peer into `.peers/NAME`, at the versions below and the torch of constraints.txt, which takes
one to two minutes and 1.5 to 1.8 GB where torch is the CPU build. What a peer printed last is in `.peers/NAME.log`.

    python benchmarks/sweep.py --dtype bfloat16 --no-loop --no-batched --peers lm_eval optimum_benchmark
    python benchmarks/sweep.py --quick --dtype bfloat16 --no-loop --no-batched --peers lm_eval
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
import yaml

from decodebench.deploy.generate import generation_config_fields
from decodebench.models.packaged import model_folder
from decodebench.strategies import Strategy
from work import Work

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".peers"

REQUIREMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lm_eval": ("lm-eval[hf]==0.4.13",),
        "optimum_benchmark": ("optimum-benchmark==0.6.0", "transformers==4.57.6"),
    }
)
"""What pip installs for each peer."""

_OWN_TRANSFORMERS = ("optimum_benchmark",)
"""Peers that need other versions than those of constraints.txt; of these they get torch alone."""


# --- environments ---------------------------------------------------------------------------------------------------


def constraints(name: str) -> str:
    """The lines of constraints.txt that hold for the peer: all, or torch where it needs a transformers of its own."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return "".join(f"{one}\n" for one in lines if name not in _OWN_TRANSFORMERS or one.startswith("torch=="))


def install(name: str) -> None:
    """Make the peer's environment, unless it is there with these very requirements.

    An environment counts once its stamp is written, at the end; one without is removed. SystemExit, in one line: a
    command failed.
    """
    folder = CACHE / name
    stamp, pins = folder / "installed.json", folder / "constraints.txt"
    wanted = json.dumps({"requirements": REQUIREMENTS[name], "constraints": constraints(name)})
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"{name}: installing {' '.join(REQUIREMENTS[name])} into {folder.relative_to(CACHE.parent)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    try:
        run(name, "its environment", [sys.executable, "-m", "venv", str(folder)], os.environ)
        pins.write_text(constraints(name), encoding="utf-8")
        run(name, "its pip", [*pip, "-U", "pip"], os.environ)
        run(name, "its installation", [*pip, "-c", str(pins), *REQUIREMENTS[name]], os.environ)
        stamp.write_text(wanted, encoding="utf-8")
    except BaseException:  # an interrupt leaves half of it as well
        shutil.rmtree(folder, ignore_errors=True)
        raise


def run(name: str, what: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the command printed. SystemExit, in one line: it failed."""
    # A path of ours would bring our package and its Hydra plugins into the peer's process.
    inherited = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=inherited,
        check=False,
    )
    CACHE.mkdir(exist_ok=True)
    (CACHE / f"{name}.log").write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        log = f"{CACHE.name}/{name}.log"
        raise SystemExit(f"{name}: {what} failed with status {done.returncode}: {_last_line(done.stdout)} (see {log})")
    return done.stdout


def _last_line(printed: str) -> str:
    """The last line that says something; pip warns of package folders and of its own releases after its error."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    said = [line for line in lines if line and not line.startswith(("WARNING:", "[notice]"))]
    return said[-1][:300] if said else "it printed nothing"


def _offline(scratch: Path) -> dict[str, str]:
    """The environment of a peer's process: our threads, no network, its caches in the scratch folder."""
    return dict(os.environ) | {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(scratch / "cache"),
    }


# --- the same work --------------------------------------------------------------------------------------------------


def generate_kwargs(strategy: Strategy, new_tokens: int) -> dict[str, Any]:
    """Keywords of `generate` that decode by the strategy, exactly so many tokens; those that peers set are left out."""
    fields = generation_config_fields(strategy, eos_ids=(), pad_id=0, limit=new_tokens, min_new_tokens=new_tokens)
    return {
        key: value
        for key, value in fields.items()
        if value is not None and key not in ("pad_token_id", "use_cache")  # lm_eval would pass them twice
    }


def lm_eval_tasks(work: Work, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the prompts and one task for each strategy into the folder; the tasks by their names."""
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in work.texts]
    prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tasks = {}
    for number, strategy in enumerate(work.strategies.values()):
        keywords = generate_kwargs(strategy, work.new_tokens)
        del keywords["num_return_sequences"]
        tasks[f"decodebench_{number:02d}"] = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(prompts)}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{text}}",
            "doc_to_target": "",
            "generation_kwargs": keywords | {"until": []},  # without it, a blank line would end a text
            "repeats": strategy.samples,
            "metric_list": [{"metric": "bypass"}],
        }
    for name, task in tasks.items():
        _write_yaml(folder / f"{name}.yaml", {"task": name} | task)
    return tasks


def lm_eval(work: Work, folder: Path) -> float:
    """Run lm_eval on the work; its seconds of decoding alone. SystemExit, in one line: it failed."""
    tasks = lm_eval_tasks(work, folder)
    command = [
        *(str(CACHE / "lm_eval" / "bin" / "lm_eval"), "run", "--model", "hf"),
        *("--model_args", f"pretrained={model_folder()},dtype={work.dtype}"),
        *("--tasks", ",".join(tasks), "--include_path", str(folder)),
        *("--batch_size", str(len(work.texts)), "--device", str(work.device)),
        *("--output_path", str(folder / "texts"), "--log_samples"),  # what it wants where no metric is computed
    ]
    printed = run("lm_eval", "its run", command, _offline(folder))
    return progress_seconds(printed, sum(task["repeats"] for task in tasks.values()) * len(work.texts))


def progress_seconds(printed: str, requests: int) -> float:
    """Seconds of lm_eval's progress bar for so many requests. SystemExit: there is no such bar, so work is missing."""
    bars = re.findall(r"generate_until requests: 100%[^\r\n]*?(\d+)/\d+ \[([\d:]+)<", printed)
    if not bars or int(bars[-1][0]) != requests:
        found = f"{bars[-1][0]} requests" if bars else "no progress bar"
        raise SystemExit(f"lm_eval: {requests} requests were due, and {found} found (see {CACHE.name}/lm_eval.log)")
    seconds = 0
    for part in bars[-1][1].split(":"):
        seconds = 60 * seconds + int(part)
    return float(seconds)


def optimum_jobs(work: Work, folder: Path) -> list[str]:
    """Write what all jobs share (peer.yaml) and what each strategy adds into the folder; the jobs' names."""
    device = {"device": work.device.type} | ({"device_ids": "0"} if work.device.type == "cuda" else {})
    rows = {"batch_size": len(work.prompts), "sequence_length": statistics.median_low(map(len, work.prompts))}
    shared = {
        "defaults": ["benchmark", {"backend": "pytorch"}, {"launcher": "process"}, {"scenario": "inference"}, "_self_"],
        "name": "peer",
        "backend": {
            **device,
            "model": str(model_folder()),
            "library": "transformers",
            "task": "text-generation",
            "torch_dtype": work.dtype,
        },
        "scenario": {"input_shapes": rows, "warmup_runs": 0, "iterations": 1, "duration": 0},
        "hydra": {"job": {"chdir": True}, "sweep": {"dir": str(folder / "jobs"), "subdir": "${hydra.job.num}"}},
    }
    _write_yaml(folder / "peer.yaml", shared)
    (folder / "strategy").mkdir()
    jobs = []
    for number, strategy in enumerate(work.strategies.values()):
        jobs.append(f"strategy_{number:02d}")
        scenario = {"scenario": {"generate_kwargs": generate_kwargs(strategy, work.new_tokens)}}
        _write_yaml(folder / "strategy" / f"{jobs[-1]}.yaml", scenario, "# @package _global_\n")
    return jobs


def optimum_benchmark(work: Work, folder: Path) -> float:
    """Run optimum-benchmark on the work; its seconds of decoding alone. SystemExit, in one line: it failed."""
    jobs = optimum_jobs(work, folder)
    command = [
        str(CACHE / "optimum_benchmark" / "bin" / "optimum-benchmark"),
        *("--config-dir", str(folder), "--config-name", "peer", "--multirun", f"+strategy={','.join(jobs)}"),
    ]
    run("optimum_benchmark", "its run", command, _offline(folder))
    reports = list((folder / "jobs").glob("*/benchmark_report.json"))
    latencies = [json.loads(one.read_text(encoding="utf-8"))["generate"]["latency"] for one in reports]
    if len(latencies) != len(jobs) or any(latency["count"] != 1 for latency in latencies):
        raise SystemExit(f"optimum_benchmark: {len(jobs)} jobs of one call were due, {len(latencies)} reports found")
    return float(sum(latency["total"] for latency in latencies))


def _write_yaml(file: Path, content: dict[str, Any], head: str = "") -> None:
    file.write_text(head + yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


# --- contenders -----------------------------------------------------------------------------------------------------

RUNS: Mapping[str, Callable[[Work, Path], float]] = MappingProxyType(
    {"lm_eval": lm_eval, "optimum_benchmark": optimum_benchmark}
)


class Peer:
    """A peer as a contender, installed when it is made; `generation_s` has its seconds of decoding for each call."""

    def __init__(self, name: str) -> None:
        install(name)
        self.name = name
        self.generation_s: list[float] = []

    def __call__(self, work: Work) -> None:
        with TemporaryDirectory() as folder:
            self.generation_s.append(RUNS[self.name](work, Path(folder)))
