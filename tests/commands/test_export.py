"""`export RUN CELL --to ENGINE`: its files, what may be lost, and what it refuses; over the run of a tiny model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from decodebench.deploy.engines import ENGINES
from launches import launch, manifest, one_thread, without_report, write_prompts

threads = pytest.fixture(autouse=True, scope="module")(one_thread)
STRATEGIES = "strategy=greedy,beam,sample,repetition_penalty,min_p,mbr"


@pytest.fixture(scope="module")
def place(tiny_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run x of six strategies."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DECODEBENCH_CACHE", str(folder / "cache"))
        without_report(patch)
        write_prompts(folder)
        model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
        numbers = ["strategy.max_new_tokens=8", "name=x", STRATEGIES]
        assert launch("-m", *model, "prompts=file", "prompts.path=prompts.jsonl", *numbers).code == 0
    return folder


@pytest.fixture(autouse=True)
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def handed(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """settings.json, and translation.json by key."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    lines = json.loads((folder / "translation.json").read_text(encoding="utf-8"))
    assert all(set(line) == {"key", "value", "kind", "rule", "target"} for line in lines)
    return settings, {line["key"]: line for line in lines}


def refused(*words: str) -> str:
    """The one line of a command that is refused."""
    done = launch("export", "results/x", *words)
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1), done.err
    return done.err


def test_files_of_a_sampler() -> None:
    done = launch("export", "results/x", "sample", "--to", "llama_cpp")
    assert (done.code, done.err) == (0, "")
    cell = next(cell for cell in manifest()["cells"] if cell["strategy"] == "sample")
    folder = Path("results/x/export") / cell["id"] / "llama_cpp"
    settings, lines = handed(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["settings.json", "translation.json"]
    assert (settings["temperature"], settings["top_k"], settings["top_p"], settings["n_predict"]) == (0.75, 50, 0.95, 8)
    assert settings["samplers"] == ["penalties", "dry", "temperature", "top_k", "top_p"]
    assert lines["order"]["kind"] == "rewritten"
    assert (lines["top_k"]["kind"], lines["top_k"]["target"]) == ("exact", "top_k")
    assert lines["engine"]["rule"] == f"verified with xllamacpp {ENGINES['llama_cpp'].version}"
    assert f"# wrote {folder / 'settings.json'}" in done.out
    assert "# rewritten: order=['temperature', 'top_k', 'top_p'] (the order is set in the target)" in done.out
    assert launch("export", "results/x", cell["id"], "--to", "llama_cpp").out == done.out  # again, by its id


def test_what_else_an_engine_needs_is_written() -> None:
    assert launch("export", "results/x", "sample", "--to", "ollama", "-o", "o").code == 0
    lines = Path("o/Modelfile").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "FROM ./MODEL.gguf"
    assert {"PARAMETER temperature 0.75", "PARAMETER top_k 50", "PARAMETER num_predict 8"} <= set(lines)
    assert launch("export", "results/x", "sample", "--to", "mlx_lm", "-o", "m").code == 0
    compile(Path("m/sampler.py").read_text(encoding="utf-8"), "sampler.py", "exec")
    settings, _ = handed(Path("m"))
    assert settings["order"] == ["temperature", "top_k", "top_p"]
    assert (settings["temp"], settings["top_k"], settings["top_p"]) == (0.75, 50, 0.95)


def test_a_window_is_as_long_as_the_longest_text() -> None:
    """35 tokens of the longest prompt with <bos>, and 8 new ones: 64 is the next power of two."""
    assert launch("export", "results/x", "repetition_penalty", "--to", "llama_cpp", "-o", "r").code == 0
    settings, lines = handed(Path("r"))
    assert (settings["repeat_penalty"], settings["repeat_last_n"], settings["temperature"]) == (1.2, 64, 0.0)
    assert lines["repetition_penalty"]["kind"] == "rewritten"


def test_texts() -> None:
    assert launch("export", "results/x", "sample", "--to", "vllm", "--texts", "4", "-o", "four").code == 0
    assert handed(Path("four"))[0]["n"] == 4
    assert "ollama gives one text for each prompt; allowed is 1" in refused("sample", "--to", "ollama", "--texts", "2")
    for wrong in ("0", "-1", "x", "1.5"):
        assert f"--texts={wrong}: allowed is a number of texts from 1" in refused(
            "sample", "--to", "vllm", "--texts", wrong
        )


def test_what_is_lost_must_be_accepted() -> None:
    """Of beam search vLLM has no early stop, no n-gram rule, and another length."""
    said = refused("beam", "--to", "vllm")
    assert re.search(
        r"--to=vllm: \w+=\S+ is not translatable \(.+\); allowed is --accept \w+, which leaves it out", said
    )
    assert said.rstrip().endswith("or an engine that has all: openvino_genai")
    keys = "no_repeat_ngram_size,length_penalty,early_stopping"
    done = launch("export", "results/x", "beam", "--to", "vllm", "--accept", keys, "-o", "b")
    assert (done.code, done.err) == (0, "")
    settings, lines = handed(Path("b"))
    assert settings["beam_width"] == 5
    assert {key for key, line in lines.items() if line["kind"] == "not translatable"} == set(keys.split(","))
    assert all(lines[key]["rule"] and lines[key]["target"] is None for key in keys.split(","))
    assert done.out.count("# not translatable: ") == 3


def test_what_may_not_be_accepted() -> None:
    said = refused("sample", "--to", "vllm", "--accept", "top_k")
    assert (
        "--accept=top_k: vllm can be told this, or the cell has none; allowed is what is not translatable: noth" in said
    )
    assert "--accept=top_k: transformers loses nothing" in refused("sample", "--accept", "top_k")
    said = refused("beam", "--to", "llama_cpp", "--accept", "strategy")
    assert "strategy=Beam is not translatable (the engine has no beam search)" in said
    assert "ctranslate2" not in said  # it has no prompt's n-grams under beam search
    assert "openvino_genai" in said


def test_a_cell_that_no_engine_can_run() -> None:
    assert "strategy=MBR: no engine outside has this rule" in refused("mbr", "--to", "vllm")


def test_names_that_are_none() -> None:
    said = refused("sample", "--to", "lama_cpp")
    assert said.startswith("decodebench: error: --to=lama_cpp: allowed: ctranslate2, llama_cpp, ")
    assert said.endswith("did you mean llama_cpp?\n")
    assert "export smaple: no such cell" in refused("smaple", "--to", "vllm")
    done = launch("export", "nowhere", "sample", "--to", "vllm")
    assert (done.code, len(done.err.splitlines())) == (3, 1)


def test_another_file_in_the_way() -> None:
    Path("taken").mkdir()
    Path("taken/settings.json").write_text("{}", encoding="utf-8")
    assert "taken/settings.json: is there, and says something else" in refused("sample", "--to", "vllm", "-o", "taken")
    assert sorted(path.name for path in Path("taken").iterdir()) == ["settings.json"]
