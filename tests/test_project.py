"""What holds for the repository as a whole: its lists agree, its files stay small, and it names no one's machine."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"[A-Za-z0-9._-]+")
# A path below a home folder, or of a build machine; not a part of a longer path or of a web address.
MACHINE_PATH = re.compile(rb"(?<![\w.~%-])/(?:work|root|home|Users)/[\w.]")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked_files() -> list[Path]:
    """The files that git tracks and that are there; the test is skipped outside a checkout (in an sdist, say)."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def declared_dependencies() -> dict[str, list[str]]:
    """Names by section of docs/dependencies.md; what an extra includes of others is not repeated."""
    pyproject = tomllib.loads(read("pyproject.toml"))
    sections = {
        "build": pyproject["build-system"]["requires"],
        "decodebench": pyproject["project"]["dependencies"],
        **pyproject["project"]["optional-dependencies"],
    }
    return {
        section: [match[0] for line in lines if (match := NAME.match(line)) and match[0] != "decodebench"]
        for section, lines in sections.items()
    }


def test_each_dependency_has_its_reason() -> None:
    documented: dict[str, list[str]] = {}
    for heading, body in re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", read("docs/dependencies.md"), re.M | re.S):
        documented[heading] = re.findall(r"^- `([^`]+)`: \S", body, re.M)
    assert documented == declared_dependencies()


def test_constraints_pin_every_dependency() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    declared = {
        name.lower() for section, names in declared_dependencies().items() if section != "build" for name in names
    }
    assert declared - pinned == set()


def test_source_files_stay_below_400_lines() -> None:
    lengths = {
        path: len(path.read_bytes().splitlines())
        for path in tracked_files()
        if path.suffix == ".py" and "tests" not in path.parts
    }
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n >= 400} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"see /" + b"home/ann/x", True),
        (b"file:///" + b"root/x", True),
        (b'"/' + b'work/main"', True),
        (b"https://example.org/home/ann", False),
        (b"docs/home/plan.md", False),
    ],
)
def test_what_a_machine_path_is(text: bytes, found: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is found


def test_no_file_names_a_path_of_a_machine() -> None:
    found = {str(path.relative_to(ROOT)): MACHINE_PATH.search(path.read_bytes()) for path in tracked_files()}
    assert {name: match[0] for name, match in found.items() if match} == {}


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.M)
    assert phony is not None
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  make ([a-z-]+) +\S", shown, re.M) == phony[1].split()


def test_ci_calls_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "must be executable"
    assert "make test" in script.read_text(encoding="utf-8")
    assert "make test" in read(".github/workflows/ci.yml")


def test_the_licence_is_there() -> None:
    text = read("LICENSE")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert tomllib.loads(read("pyproject.toml"))["project"]["license"] == "Apache-2.0"
