"""choice.json as it is read (docs/choosing.md): what the report says first."""

import json
from pathlib import Path
from typing import Any

from decodebench.errors import StoreError, one_line

_TEXTS = ("sentence", "recommended", "by", "cost")


def read_choice(run_dir: Path) -> dict[str, Any] | None:
    """What was chosen of a run; None where nothing was. Raises StoreError for a file that is none of ours."""
    path = run_dir / "choice.json"
    if not path.is_file():
        return None
    allowed = "delete it, or choose again (python -m decodebench choose RUN)"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error, 100)}); {allowed}") from error
    texts = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in _TEXTS)
    contenders = found.get("contenders") if texts else None
    if not isinstance(contenders, list) or not all(map(_is_contender, contenders)):
        raise StoreError(f"{path}: is not what `choose` writes; {allowed}")
    whole: dict[str, Any] = found
    return whole


def _is_contender(node: Any) -> bool:
    if not isinstance(node, dict):
        return False
    numbers = ("value", "chance_of_best")
    optional = ("ci_low", "ci_high", "difference", "p_holm", "cost")
    return (
        all(isinstance(node.get(key), str) for key in ("strategy", "family", "verdict"))
        and all(_is_number(node.get(key)) for key in numbers)
        and all(node.get(key) is None or _is_number(node.get(key)) for key in optional)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
