"""The file of a baseline: JSON lines under a head with their number and a checksum (docs/baseline_file.md)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decodebench.errors import StoreError, one_line
from decodebench.regression.baseline import BASELINE_VERSION, Baseline
from decodebench.regression.baseline_lines import as_json, lines_of
from decodebench.regression.baseline_reader import Reader, from_json
from decodebench.store import write_whole

_HEAD = "decodebench_baseline"
_MADE = ("run", "versions", "models", "metrics")
"""What a baseline must say of how it was made."""


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline, whole or not at all; one that is there already is replaced.

    Raises StoreError where another file or a folder is in the way, the disk refuses, or a number is not finite.
    """
    refuse_other_file(path)
    try:
        body = [as_json(line) for line in lines_of(baseline)]
    except ValueError as error:
        raise StoreError(f"{path}: cannot be written ({error})") from error
    head = as_json({_HEAD: BASELINE_VERSION, "lines": len(body), "sha256": _checksum(body)})
    text = "\n".join((head, *body, ""))
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def refuse_other_file(path: Path) -> None:
    """Raise StoreError where something else than a baseline would be replaced; a damaged baseline may be."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{path}: cannot be replaced ({error.strerror}); allowed is the path of a file") from error
    if _head(data.split(b"\n", 1)[0]) is None:
        raise StoreError(f"{path}: is a file, and no baseline; allowed is a new path, or a baseline to replace")


def read_baseline(path: Path) -> Baseline:
    """Read a baseline back. Line ends may have become those of another system, or the last one gone.

    Raises StoreError, one line, for a file that is missing, no baseline, of a newer decodebench, cut off or edited.
    """
    reader = Reader()
    for number, line in enumerate(_whole(path), start=2):
        try:
            reader.take(from_json(line.decode()))
        except KeyError as error:
            raise StoreError(f"{path}: line {number} has no {error}; {_again(path)}") from error
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{path}: line {number} cannot be used ({one_line(error, 200)}); {_again(path)}"
            ) from error
    try:
        baseline = reader.baseline()
    except ValueError as error:
        raise StoreError(f"{path}: {one_line(error, 200)}; {_again(path)}") from error
    absent = [key for key in _MADE if key not in baseline.made]
    if absent or not baseline.arms:
        what = f"does not say its {', '.join(absent)}" if absent else "has no strategies"
        raise StoreError(f"{path}: {what}; {_again(path)}")
    return baseline


def _whole(path: Path) -> list[bytes]:
    """The lines after the head, known to be those that were written."""
    if path.is_dir():
        run_dir = (path / "manifest.json").is_file()
        what, run = ("is the folder of a run, not its baseline", path) if run_dir else ("is a folder", "RUN")
        make = f"make one with `python -m decodebench baseline {run} -o baselines/{path.resolve().name}` first"
        raise StoreError(f"{path}: {what}; {make}, then check against that file")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(f"{path}: there is no such baseline; {_again(path)}") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); allowed is the file of a baseline") from error
    first, *rest = data.rstrip(b"\r\n").split(b"\n")
    head = _head(first)
    if head is None:
        raise StoreError(f"{path}: is no baseline (its first line is not the head of one); {_again(path)}")
    version = head[_HEAD]
    if type(version) is not int or version != BASELINE_VERSION:
        newer = type(version) is int and version > BASELINE_VERSION
        by = "was made by a newer decodebench" if newer else "is of a version that is not known"
        raise StoreError(f"{path}: {by} (format {one_line(version, 40)}, this one reads {BASELINE_VERSION})")
    absent = [key for key in ("lines", "sha256") if key not in head]
    if absent:
        raise StoreError(f"{path}: its head has no {', '.join(absent)}; {_again(path)}")
    lines = [line.removesuffix(b"\r") for line in rest]
    if type(head["lines"]) is int and len(lines) < head["lines"]:
        raise StoreError(f"{path}: is cut off, {len(lines)} of {head['lines']} lines are there; {_again(path)}")
    if len(lines) != head["lines"] or hashlib.sha256(b"\n".join(lines)).hexdigest() != head["sha256"]:
        raise StoreError(f"{path}: was edited, or its end cut off: its checksum is of other content; {_again(path)}")
    return lines


def _head(line: bytes) -> Mapping[str, Any] | None:
    """The head of a baseline, None where the line is none. Editors of some systems put a mark before the first line."""
    try:
        head = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return head if isinstance(head, dict) and _HEAD in head else None


def _again(path: Path) -> str:
    return f"make it with `python -m decodebench baseline RUN -o {path}`"


def _checksum(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
