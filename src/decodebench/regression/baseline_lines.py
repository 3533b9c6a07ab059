"""A baseline -> lines of JSON: what each of them is, its first key says (docs/baseline_file.md)."""

import json
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
            cluster = baseline.clusters.get(name, {}).get(prompt_id)
            told = {"fed": fed, "cluster": cluster}
            yield {
                "prompt": prompt_id,
                "of": name,
                "sha256": sha256,
                **{key: value for key, value in told.items() if value},
            }


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


def as_json(line: Any) -> str:
    """A line without its end. Raises ValueError for NaN and Infinity, which JSON does not have."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _short(value: float) -> float | int:
    """A whole number without its `.0`: most rows are counts."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
