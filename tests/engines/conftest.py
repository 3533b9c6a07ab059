"""Tests against real engines. `pytest.mark.engine(NAME)` skips a test where the engine is not installed; `make
test-engines` installs each into an environment of its own, and names that in DECODEBENCH_<ENGINE>_PYTHON."""

import os
import sys
from functools import cache

import pytest

from decodebench.deploy.engines.running import is_installed

_installed = cache(is_installed)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an engine that is not there; an interpreter that was named for it must have it."""
    for marker in item.iter_markers("engine"):
        [engine] = marker.args
        variable = f"DECODEBENCH_{engine.upper()}_PYTHON"
        python = os.environ.get(variable, sys.executable)
        if _installed(engine, python):
            continue
        if variable in os.environ:
            pytest.fail(f"{variable}={python}: has no {engine}; allowed is an interpreter that has it", pytrace=False)
        pytest.skip(f"{engine} is not installed: make test-engines")
