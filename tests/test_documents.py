"""What the documents say can be done, can be done; what they name, exists."""

import itertools
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from decodebench.__main__ import main
from decodebench.errors import DecodebenchError
from decodebench.plan.cells import Plan

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```", CONTRIBUTING, re.M | re.S))
"""The files that CONTRIBUTING.md shows, by name."""


def commands(name: str) -> list[str]:
    """Every launch that a document shows, without its comment; a word in capitals is the user's to fill in."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"python -m decodebench (?!score )([^`\n]*=[^`\n]*)", text)
    return sorted({one.split("  #")[0].strip() for one in found if not re.search(r"\b(NAME|FOLDER|FILE)\b", one)})


SHOWN = [(name, one) for name in ("README.md", "docs/performance.md", "docs/data.md") for one in commands(name)]


class ChosenError(DecodebenchError):
    """Ends a choice behind the plan of its first half."""

    exit_code = 77


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that would have been executed; in a folder with the prompts and the questions of the README."""
    planned: list[Plan] = []

    def execute(plan: Plan, **_: object) -> None:
        planned.append(plan)
        if plan.jobs[0].cell.config["choose"]["families"]:
            raise ChosenError("what comes next is chosen by what was decoded")

    monkeypatch.setattr("decodebench.choosing.flow.execute", execute)
    monkeypatch.setattr("decodebench.models.packaged.check_available", lambda: None)
    monkeypatch.chdir(tmp_path)
    for name, start in (("prompts.jsonl", r"\{"), ("questions.csv", "text;reference")):
        lines = re.search(rf"^```\n({start}.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
        assert lines is not None
        Path(name).write_text(lines[1], encoding="utf-8")
    return planned


@pytest.mark.parametrize(("document", "command"), SHOWN, ids=lambda text: text)
def test_every_command_shown_is_accepted(document: str, command: str, plans: list[Plan], tmp_path: Path) -> None:
    if "prompts=hub" in command:
        pytest.skip("reads the hub")
    assert main(shlex.split(command)) == (ChosenError.exit_code if "experiment=choose" in command else 0)
    assert plans
    there = sorted(path.name for path in tmp_path.iterdir())
    assert there == ["prompts.jsonl", "questions.csv"], "Hydra must write nothing"


def test_grids_are_as_large_as_they_look(plans: list[Plan]) -> None:
    strategies = len(list((ROOT / "conf/strategy").glob("*.yaml")))
    for command, cells in (("strategy=glob(*)", strategies), ("strategy=top_p strategy.top_p=0.8,0.9,0.95", 3)):
        assert main(["-m", *command.split()]) == 0
        assert len(plans.pop().jobs) == cells


def test_a_sweep_without_a_name_is_one_run_though_time_goes_on(
    plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    clock = SimpleNamespace(now=lambda: SimpleNamespace(strftime=lambda _: f"second-{next(ticks)}"))
    monkeypatch.setattr("hydra.core.utils.datetime", clock)
    assert main(["-m", "strategy=beam,sample"]) == 0
    assert [(plan.name[:7], len(plan.jobs)) for plan in plans] == [("second-", 2)]


def test_the_strategy_of_contributing_runs_from_a_folder_of_ones_own(
    plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("top_a.py", "my_conf/strategy/top_a.yaml"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(EXAMPLES[name], encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    command = re.search(r"^python -m decodebench (--config-dir my_conf .*)$", CONTRIBUTING, re.M)
    assert command is not None
    assert main(command[1].split()) == 0
    assert [job.cell.strategy for job in plans[0].jobs] == ["top_p", "top_a"]
    assert plans[0].jobs[1].strategy.top_a == 0.2
    assert not plans[0].jobs[1].strategy.in_transformers

    test = _module("test_top_a", EXAMPLES["test_top_a.py"])
    test.test_keeps_what_the_definition_keeps()
    monkeypatch.delitem(sys.modules, "top_a")


def test_the_metric_of_contributing_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    from decodebench.metrics import Metric, table

    words = _module("words", EXAMPLES["src/decodebench/metrics/words.py"])
    row = re.search(r"^```python\n( {4}Metric\(.*?)^```", CONTRIBUTING, re.M | re.S)
    assert row is not None
    rows = eval(f"(\n{row[1]})", {"Metric": Metric, "words": words})  # the row as the document has it
    monkeypatch.setattr(table, "METRICS", rows)
    test = _module("test_metrics_words", EXAMPLES["tests/metrics/test_words.py"])
    test.test_word_length_is_one_ratio_over_all_texts()
    test.test_no_word_is_none_with_a_reason()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_files_and_tests_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    files = set(re.findall(r"(?<![\w/.-])((?:src|tests|conf|docs|notebooks)/[\w./-]*\w)", text))
    if document.name == "CONTRIBUTING.md":
        files -= EXAMPLES.keys()
    missing = {name for name in files if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}*"))}
    tests = re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)
    missing |= {f"{f}::{t}" for f, t in tests if f"def {t}(" not in (ROOT / f).read_text(encoding="utf-8")}
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    missing |= {name for name in linked if not (document.parent / name).exists()}
    assert missing == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_at_most_120_columns_wide(document: Path) -> None:
    """Tables, code and links are as wide as they must be."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S).splitlines()
    wide = [line for line in prose if len(line) > 120 and not line.lstrip().startswith("|") and "](" not in line]
    assert wide == []


@pytest.mark.parametrize("document", sorted(ROOT.glob("docs/decisions/*.md")), ids=lambda path: path.stem)
def test_a_decision_names_the_test_that_guards_it(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    parts = re.findall(r"^\*\*(\w+)\b[^*]*\.\*\*", text, re.M)
    assert parts == ["Problem", "Decision", "Consequences", "Guarded"]
    assert re.search(r"tests/[\w/]+\.py::\w+", text.split("**Guarded")[1])


def _module(name: str, code: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(code, f"{name} of CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_every_strategy_has_a_row_in_the_docs() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/strategies.md").read_text(encoding="utf-8"), re.M)
    assert {path.stem for path in (ROOT / "conf/strategy").glob("*.yaml")} <= set(rows)
