"""choice.json as it is read (docs/choosing.md): what the report says first."""

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from decodebench.errors import StoreError, one_line
from decodebench.store.manifest import misfit


class StoredContender(TypedDict):
    """A setting that was compared on the prompts that report."""

    strategy: str
    family: str
    verdict: str
    value: float
    ci_low: float | None
    ci_high: float | None
    difference: float | None
    chance_of_best: float
    cost: float | None


class StoredFamily(TypedDict):
    """What is known of a family of strategies."""

    best: str
    default: str
    trials: int
    optimism: float
    curve: list[float]
    curve_low: list[float] | None
    curve_high: list[float] | None


class StoredSplit(TypedDict):
    """The prompts that choose and those that report, by id."""

    kind: str
    select: list[str]
    confirm: list[str]
    limits: str | None


class StoredRace(TypedDict):
    """What a race did not decode."""

    rounds: list[int]
    dropped: dict[str, int]
    texts: int
    texts_saved: int


class StoredChoice(TypedDict):
    """What the report reads of choice.json; it holds more."""

    sentence: str
    recommended: str
    cell: str
    by: str
    cost: str
    contenders: list[StoredContender]
    families: dict[str, StoredFamily]
    split: StoredSplit
    race: NotRequired[StoredRace | None]


def read_choice(run_dir: Path) -> StoredChoice | None:
    """What was chosen of a run; None where nothing was. Raises StoreError for a file that is none of ours."""
    path = run_dir / "choice.json"
    if not path.is_file():
        return None
    allowed = "delete it, or choose again (python -m decodebench choose RUN)"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error, 100)}); {allowed}") from error
    if wrong := misfit(found, StoredChoice):
        raise StoreError(f"{path}: {wrong}; {allowed}")
    return cast("StoredChoice", found)
