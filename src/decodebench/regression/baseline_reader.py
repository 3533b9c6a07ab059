"""Lines of JSON -> a baseline (docs/baseline_file.md). What the lines say is checked here and nowhere behind it: a
right checksum only says that nobody edited them since."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from decodebench.errors import one_line
from decodebench.records import Direction
from decodebench.regression.baseline import Baseline, BaselineArm, BaselineMetric, BaselineText

T = TypeVar("T")


class Reader:
    """What the lines read so far have said."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._prompts: dict[str, dict[str, str]] = {}
        self._fed: dict[tuple[str, str], dict[str, str]] = {}
        self._clusters: dict[str, dict[str, str]] = {}
        self._arms: list[dict[str, Any]] = []
        self._rows: dict[str, tuple[float, ...]] | None = None  # of the metric whose lines these are

    def take(self, line: Any) -> None:
        """The next line. Raises KeyError for a key that it lacks, ValueError or TypeError for what else is wrong."""
        if isinstance(line, list):
            self._row(line)
            return
        kind = next(iter(_mapping(line)), None)
        if kind == "made":
            _add(self._made, _string(line["made"]), _made(line["made"], line["is"]))
        elif kind == "prompt":
            self._prompt(line)
        elif kind == "arm":
            self._begin(line)
        elif kind == "config":
            self._configure(self._arm["config"], line)
        elif kind == "text_of":
            self._text(line)
        elif kind == "metric":
            self._rows = {}
            _add(self._arm["metrics"], _string(line["metric"]), _metric(line, self._rows))
        else:
            raise ValueError(f"it begins with {_shown(kind)}")

    def _prompt(self, line: Mapping[str, Any]) -> None:
        prompts, prompt_id = _string(line["of"]), _string(line["prompt"])
        _add(self._prompts.setdefault(prompts, {}), prompt_id, _string(line["sha256"]))
        for model, sha256 in _mapping(line.get("fed", {})).items():
            self._fed.setdefault((model, prompts), {})[prompt_id] = _string(sha256)
        if "cluster" in line:
            self._clusters.setdefault(prompts, {})[prompt_id] = _string(line["cluster"])

    @property
    def _arm(self) -> dict[str, Any]:
        """The arm that lines belong to."""
        if not self._arms:
            raise ValueError("it stands before its strategy")
        return self._arms[-1]

    def _begin(self, line: Mapping[str, Any]) -> None:
        labels = {
            "model": _string(line["model"]),
            "prompts": _string(line["prompts"]),
            "strategy": _string(line["arm"]),
        }
        if any(labels.items() <= arm.items() for arm in self._arms):
            raise ValueError(f"{_shown(' / '.join(labels.values()))} is given twice")
        config = dict(self._arms[-1]["config"]) if self._arms else {}
        self._rows = None
        self._arms.append(
            {**labels, "is_search": _flag(line["is_search"]), "config": config, "texts": {}, "metrics": {}}
        )

    def _configure(self, config: dict[str, Any], line: Mapping[str, Any]) -> None:
        group = _string(line["config"])
        if "is" not in line:
            del config[group]
            return
        config[group] = line["is"]
        if group == "strategy":  # the noise of a search's score depends on it
            _optional(_number, _mapping(line["is"]).get("length_penalty"))

    def _row(self, line: Sequence[Any]) -> None:
        """A row: the id of a prompt, then as many numbers as the other rows of its metric have."""
        if self._rows is None:
            raise ValueError("it stands before its metric")
        if len(line) < 2:
            raise ValueError("a row has the id of a prompt and at least one number")
        prompt_id, row = _string(line[0]), _numbers(line[1:])
        self._known_prompt(prompt_id)
        for other in self._rows.values():
            if len(row) != len(other):
                raise ValueError(f"a row of {len(row)} numbers, those before it have {len(other)}")
            break  # they are all alike
        _add(self._rows, prompt_id, row)

    def _text(self, line: Mapping[str, Any]) -> None:
        prompt_id, words = _string(line["text_of"]), _string(line["text"])
        self._known_prompt(prompt_id)
        text = BaselineText(
            sample=_whole(line["sample"]),
            token_ids=tuple(map(_whole, _sequence(line["token_ids"]))),
            text=words,
            sha256=hashlib.sha256(words.encode()).hexdigest(),
            finish_reason=_string(line["finish"]),
            score=_optional(_number, line.get("score")),
            margins=_optional(_numbers, line.get("margins")),
        )
        if text.margins is not None and len(text.margins) != len(text.token_ids):
            raise ValueError(f"{len(text.margins)} margins of {len(text.token_ids)} tokens")
        seeds = _sequence(line["seeds"])
        if not seeds:
            raise ValueError("a text has at least one seed")
        for seed in map(_whole, seeds):
            samples = self._arm["texts"].setdefault(seed, {}).setdefault(prompt_id, {})
            _add(samples, text.sample, text)

    def _known_prompt(self, prompt_id: str) -> None:
        """Raise ValueError for a prompt that the file does not list, or not in this arm's set."""
        if prompt_id not in self._prompts.get(self._arm["prompts"], {}):
            raise ValueError(f"{_shown(self._arm['prompts'])} has no prompt {_shown(prompt_id)}")

    def baseline(self) -> Baseline:
        """All of it, once the last line was taken. Raises ValueError for a strategy without texts."""
        for arm in self._arms:
            if not arm["texts"]:
                raise ValueError(f"the strategy {_shown(arm['strategy'])} has no texts")
        arms = [
            BaselineArm(**arm | {"texts": {seed: _in_order(of) for seed, of in arm["texts"].items()}})
            for arm in self._arms
        ]
        return Baseline(
            made=self._made, prompts=self._prompts, arms=tuple(arms), fed=self._fed, clusters=self._clusters
        )


def _in_order(prompts: Mapping[str, Mapping[int, BaselineText]]) -> dict[str, tuple[BaselineText, ...]]:
    """A text that seeds share may come before one that a seed has alone."""
    return {id_: tuple(text for _, text in sorted(texts.items())) for id_, texts in prompts.items()}


def _made(key: str, value: Any) -> Any:
    """What a check looks into: the facts of each model, and how the metrics count; all else it only shows."""
    if key == "models":
        for facts in _mapping(value).values():
            for name in ("dtype", "fingerprint", "exactness"):
                _optional(_string, _mapping(facts).get(name))
    elif key == "second_identities":
        for identity in _mapping({} if value is None else value).values():
            _mapping(identity)
    elif key == "scorer":
        _optional(_mapping, value)
    elif key == "metrics":
        for name in ("unit", "compat"):
            _optional(_string, _mapping(value).get(name))
    return value


def _metric(line: Mapping[str, Any], rows: Mapping[str, tuple[float, ...]]) -> BaselineMetric:
    """A metric; its rows are filled in as they are read."""
    if line["direction"] not in get_args(Direction):
        raise ValueError(f"{_shown(line['direction'])} is no direction")
    return BaselineMetric(
        version=_string(line["version"]),
        unit=_string(line["unit"]),
        direction=line["direction"],
        value=_optional(_number, line["value"]),
        reason=_optional(_string, line.get("reason")),
        rows=rows,
        noise=_optional(_number, line.get("noise")),
    )


def from_json(text: str) -> Any:
    """What a line says. Raises ValueError where it is no JSON, for NaN and Infinity, for a key that is there twice, and
    for halves of a surrogate pair, which no text has."""
    try:
        line = json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\ud" in text.lower():
        json.dumps(line, ensure_ascii=False).encode()
    return line


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        _add(found, key, value)
    return found


def _add(known: dict[Any, Any], key: Any, value: Any) -> None:
    """The second of two would win silently."""
    if key in known:
        raise ValueError(f"{_shown(key)} is given twice")
    known[key] = value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{_shown(value)} is no number")
    try:
        return float(value)
    except OverflowError as error:  # JSON does not limit the digits of a whole number
        raise ValueError(f"{_shown(value)} is too large") from error


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(_number, _sequence(value)))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{_shown(value)} is no whole number of 0 or more")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is neither true nor false")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{_shown(value)} has no keys")
    return value


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{_shown(value)} is no list")
    return value


def _shown(value: Any) -> str:
    return one_line(repr(value), 60)
