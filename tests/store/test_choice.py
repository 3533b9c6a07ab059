"""choice.json as it is read: whole, or refused with the place."""

import json
from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import StoreError
from decodebench.store import read_choice

CONTENDER = {
    "strategy": "greedy",
    "family": "greedy",
    "verdict": "indistinguishable",
    "value": 0.5,
    "ci_low": None,
    "ci_high": None,
    "difference": None,
    "chance_of_best": 1.0,
    "cost": None,
}
FAMILY = {
    "best": "greedy",
    "default": "greedy",
    "trials": 1,
    "optimism": 0.0,
    "curve": [0.5],
    "curve_low": None,
    "curve_high": None,
}
WHOLE: dict[str, Any] = {
    "sentence": "Take greedy.",
    "recommended": "greedy",
    "cell": "c1",
    "by": "task",
    "cost": "computed_tokens",
    "contenders": [CONTENDER],
    "families": {"greedy": FAMILY},
    "split": {"kind": "half", "select": ["a"], "confirm": ["b"], "limits": None},
}


def test_what_was_written_is_read_and_nothing_where_nothing_was_chosen(tmp_path: Path) -> None:
    assert read_choice(tmp_path) is None
    (tmp_path / "choice.json").write_text(json.dumps(WHOLE), encoding="utf-8")
    assert read_choice(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sentence": None}, "sentence is null; allowed is a text"),
        ({"contenders": [CONTENDER | {"value": "0.5"}]}, 'contenders[0].value is "0.5"; allowed is a number'),
        ({"families": {"greedy": FAMILY | {"curve": 1}}}, "families.greedy.curve is 1; allowed is a list"),
        ({"split": {}}, "split has no confirm, kind, limits, select"),
        ({"race": {"rounds": [16]}}, "race has no dropped, texts, texts_saved"),
    ],
)
def test_a_damaged_one_is_refused_with_the_place(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    (tmp_path / "choice.json").write_text(json.dumps(WHOLE | change), encoding="utf-8")
    with pytest.raises(StoreError) as error:
        read_choice(tmp_path)
    assert f"choice.json: {line}; delete it, or choose again" in str(error.value)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "choice.json").write_text("[", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be read"):
        read_choice(tmp_path)
