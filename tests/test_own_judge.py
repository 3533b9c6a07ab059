"""docs/own_judge.md, run as it stands: a judge in a file of one's own."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from decodebench.records import Judgement
from decodebench.store import read_records
from launches import launch, one_thread, texts, without_report

PAGE = (Path(__file__).parents[1] / "docs/own_judge.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S))
[COMMAND] = (shlex.split(line) for line in re.findall(r"^python -m decodebench (.*)$", PAGE, re.M))

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dirs: dict[str, Path]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    without_report(monkeypatch)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    small = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip", "strategy.max_new_tokens=4"]
    try:
        done = launch(*COMMAND, *small)
        assert (done.code, done.err) == (0, "")
        judge = sys.modules["my_pkg"].judge
    finally:
        sys.modules.pop("my_pkg", None)
    judgements = read_records(Path("results/judged/judgements.parquet"), Judgement)
    # Two questions, one text of greedy search and three of sampling: a tiny model's texts name neither.
    assert len(judgements) == len(texts("judged")) == 2 * (1 + 3)
    assert {judgement.value for judgement in judgements} == {0}
    assert (judge("It is Blue.", ("blue",), None), judge("", ("blue",), None)) == (True, None)


def test_the_page_is_as_short_as_it_says() -> None:
    assert len(PAGE.splitlines()) < 30
