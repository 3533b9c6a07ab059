"""A baseline <-> lines of JSON: what each of them is, its first key says (docs/baseline_file.md)."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from decodebench.regression.baseline import Baseline, BaselineArm, BaselineMetric, BaselineText

Line = Mapping[str, Any] | Sequence[Any]


def lines_of(baseline: Baseline) -> Iterator[Line]:
    """Everything in order. What a line is, its first key says; a row is a list under its metric."""
    for key, value in baseline.made.items():
        yield {"made": key, "is": value}
    yield from _prompt_lines(baseline)
    before: Mapping[str, Any] = {}
    for arm in baseline.arms:
        yield {"arm": arm.strategy, "prompts": arm.prompts, "model": arm.model, "is_search": arm.is_search}
        yield from _config_lines(arm.config, before)
        yield from _text_lines(arm)
        for name, metric in arm.metrics.items():
            yield _metric_line(name, metric)
            yield from ([prompt_id, *map(_short, row)] for prompt_id, row in metric.rows.items())
        before = arm.config


def _prompt_lines(baseline: Baseline) -> Iterator[Line]:
    for name, prompts in baseline.prompts.items():
        by_model = {model: of for (model, in_set), of in baseline.fed.items() if in_set == name}
        for prompt_id, sha256 in prompts.items():
            fed = {model: of[prompt_id] for model, of in by_model.items() if prompt_id in of}
            yield {"prompt": prompt_id, "of": name, "sha256": sha256, **({"fed": fed} if fed else {})}


def _config_lines(config: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[Line]:
    """What differs from the configuration of the arm before; a key alone: this one does not have it."""
    for key, value in config.items():
        if key not in before or as_json(before[key]) != as_json(value):
            yield {"config": key, "is": value}
    yield from ({"config": key} for key in before if key not in config)


def _text_lines(arm: BaselineArm) -> Iterator[Line]:
    """One line for each text; seeds that gave the same one share it."""
    seeds: dict[tuple[str, BaselineText], list[int]] = {}
    for seed, prompts in arm.texts.items():
        for prompt_id, texts in prompts.items():
            for text in texts:
                seeds.setdefault((prompt_id, text), []).append(seed)
    for (prompt_id, text), of in seeds.items():
        score = {} if text.score is None else {"score": text.score}
        margins = {} if text.margins is None else {"margins": list(map(_short, text.margins))}
        yield {
            "text_of": prompt_id,
            "sample": text.sample,
            "seeds": of,
            "finish": text.finish_reason,
            **score,
            "text": text.text,
            "token_ids": text.token_ids,
            **margins,
        }


def _metric_line(name: str, metric: BaselineMetric) -> Line:
    return {
        "metric": name,
        "version": metric.version,
        "unit": metric.unit,
        "direction": metric.direction,
        "value": metric.value,
        **({} if metric.reason is None else {"reason": metric.reason}),
        **({} if metric.noise is None else {"noise": metric.noise}),
    }


class Reader:
    """What the lines read so far have said."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._prompts: dict[str, dict[str, str]] = {}
        self._fed: dict[tuple[str, str], dict[str, str]] = {}
        self._arms: list[dict[str, Any]] = []
        self._rows: dict[str, tuple[float, ...]] | None = None  # of the metric whose lines these are

    def take(self, line: Any) -> None:
        """The next line. Raises KeyError, ValueError, TypeError, AttributeError or IndexError where it is wrong."""
        if isinstance(line, list):
            if self._rows is None:
                raise ValueError("it stands before its metric")
            self._rows[_string(line[0])] = tuple(map(_number, line[1:]))
            return
        kind = next(iter(line), None)
        if kind == "made":
            self._made[line["made"]] = line["is"]
        elif kind == "prompt":
            self._prompts.setdefault(_string(line["of"]), {})[line["prompt"]] = _string(line["sha256"])
            for model, sha256 in line.get("fed", {}).items():
                self._fed.setdefault((model, line["of"]), {})[line["prompt"]] = _string(sha256)
        elif kind == "arm":
            config = dict(self._arms[-1]["config"]) if self._arms else {}
            self._rows = None
            self._arms.append(
                {
                    "strategy": _string(line["arm"]),
                    "prompts": _string(line["prompts"]),
                    "model": _string(line["model"]),
                    "is_search": bool(line["is_search"]),
                    "config": config,
                    "texts": {},
                    "metrics": {},
                }
            )
        elif kind == "config":
            self._configure(self._arm["config"], line)
        elif kind == "text_of":
            self._text(line)
        elif kind == "metric":
            self._rows = {}
            self._arm["metrics"][line["metric"]] = _metric(line, self._rows)
        else:
            raise ValueError(f"it begins with {kind!r}")

    @property
    def _arm(self) -> dict[str, Any]:
        """The arm that lines belong to."""
        if not self._arms:
            raise ValueError("it stands before its strategy")
        return self._arms[-1]

    def _configure(self, config: dict[str, Any], line: Mapping[str, Any]) -> None:
        if "is" in line:
            config[line["config"]] = line["is"]
        else:
            del config[line["config"]]

    def _text(self, line: Mapping[str, Any]) -> None:
        prompt_id = _string(line["text_of"])
        self._prompts[self._arm["prompts"]][prompt_id]  # a text of a prompt that the file does not know: KeyError
        score, margins = line.get("score"), line.get("margins")
        text = BaselineText(
            sample=int(line["sample"]),
            token_ids=tuple(map(int, line["token_ids"])),
            text=_string(line["text"]),
            sha256=hashlib.sha256(line["text"].encode()).hexdigest(),
            finish_reason=_string(line["finish"]),
            score=None if score is None else _number(score),
            margins=None if margins is None else tuple(map(_number, margins)),
        )
        for seed in line["seeds"]:
            self._arm["texts"].setdefault(int(seed), {}).setdefault(prompt_id, []).append(text)

    def baseline(self) -> Baseline:
        """All of it, once the last line was taken."""
        arms = [
            BaselineArm(**arm | {"texts": {seed: _in_order(of) for seed, of in arm["texts"].items()}})
            for arm in self._arms
        ]
        return Baseline(made=self._made, prompts=self._prompts, arms=tuple(arms), fed=self._fed)


def _in_order(prompts: Mapping[str, Sequence[BaselineText]]) -> dict[str, tuple[BaselineText, ...]]:
    """A text that seeds share may come before one that a seed has alone."""
    return {id_: tuple(sorted(texts, key=lambda text: text.sample)) for id_, texts in prompts.items()}


def _metric(line: Mapping[str, Any], rows: Mapping[str, tuple[float, ...]]) -> BaselineMetric:
    """A metric; its rows are filled in as they are read."""
    value, noise = line["value"], line.get("noise")
    return BaselineMetric(
        version=_string(line["version"]),
        unit=_string(line["unit"]),
        direction=_string(line["direction"]),
        value=None if value is None else _number(value),
        reason=line.get("reason"),
        rows=rows,
        noise=None if noise is None else _number(noise),
    )


def as_json(line: Any) -> str:
    """A line without its end. Raises ValueError for NaN and Infinity, which JSON does not have."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Any:
    """What a line says. Raises ValueError where it is no JSON, and for NaN and Infinity."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _short(value: float) -> float | int:
    """A whole number without its `.0`: most rows are counts."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
