"""Data runs one way: each module imports only from stages before its own, and ARCHITECTURE.md lists them so."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "decodebench"
PLUGINS = ROOT / "src" / "hydra_plugins"

STAGES = {
    "words": ["errors", "records"],
    "rules": ["draws", "waits", "scores", "strategies", "stats", "metrics"],
    "conf": ["prompt_tables", "passages", "prompts", "packaged", "model_config", "config", "catalogue"],
    "cells": ["cells"],
    "generations": ["device", "models", "tokens", "engine", "deploy", "tables", "store", "provenance", "given"],
    "generations, of a model": ["solo", "requests", "reading", "references"],
    "generations, timed": ["decoding", "latency"],
    "measurements": ["comparing", "scoring"],
    "report": ["report"],
    "checks": ["regression"],
    "the flow": ["manifest", "run", "rerunning", "launch", "exporting", "commands", "__main__", "pytest_plugin"],
}
"""Every module and package of decodebench in order: it may import those before it, in its own stage too."""

ORDER = [unit for units in STAGES.values() for unit in units]
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_name(path: Path) -> str:
    """`engine/rows.py` -> decodebench.engine.rows; a package's `__init__` is the package."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, anywhere in it; of a package, the submodule where there is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = names & MODULES.keys()
            found |= inner
            if names - inner:
                found.add(str(node.module))
    return found


def unit_of(module: str) -> str:
    """decodebench.engine.rows -> engine."""
    return module.split(".")[1]


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name.startswith("decodebench.")}


def test_the_order_names_every_module_once() -> None:
    assert sorted(ORDER) == sorted({unit_of(module) for module in MODULES})


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_comes_before_it(module: str) -> None:
    unit = unit_of(module)
    allowed = {*ORDER[: ORDER.index(unit)], unit}
    assert {name for name in own_imports(MODULES[module]) if unit_of(name) not in allowed} == set()


def test_no_circles_inside_packages_either() -> None:
    graph = {module: own_imports(path) - {module} for module, path in MODULES.items()}
    order = [*TopologicalSorter(graph).static_order()]  # raises CycleError with the circle
    assert {*MODULES} <= {*order}


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text(
        "import torch.nn\nfrom decodebench import engine\ndef f():\n    from decodebench.engine.rows import Rows\n"
    )
    assert imports(file) == {"torch.nn", "decodebench.engine", "decodebench.engine.rows"}


@pytest.mark.parametrize(
    "unit", ["errors", "records", "stats", "metrics", "report", "scoring", "store", "tables", "given"]
)
def test_what_reads_stored_runs_names_no_torch(unit: str) -> None:
    files = [path for module, path in MODULES.items() if unit_of(module) == unit]
    named = {name.split(".")[0] for path in files for name in imports(path)}
    assert named.isdisjoint({"torch", "transformers", "accelerate"})


def test_stored_runs_are_read_without_torch() -> None:
    read = "decodebench.records, decodebench.errors, decodebench.metrics, decodebench.scoring.run, decodebench.report"
    code = f"import sys, {read}; print(sorted({{'torch', 'transformers', 'evaluate', 'hydra'}} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_plugins_import_decodebench_only_inside_functions() -> None:
    """Hydra imports every plugin at each start, `--help` included."""
    for path in PLUGINS.rglob("*.py"):
        tops = [
            n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        names = {alias.name if isinstance(n, ast.Import) else str(n.module) for n in tops for alias in n.names}
        assert {name for name in names if name.split(".")[0] in ("decodebench", "torch", "transformers")} == set(), path


def test_the_module_map_lists_the_modules_in_this_order() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.split("## Modules")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \| \S", table, re.M) == ORDER
