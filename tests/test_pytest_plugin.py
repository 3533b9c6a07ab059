"""The pytest plugin: a test for each finding, in a pytest of its own; nothing heavy where its options are not given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    """pytest there, with this plugin and no other of those that are installed; its exit code and what it said."""
    words = [sys.executable, "-m", "pytest", "-p", "decodebench.pytest_plugin", "-p", "no:cacheprovider", "-rA"]
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
    failed = [line for line in said.splitlines() if line.startswith("FAILED")]
    assert [line.split(" - ")[0].removeprefix("FAILED ") for line in failed] == [
        "decodebench::some/greedy::tokens",
        "decodebench::some/sample::length (statistical)",
    ]
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


def test_nothing_heavy_is_imported_without_the_options(folder: Path) -> None:
    (folder / "test_light.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    loaded = {name for name in sys.modules if name.startswith('decodebench')}\n"
        "    assert loaded == {'decodebench', 'decodebench.pytest_plugin'}\n"
        "    assert not {'numpy', 'pandas', 'torch', 'yaml', 'hydra'} & sys.modules.keys()\n"
    )
    code, said = run_pytest(folder, "test_light.py")
    (folder / "test_light.py").unlink()
    assert code == 0, said
