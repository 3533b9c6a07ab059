"""`run_engine`: what is told to a driver, and what a user is told of an engine that cannot be run."""

import logging
import re
import sys
from pathlib import Path

import pytest

from decodebench.deploy.engines import ENGINES, running
from decodebench.deploy.engines.running import DRIVERS, Ran, is_installed, run_engine
from decodebench.errors import ConfigError

ECHO = """
import json, sys
asks = json.load(sys.stdin)
texts = [[prompt + [asks["seed"]]] * asks["draws"] for prompt in asks["prompts"]]
print("what an engine says while it loads")
print(json.dumps({"version": asks["settings"]["version"], "texts": texts}))
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver in the place of llama.cpp's, which counts as installed."""
    file = tmp_path / "llama_cpp.py"
    monkeypatch.setitem(running.DRIVERS, "llama_cpp", file)
    monkeypatch.setattr(running, "_module", lambda engine: "json")
    return file


def ran(version: str = "2026.10.11549", draws: int = 2) -> Ran:
    return run_engine("llama_cpp", "model.gguf", {"version": version}, [[1, 2], [3]], draws, 9)


def test_a_driver_is_told_everything_and_its_last_line_is_read(driver: Path, caplog: pytest.LogCaptureFixture) -> None:
    driver.write_text(ECHO, encoding="utf-8")
    assert ran() == Ran(version="2026.10.11549", texts=(((1, 2, 9), (1, 2, 9)), ((3, 9), (3, 9))))
    assert caplog.records == []


@pytest.mark.parametrize(("version", "is_warned"), [("2026.10.11549+cpu", False), ("2026.11.1", True)])
def test_another_version_is_a_warning(
    driver: Path, version: str, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    driver.write_text(ECHO, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert ran(version).version == version
    expected = [f"llama_cpp {version}: its settings were proven with 2026.10.11549, and may mean something else"]
    assert [record.getMessage() for record in caplog.records] == (expected if is_warned else [])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('print(\'{"error": "ValueError: no such key"}\'); raise SystemExit(1)', "ValueError: no such key"),
        ("raise KeyError('top_k')", "ended with exit code 1 and no answer; its last line is: KeyError: 'top_k'"),
        ("print('null')", "ended with exit code 0 and no answer; its last line is: (none)"),
        ("print('{}')", "ended with exit code 0 and no answer; its last line is: (none)"),
        ('print(\'{"version": "1", "texts": [[[1]]]}\')', "gave [1] texts for 2 prompts; allowed is 2 for each"),
    ],
)
def test_a_driver_that_fails_is_one_line(driver: Path, code: str, said: str) -> None:
    driver.write_text(code, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        ran()
    assert str(raised.value) == f"engine=llama_cpp: {said}"


def test_what_cannot_be_run_is_said() -> None:
    with pytest.raises(ConfigError, match=r"^engine=lama_cpp: cannot be run here; .*did you mean llama_cpp\?$"):
        run_engine("lama_cpp", "m", {}, [[1]], 1, 0)
    with pytest.raises(ConfigError, match=r"^engine=ollama: cannot be run here; allowed: "):
        run_engine("ollama", "m", {}, [[1]], 1, 0)
    with pytest.raises(ConfigError, match=r"^draws=0: allowed is a number from 1$"):
        run_engine("llama_cpp", "m", {}, [[1]], 0, 0)
    for prompts in ([], [[1], []]):
        with pytest.raises(ConfigError, match=r"^prompts=.*: allowed are one or more, each of 1\+ tokens$"):
            run_engine("llama_cpp", "m", {}, prompts, 1, 0)
    with pytest.raises(ConfigError, match=r"^python=no-such: .*; allowed is a Python interpreter from 3\.11$"):
        is_installed("llama_cpp", "no-such")


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_module", lambda engine: "no_such_engine")
    with pytest.raises(ConfigError) as raised:
        run_engine("llama_cpp", "m", {}, [[1]], 1, 0)
    assert str(raised.value) == (
        f"engine=llama_cpp: {sys.executable} has no package xllamacpp; allowed is an interpreter that has it "
        "(pip install 'decodebench[llama_cpp]')"
    )


def test_every_driver_is_an_engines_and_imports_nothing_of_ours() -> None:
    assert set(DRIVERS) <= set(ENGINES)
    for name, file in DRIVERS.items():
        assert not re.search("(from|import) decodebench", file.read_text(encoding="utf-8")), name
