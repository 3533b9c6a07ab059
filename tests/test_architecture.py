"""Data runs one way: a folder imports only what the table in ARCHITECTURE.md names, and only from a folder's face."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "decodebench"
PLUGINS = ROOT / "src" / "hydra_plugins"
SHARED = ("errors", "records")
WAYS_IN = ("__main__", "pytest_plugin")
MOST_LINES = 350

SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def table() -> dict[str, list[str]]:
    """What each folder may import beside `errors` and `records`, as ARCHITECTURE.md has it."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = page.split("## Folders")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w/]+)` \| \S.*? \| ?(.*?) ?\|$", section, re.M)
    return {folder: re.findall(r"`([\w/]+)`", imported) for folder, imported in rows}


TABLE = table()


def module_name(path: Path) -> str:
    """`engine/rows.py` -> decodebench.engine.rows; a package's `__init__` is the package."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


@cache
def parsed(path: Path) -> ast.Module:
    """A file of ours; some are asked for by every folder that reaches them."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def handed_out(module: str) -> set[str]:
    """The full names that a face imports to hand them out: one that is also a file's is the function."""
    path = PACKAGE.parent.joinpath(*module.split("."), "__init__.py")
    if not path.exists():
        return set()
    tops = [n for n in parsed(path).body if isinstance(n, ast.ImportFrom)]
    return {f"{module}.{alias.name}" for node in tops for alias in node.names}


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, anywhere in it; of a package, the submodule where there is one."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = names & MODULES.keys() - handed_out(str(node.module))
            found |= inner
            if names - inner:
                found.add(str(node.module))
    return found


def folder_of(module: str) -> str:
    """decodebench.strategies.step.view -> strategies/step: the innermost folder of the table, or a module at the root.

    >>> folder_of("decodebench.engine.rows")
    'engine'
    """
    parts = module.split(".")[1:]
    inner = ("/".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((name for name in inner if name in TABLE), parts[0])


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name.startswith("decodebench.")}


def face(folder: str) -> str:
    return f"decodebench.{folder.replace('/', '.')}"


def test_the_root_has_what_all_share_the_ways_in_and_the_folders_of_the_table() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *SHARED, *WAYS_IN}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {name for name in TABLE if "/" not in name}


def test_the_table_has_no_circle() -> None:
    order = [*TopologicalSorter(TABLE).static_order()]  # raises CycleError with the circle
    assert {*order} == {*TABLE}


def test_a_folder_comes_after_what_it_imports() -> None:
    """Read from the top, the table is the order of the data."""
    order = [*TABLE]
    late = {
        folder: [one for one in names if order.index(one) >= order.index(folder)] for folder, names in TABLE.items()
    }
    assert {folder: names for folder, names in late.items() if names} == {}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_the_table_names_and_from_faces_alone(module: str) -> None:
    folder = folder_of(module)
    others = {name for name in own_imports(MODULES[module]) if folder_of(name) not in (folder, *SHARED)}
    if folder in SHARED:
        assert others == set()
    elif folder not in WAYS_IN:  # which import what they need when they are called
        assert others <= {face(one) for one in TABLE[folder]}


@pytest.mark.parametrize("folder", TABLE)
def test_the_table_names_no_import_that_is_not_there(folder: str) -> None:
    files = [path for module, path in MODULES.items() if folder_of(module) == folder]
    used = {folder_of(name) for path in files for name in own_imports(path)} - {folder, *SHARED}
    assert sorted(used) == sorted(TABLE[folder])


@pytest.mark.parametrize("folder", TABLE)
def test_a_face_says_what_comes_in_and_goes_out_and_hands_out_names(folder: str) -> None:
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))
    words = ast.get_docstring(tree) or ""
    assert "In:" in words
    assert "Out:" in words
    handed = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}  # type: ignore[attr-defined]
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "__all__" in handed or functions


@pytest.mark.parametrize("folder", TABLE)
def test_a_face_names_every_file(folder: str) -> None:
    """Those of strategies stand by family in ARCHITECTURE.md."""
    words = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    if folder == "strategies":
        words += (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("| family |")[1].split("\n\n")[0]
    files = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}
    assert files - {*re.findall(r"`(\w+)`", words)} == set()


def test_no_circles_inside_folders_either() -> None:
    graph = {module: own_imports(path) - {module} for module, path in MODULES.items()}
    faces = {face(folder) for folder in TABLE}
    inside = {module: {name for name in names if name not in faces} for module, names in graph.items()}
    order = [*TopologicalSorter(inside).static_order()]  # raises CycleError with the circle
    assert {*MODULES} <= {*order}


def test_files_can_be_held_in_mind() -> None:
    files = PACKAGE.parent.rglob("*.py")
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text(
        "import torch.nn\nfrom decodebench import engine\ndef f():\n    from decodebench.engine.rows import Rows\n"
    )
    assert imports(file) == {"torch.nn", "decodebench.engine", "decodebench.engine.rows"}


def test_the_check_tells_a_folder_in_a_folder_from_the_one_around_it() -> None:
    names = ("decodebench.strategies.step.view", "decodebench.strategies.beam", "decodebench.report.plots.curves")
    assert [folder_of(name) for name in names] == ["strategies/step", "strategies", "report"]


def test_tests_stand_as_the_code_stands() -> None:
    """Those of `engines` run the engines outside, with all of the code."""
    files = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    folders = {path.parent.as_posix() for path in files} - {".", "engines", "support"}
    assert folders <= {*TABLE}
    assert {path for path in files if path.parts[0] == "support" and path.name.startswith("test_")} == set()


@pytest.mark.parametrize("folder", ["store", "prompts", "stats", "metrics", "given", "scoring", "report"])
def test_what_reads_stored_runs_names_no_torch(folder: str) -> None:
    files = [path for module, path in MODULES.items() if folder_of(module) == folder]
    named = {name.split(".")[0] for path in files for name in imports(path)}
    assert named.isdisjoint({"torch", "transformers", "accelerate"})


SLOW = {"torch", "transformers", "evaluate", "hydra", "datasets"}


def test_stored_runs_are_read_without_torch() -> None:
    """Nor does the command line import it, nor a folder that needs none."""
    without = [face(one) for one in TABLE if "torch" not in _needed(one)]
    assert {"decodebench.report", "decodebench.regression", "decodebench.commands"} <= {*without}
    read = ", ".join(["decodebench.__main__", "decodebench.records", "decodebench.errors", *without])
    code = f"import sys, {read}; print(sorted({SLOW} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def _needed(folder: str) -> set[str]:
    """The top-level packages that the files of a folder import at their tops, and those of what they import so."""
    found: set[str] = set()
    waiting, seen = [folder], set()
    while waiting:
        one = waiting.pop()
        seen.add(one)
        for module, path in MODULES.items():
            if folder_of(module) != one or module in LAUNCHED:
                continue
            for node in parsed(path).body:
                if isinstance(node, ast.Import):
                    found.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    found.add(str(node.module).split(".")[0])
                    if str(node.module).startswith("decodebench.") and (other := folder_of(str(node.module))) in TABLE:
                        waiting += [other] if other not in seen else []
    return found


LAUNCHED = {"decodebench.commands.launch", "decodebench.commands.overrides", "decodebench.metrics.adapters"}
"""What its folder's face leaves out: it imports hydra, or evaluate, at its top."""


def test_plugins_import_decodebench_only_inside_functions() -> None:
    """Hydra imports every plugin at each start, `--help` included."""
    for path in PLUGINS.rglob("*.py"):
        tops = [n for n in parsed(path).body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {alias.name if isinstance(n, ast.Import) else str(n.module) for n in tops for alias in n.names}
        assert {name for name in names if name.split(".")[0] in ("decodebench", "torch", "transformers")} == set(), path
