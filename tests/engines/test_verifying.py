"""`verify` with the real llama.cpp: the settings of an export pass, and three wrong ones are found."""

import json
import os
import sys
from pathlib import Path

import pytest

from known_gguf import write_known_gguf
from known_logits import BIGRAM, build_known
from launches import launch, one_thread, without_report

PYTHON = os.environ.get("DECODEBENCH_LLAMA_CPP_PYTHON", sys.executable)

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of greedy search and of a sampler with numbers of several rules and a penalty."""
    folder = tmp_path_factory.mktemp("verify")
    build_known(folder / "known", BIGRAM)
    write_known_gguf(folder / "known.gguf", BIGRAM)
    texts = {"ends": "D", "five": "Z", "long": "B" * 20 + "Z" * 70 + "Y", "two": "A"}
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()]
    (folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DECODEBENCH_CACHE", str(folder / "cache"))
        without_report(patch)
        common = ["model=local", f"model.path={folder / 'known'}", "model.device=cpu", "latency=skip", "prompts=file"]
        common += ["prompts.path=prompts.jsonl", "strategy.max_new_tokens=6"]
        numbers = ["strategy.temperature=2.0", "strategy.top_k=4", "strategy.top_p=0.8"]
        assert launch(*common, "name=greedy", "strategy=greedy").code == 0
        done = launch(*common, "name=sample", "strategy=sample", *numbers, "strategy.repetition_penalty=1.5")
        assert done.code == 0, done.err
    return folder / "results"


def verify(run_dir: Path, cell: str, *flags: str) -> tuple[int, str]:
    model = str(run_dir.parent / "known.gguf")
    words = ["verify", str(run_dir / cell), cell, "--to", "llama_cpp", "--model", model, "--python", PYTHON]
    done = launch(*words, *flags)
    return done.code, done.out + done.err


@pytest.mark.engine("llama_cpp")
def test_greedy_texts_are_equal(run_dir: Path) -> None:
    code, said = verify(run_dir, "greedy")
    assert (code, "texts: 4 of 4 equal" in said) == (0, True), said


@pytest.mark.engine("llama_cpp")
def test_an_export_passes_and_wrong_settings_are_found(run_dir: Path, tmp_path: Path) -> None:
    code, said = verify(run_dir, "sample")
    assert code == 0, said
    done = launch("export", str(run_dir / "sample"), "sample", "--to", "llama_cpp", "-o", str(tmp_path / "out"))
    assert done.code == 0, done.err
    right = json.loads((tmp_path / "out" / "settings.json").read_text())
    file = tmp_path / "settings.json"
    last = ["penalties", "dry", "top_k", "top_p", "temperature"]
    for wrong in ({"samplers": last}, {"repeat_last_n": 64}, {"top_k": 2}):
        file.write_text(json.dumps(right | wrong))
        code, said = verify(run_dir, "sample", "--settings", str(file))
        assert code == 1, (wrong, said)
