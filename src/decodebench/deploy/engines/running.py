"""A real engine, run on prompts with the settings of an export: its driver in a process of its own, so that the engine
may live in an environment of its own."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decodebench.deploy.engines import ENGINES
from decodebench.errors import ConfigError, allowed_names, one_line

log = logging.getLogger(__name__)
DRIVERS = {path.stem: path for path in sorted((Path(__file__).parent / "drivers").glob("[a-z]*.py"))}
"""The script that runs an engine, by the engine's name."""
_WITHOUT_EXTRA = ("vllm",)
_MOST = 300  # characters of what an engine says of an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What an engine made: its version, and for each prompt the token ids of each of its texts, without the prompt."""

    version: str
    texts: tuple[tuple[tuple[int, ...], ...], ...]


def is_installed(engine: str, python: str = sys.executable) -> bool:
    """Whether this interpreter has the engine's package. Raises ConfigError for an engine that has no driver, and for
    an interpreter that cannot be run."""
    _driver(engine)
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({_module(engine)!r}) is None)"
    return _started([python, "-P", "-c", code], python).returncode == 0


def run_engine(
    engine: str,
    model: str | Path,
    settings: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    draws: int,
    seed: int,
    python: str = sys.executable,
) -> Ran:
    """`draws` texts of each prompt (token ids), made by the engine that `python` has, with the `settings` of an export.

    Draws are independent; a greedy search gives the same text `draws` times. Another version than the one that the
    engine's table was proven with is a warning. Raises ConfigError for an engine that has no driver or is not
    installed, and with the engine's own words for one that fails.
    """
    driver = _driver(engine)
    if draws < 1:
        raise ConfigError(f"draws={draws}: allowed is a number from 1")
    if not prompts or not all(prompts):
        raise ConfigError(f"prompts={[list(prompt) for prompt in prompts]}: allowed are one or more, each of 1+ tokens")
    if not is_installed(engine, python):
        raise ConfigError(f"engine={engine}: {python} has no package {ENGINES[engine].package}; {_remedy(engine)}")
    asks = {
        "model": str(model),
        "settings": dict(settings),
        "prompts": [list(prompt) for prompt in prompts],
        "draws": draws,
        "seed": seed,
    }
    ran = _answer(engine, _started([python, "-P", str(driver)], python, json.dumps(asks)))
    if [len(texts) for texts in ran.texts] != [draws] * len(prompts):
        raise ConfigError(
            f"engine={engine}: gave {[len(texts) for texts in ran.texts]} texts for {len(prompts)} prompts; allowed is "
            f"{draws} for each"
        )
    proven = ENGINES[engine].version
    if proven is not None and re.split(r"[-+]", ran.version)[0] != proven:
        log.warning("%s %s: its settings were proven with %s, and may mean something else", engine, ran.version, proven)
    return ran


def _driver(engine: str) -> Path:
    if engine not in DRIVERS:
        raise ConfigError(f"engine={engine}: cannot be run here; {allowed_names(engine, DRIVERS)}")
    return DRIVERS[engine]


def _module(engine: str) -> str:
    """The package as it is imported."""
    return ENGINES[engine].package.replace("-", "_")


def _remedy(engine: str) -> str:
    if engine in _WITHOUT_EXTRA:
        return f"allowed is an interpreter that has it (pip install {ENGINES[engine].package})"
    return f"allowed is an interpreter that has it (pip install 'decodebench[{engine}]')"


def _started(command: list[str], python: str, told: str = "") -> subprocess.CompletedProcess[str]:
    """The finished process. `-P` keeps a driver's folder off the path: drivers are called as the engines are."""
    try:
        return subprocess.run(command, input=told, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ConfigError(f"python={python}: {one_line(error)}; allowed is a Python interpreter from 3.11") from error


def _answer(engine: str, done: subprocess.CompletedProcess[str]) -> Ran:
    """What the last line of a driver's output says. Raises ConfigError where that is an error, or no answer."""
    last = ([line for line in done.stdout.splitlines() if line.strip()] or [""])[-1]
    try:
        answer = json.loads(last)
        if done.returncode == 0 and "error" not in answer:
            texts = tuple(tuple(tuple(int(token) for token in text) for text in texts) for texts in answer["texts"])
            return Ran(version=str(answer["version"]), texts=texts)
        why = str(answer["error"])
    except (ValueError, TypeError, KeyError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        why = f"ended with exit code {done.returncode} and no answer; its last line is: {(said or ['(none)'])[-1]}"
    raise ConfigError(f"engine={engine}: {one_line(why, _MOST)}")
