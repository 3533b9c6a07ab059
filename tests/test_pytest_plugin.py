"""The pytest plugin: a test for each finding, in a pytest of its own; nothing heavy where its options are not given."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import decodebench.pytest_plugin
from decodebench.regression import make_baseline, write_baseline
from regression_runs import lengthened, stored_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, the baseline of the first, and a test of the user's own."""
    folder = tmp_path_factory.mktemp("plugin")
    write_baseline(folder / "then.base", make_baseline(stored_run(folder / "then")))
    lengthened(stored_run(folder / "now"))
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    (folder / "rules.yaml").write_text(
        "- {kind: statistical, metric: length, margin: 1, direction: higher}\n"
        "- {kind: statistical, metric: length, margin: 1, direction: lower, strategies: sample}\n"
    )
    return folder


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """pytest there, in this process, with this plugin and no other of those that are installed; its exit code and what
    it said.
    """
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        patch.chdir(folder)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        words = ["-rA", f"--rootdir={folder}", "--import-mode=importlib", *arguments]
        code = pytest.main(words, plugins=[decodebench.pytest_plugin])
    return int(code), out.getvalue()


def run_pytest_apart(folder: Path, *arguments: str) -> tuple[int, str]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "pytest", "-p", "decodebench.pytest_plugin", "-rA"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run([*words, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def against(run: str) -> list[str]:
    return ["--decodebench-baseline=then.base", f"--decodebench-run={run}"]


def test_a_run_against_itself_passes_beside_the_users_own_tests(folder: Path) -> None:
    code, said = run_pytest(folder, *against("then"))
    assert code == 0, said
    assert "PASSED test_own.py::test_own" in said
    assert "PASSED decodebench::some/greedy::tokens" in said
    assert "PASSED decodebench::some/sample::length (statistical)" in said
    assert "failed" not in said.splitlines()[-1]


def test_a_regression_fails_its_test_without_a_traceback(folder: Path) -> None:
    code, said = run_pytest(folder, *against("now"))
    assert code == 1
    assert failed(said) == FAILING[1:]
    assert "regression: other tokens for 12 of 12 prompts" in said
    assert "Traceback" not in said
    assert "raise " not in said


def test_rules_of_ones_own_and_k(folder: Path) -> None:
    code, said = run_pytest(folder, *against("now"), "--decodebench-rules=rules.yaml", "-k", "length and sample")
    assert code == 1
    assert "1 failed, 2 deselected" in said.splitlines()[-1]


def test_what_is_only_warned_of_and_what_cannot_be_told(folder: Path) -> None:
    (folder / "warn.yaml").write_text(
        "- {kind: exact, severity: warn}\n- {kind: bound, metric: self_bleu, at_most: 1}\n"
    )
    code, said = run_pytest(folder, *against("now"), "--decodebench-rules=warn.yaml")
    assert code == 0, said
    assert "DecodebenchWarning: some/greedy::tokens: regression: other tokens for 12 of 12 prompts" in said
    assert "cannot tell: no prompt has two texts to compare" in said


def test_runs_that_cannot_be_compared_fail_one_test(folder: Path) -> None:
    stored_run(folder / "less", strategies=("greedy",))
    code, said = run_pytest(folder, *against("less"))
    assert code == 1
    assert "FAILED decodebench::comparable" in said
    assert "cannot be compared: some / sample: the run has no such cells" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decodebench-run=now"], "belong together; --decodebench-baseline is missing"),
        (["--decodebench-baseline=then.base"], "belong together; --decodebench-run is missing"),
        (["--decodebench-rules=rules.yaml"], "--decodebench-rules=rules.yaml: has no effect without"),
        (["--decodebench-baseline=then.base", "--decodebench-run=nowhere"], "decodebench: nowhere: there is no such"),
        (["--decodebench-baseline=test_own.py", "--decodebench-run=now"], "decodebench: test_own.py: is no baseline"),
        ([*against("now"), "--decodebench-rules=test_own.py"], "decodebench: test_own.py: "),
    ],
)
def test_bad_options_are_usage_errors(arguments: list[str], message: str, folder: Path) -> None:
    code, said = run_pytest(folder, *arguments)
    assert code == 4
    assert message in said


@pytest.fixture
def failing(folder: Path, tmp_path: Path) -> Path:
    """The folder with a test of the user's own that fails, too, and no cache of pytest yet."""
    copy = shutil.copytree(folder, tmp_path / "failing", ignore=shutil.ignore_patterns(".pytest_cache"))
    (copy / "test_bad.py").write_text("def test_bad():\n    raise ValueError\n")
    return copy


FAILING = [
    "test_bad.py::test_bad",
    "decodebench::some/greedy::tokens",
    "decodebench::some/sample::length (statistical)",
]


def failed(said: str) -> list[str]:
    lines = [line.split(" - ")[0] for line in said.splitlines()]
    return [line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED")]


def test_last_failed_first_and_step_by_step_find_the_findings_again(failing: Path) -> None:
    """pytest keeps ids as texts and reads them again: --lf beside another failure left all failing findings out."""
    assert failed(run_pytest(failing, *against("now"))[1]) == FAILING
    for _ in range(2):
        code, said = run_pytest(failing, *against("now"), "--lf")
        assert (code, failed(said)) == (1, FAILING)
        assert "3 failed, 21 deselected" in said.splitlines()[-1]
    first = run_pytest(failing, *against("now"), "--ff", "-v")[1]
    ran = [line for line in first.splitlines() if re.search(r" (PASSED|FAILED|SKIPPED)", line)]
    assert ["FAILED" in line for line in ran[:4]] == [True, True, True, False]
    for status in ("no previously failed tests", "skipping 1 already passed items"):
        said = run_pytest(failing, *against("now"), "--sw", "test_own.py::test_own")[1]
        assert failed(said) == FAILING[1:2]
        assert f"stepwise: {status}" in said
    assert failed(run_pytest(failing, *against("now"), "--sw-skip", "test_own.py::test_own")[1]) == FAILING[1:]


def test_findings_have_ids_to_be_run_by(failing: Path) -> None:
    for word in FAILING[1:]:
        code, said = run_pytest(failing, *against("now"), word)
        assert (code, failed(said)) == (1, [word])
        assert "1 failed in" in said.splitlines()[-1]
    code, said = run_pytest(failing, *against("now"), "decodebench::some/greedy", "test_own.py::test_own")
    assert (code, failed(said)) == (1, FAILING[1:2])
    assert "1 failed, 11 passed, 1 skipped" in said.splitlines()[-1]
    said = run_pytest(failing, *against("now"), "--deselect", FAILING[1])[1]
    assert failed(said) == [FAILING[0], FAILING[2]]
    code, said = run_pytest(failing, *against("now"), "decodebench::some/greedyy::tokens")
    assert code == 4
    assert "ERROR: decodebench::some/greedyy::tokens: not found; allowed: decodebench::some/greedy::tokens, " in said


def test_what_only_warns_is_no_error_of_warnings(folder: Path) -> None:
    (folder / "warn.yaml").write_text("- {kind: exact, severity: warn}\n")
    for wanted, there in (("error", True), ("error::UserWarning", True), ("ignore", False)):
        code, said = run_pytest(folder, *against("now"), "--decodebench-rules=warn.yaml", "-W", wanted)
        assert code == 0, said
        assert ("DecodebenchWarning: some/greedy::tokens: regression" in said) == there


def test_under_xdist_what_cannot_be_checked_is_one_line(folder: Path) -> None:
    """The workers are not even started: an error of theirs is an INTERNALERROR of xdist."""
    wrong = (["--decodebench-run=nowhere"], [FAILING[1] + "x"], ["--decodebench-baseline=test_own.py"])
    for words in wrong:
        code, said = run_pytest(folder, "-p", "xdist", "-n2", *against("now"), *words)
        (line,) = filter(None, said.splitlines())
        assert (code, line.split(": ")[0]) == (4, "ERROR")


def test_under_xdist_all_workers_have_the_same_findings(failing: Path) -> None:
    run_pytest(failing, *against("now"), "--deselect", FAILING[0])
    code, said = run_pytest_apart(failing, "-p", "xdist", "-n1", *against("now"), "--lf", *FAILING[1:])
    assert (code, sorted(failed(said))) == (1, FAILING[1:])
    assert "2 failed in" in said.splitlines()[-1]


def test_nothing_heavy_is_imported_without_the_options(folder: Path) -> None:
    (folder / "test_light.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    loaded = {name for name in sys.modules if name.startswith('decodebench')}\n"
        "    assert loaded == {'decodebench', 'decodebench.pytest_plugin'}\n"
        "    assert not {'numpy', 'pandas', 'torch', 'yaml', 'hydra'} & sys.modules.keys()\n"
    )
    code, said = run_pytest_apart(folder, "test_light.py")
    (folder / "test_light.py").unlink()
    assert code == 0, said
