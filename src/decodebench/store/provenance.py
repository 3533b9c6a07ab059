"""Where numbers come from, as a manifest keeps it: the command, the commit, the versions, the machine; no torch."""

import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "decodebench",
    "torch",
    "transformers",
    "accelerate",
    "hydra-core",
    "tokenizers",
    "numpy",
    "pandas",
    "scipy",
)


def command_line(words: Sequence[str]) -> str:
    """The words after `python -m decodebench`, as a shell takes them."""
    return shlex.join(["python", "-m", "decodebench", *words])


def versions() -> dict[str, str | None]:
    """Of Python, and of each package that results depend on; None for one that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def machine() -> Mapping[str, Any]:
    """What this machine is, without asking torch."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
    }


def git_commit() -> str | None:
    """The commit of this checkout of decodebench; None where it is installed from a wheel."""
    here = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
