"""A choice from the command line, beside the same settings and prompts one by one through `generate`.

The choice is the whole process: start, loading, decoding both halves, scoring, report. `generate` gets the model in
memory, the GenerationConfig of each cell, and one prompt a call (with the cell's number of samples), as a loop over
settings and prompts would; a random part of its calls is timed, in random order, and the rest counted as these on
average (with a 95% interval of that mean).

    python benchmarks/choosing_time.py [--part 0.05] [--prompts capitals_en] [--families top_p min_p top_k beam]
"""

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from decodebench.deploy import generation_config, quiet
from decodebench.models import ModelConfig, encode, load
from decodebench.store import RunStore


def choose(results: Path, options: argparse.Namespace) -> tuple[float, Path]:
    """Seconds of the command, and its run folder."""
    command = [sys.executable, "-m", "decodebench", "-m", "experiment=choose", f"prompts={options.prompts}"]
    command += ["task=exact_match", "task.extract=first_line", "strategy.max_new_tokens=8", f"results={results}"]
    command += [f"choose.families=[{','.join(options.families)}]", f"choose.trials={options.trials}", "name=choice"]
    start = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - start
    print(done.stdout[: done.stdout.find("\n\n")])
    return seconds, results / "choice"


def calls(run_dir: Path) -> list[tuple[dict[str, object], str]]:
    """What a loop over settings and prompts would give to `generate`: a GenerationConfig's fields and a prompt."""
    store = RunStore(run_dir)
    texts: dict[str, list[str]] = {}
    for prompt in store.prompts:
        texts.setdefault(prompt.prompts, []).append(prompt.text)
    return [(cell["generation_config"], text) for cell in store.manifest["cells"] for text in texts[cell["prompts"]]]


def seconds_of(some: list[tuple[dict[str, object], str]]) -> list[float]:
    """The seconds of each call, after three to warm up."""
    loaded = load(ModelConfig(name="gemma3_270m", source="packaged", dtype="float32"))
    found = []
    for fields, text in [*some[:3], *some]:
        ids = torch.tensor([encode(loaded, text)])
        with quiet(), torch.inference_mode():
            start = time.monotonic()
            loaded.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=generation_config(fields))
            found.append(time.monotonic() - start)
    return found[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=float, default=0.05, help="of the calls of generate that is timed")
    parser.add_argument("--prompts", default="capitals_en")
    parser.add_argument("--families", nargs="+", default=["top_p", "min_p", "top_k", "beam"])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, run_dir = choose(Path(folder), options)
        told = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["seconds"]
        every = calls(run_dir)
    random.Random(0).shuffle(every)
    some = every[: max(30, round(options.part * len(every)))]
    seconds = seconds_of(some)
    mean, error = statistics.mean(seconds), 1.96 * statistics.stdev(seconds) / math.sqrt(len(seconds))
    whole, low, high = (len(every) * value for value in (mean, mean - error, mean + error))
    print(f"choice: {ours:.1f} s for the whole process ({', '.join(f'{k} {v:.1f}' for k, v in told.items())})")
    print(f"generate: {len(some)} of {len(every)} calls at {mean:.3f} s: {whole:.0f} s [{low:.0f}, {high:.0f}]")
    print(f"generate / choice: {whole / ours:.1f} [{low / ours:.1f}, {high / ours:.1f}]")
    if options.json:
        figures = {"choice_s": ours, "generate_s": whole, "low_s": low, "high_s": high, "calls": len(every)}
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
