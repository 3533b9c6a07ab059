"""The benchmarks run: on tiny random weights, with the figures that they promise. No timing is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("loop", [True, False])
def test_sweep(tmp_path: Path, loop: bool) -> None:
    figures = tmp_path / "figures.json"
    flags = [] if loop else ["--no-loop"]
    out = run(
        "sweep.py", "--random", "tiny", "--quick", "--dtype", "float32", "--rounds", "2", "--json", str(figures), *flags
    )
    read = json.loads(figures.read_text())
    contenders = {"batched", "packed", "one more"} | ({"loop"} if loop else set())
    assert set(read["seconds"]) == contenders
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in read["seconds"].values())
    assert (read["ratio_loop"] is not None) == loop
    assert read["ratio_batched"]["low"] <= read["ratio_batched"]["median"] <= read["ratio_batched"]["high"]
    # 5 strategies on 3 prompts: greedy 1, three samplers of 3 samples, beam returning 1: 11 texts a prompt
    assert read["counts"]["texts"] == 33
    assert read["counts"]["tokens_computed"] <= read["counts"]["tokens_alone"]
    assert read["floor_s"] == read["products_s"] + read["cache_reads_s"] > 0
    assert read["floor_ratio"] > 0
    assert read["ratio_one_more"]["median"] > 0
    assert "measured / floor" in out


def test_growth(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["--random", "tiny", "--dtype", "float32", "--repeats", "1", "--most", "8", "--json", str(figures)]
    run("growth.py", *arguments, "--plot", str(tmp_path / "growth.png"))
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


def test_scoring() -> None:
    printed = run("scoring.py", "--quick", "--references")
    assert "24 texts of 50 tokens: " in printed
