"""Warnings of a run: from where they arise to the manifest and every report, once, and kept over resumes."""

import json
from pathlib import Path
from typing import Any

import pytest

from decodebench.models.loading import release
from launches import launch, manifest, one_thread, without_plots
from tiny import build_tiny


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    without_plots(monkeypatch)
    build_tiny("llama", tmp_path / "model")
    prompts = [{"id": "plain", "text": "오늘은 비가"}, {"id": "pasted", "text": "<bos>The old boat"}]
    lines = "".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts)
    (tmp_path / "prompts.jsonl").write_text(lines, encoding="utf-8")
    yield from one_thread()
    release()


RUN = (
    *("-m", "model=local", "model.path=model", "prompts=file", "prompts.path=prompts.jsonl", "latency=skip"),
    *("strategy.max_new_tokens=4", "name=x"),
)


def test_a_warning_is_in_the_manifest_and_in_each_report_and_stays_there() -> None:
    done = launch(*RUN, "strategy=greedy,beam")
    assert done.code == 0, done.err
    (entry,) = manifest()["warnings"]
    assert entry["cells"] == [cell["id"] for cell in manifest()["cells"]]
    assert entry["metric"] is None
    for part in ("1 of 2 prompts (pasted)", "two BOS tokens (ids 0, 0)", "take it out"):
        assert part in entry["warning"]
    assert "two BOS" in done.out
    for page in ("report.md", "report.html"):
        text = Path("results", "x", page).read_text(encoding="utf-8")
        assert "every cell" in text
        assert "two BOS tokens" in text

    # one strategy more: what was said of the cells before holds of all, and is there once
    assert launch(*RUN, "strategy=greedy,beam,top_k").code == 0
    (entry,) = manifest()["warnings"]
    assert len(entry["cells"]) == 3
    assert launch("report", "results/x").code == 0
    assert "two BOS" in Path("results", "x", "report.md").read_text(encoding="utf-8")
