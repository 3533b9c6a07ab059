"""Generations of one cell -> measurements: the walk over the table of metrics."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from decodebench.errors import ConfigError, StoreError, allowed_names
from decodebench.metrics.table import METRICS, Metric
from decodebench.metrics.texts import UNITS, Text, Unit, cut
from decodebench.records import Generation, Measurement
from decodebench.stats import Array, Finish, Interval, no_interval, ratio_interval, share_interval

Prompts = Mapping[str, Sequence[Text]]
"""The returned texts of each prompt, in a fixed order, so that intervals do not depend on the order of the store."""


def measure(generations: Sequence[Generation], *, unit: Unit = "tokens") -> list[Measurement]:
    """Every metric of METRICS, in its order, for the generations of ONE cell; no generations, no measurements.

    `unit` cuts the texts for n-grams, loops and lengths; names of metrics that depend on it end in `_characters` or
    `_words` where it is not tokens. Measurement.n counts the prompts that gave a value (0 where there is none).
    Raises ConfigError for another unit, StoreError for generations that cannot be of one cell.
    """
    if unit not in UNITS:
        raise ConfigError(f"metrics.unit={unit}: {allowed_names(unit, UNITS)}")
    if not generations:
        return []
    _check(generations)
    prompts: dict[str, list[Text]] = {}
    for generation in sorted(generations, key=lambda g: (g.prompt_id, g.sample)):
        prompts.setdefault(generation.prompt_id, []).append(cut(generation, unit))
    return [_measure_one(metric, prompts, unit) for metric in METRICS]


def _check(generations: Sequence[Generation]) -> None:
    """A value over rows of two cells, or over a row stored twice, would look right and be wrong."""
    cells = sorted({generation.cell for generation in generations})
    if len(cells) > 1:
        raise StoreError(f"generations of {len(cells)} cells measured as one: {', '.join(cells)}; allowed: one cell")
    (prompt_id, sample), times = Counter((g.prompt_id, g.sample) for g in generations).most_common(1)[0]
    if times > 1:
        raise StoreError(f"cell {cells[0]}: prompt {prompt_id!r}, sample {sample} is stored {times} times; allowed: 1")
    for g in generations:
        if len(g.token_logprobs) != len(g.token_ids):
            raise StoreError(
                f"cell {cells[0]}: prompt {g.prompt_id!r}, sample {g.sample} has {len(g.token_logprobs)} "
                f"token_logprobs for {len(g.token_ids)} token_ids; allowed: one for each"
            )


def _measure_one(metric: Metric, prompts: Prompts, unit: Unit) -> Measurement:
    texts = {key: _counted(metric, returned) for key, returned in prompts.items()}
    rows_PK, reason = _rows(metric, texts)
    value, interval = None, no_interval("no value")
    if reason is None:
        value, reason = set_value(rows_PK, metric.finish, metric.missing.format(unit=unit))
    if value is not None:
        interval = _interval(metric, texts, rows_PK)
    first = next(iter(prompts.values()))[0].generation
    return Measurement(
        cell=first.cell,
        model=first.model,
        strategy=first.strategy,
        metric=f"{metric.name}_{unit}" if metric.by_unit and unit != "tokens" else metric.name,
        value=value,
        reason=reason or interval.reason,
        unit=metric.unit.format(unit=unit),
        direction=metric.direction,
        n=0 if value is None else len(rows_PK),
        ci_low=interval.low,
        ci_high=interval.high,
        version=metric.version,
    )


def _counted(metric: Metric, returned: Sequence[Text]) -> Sequence[Text]:
    """A search answers with its best text; what it cost is the sum over all that it returned."""
    if metric.level == "prompt":
        return returned
    return [text for text in returned if not text.generation.is_search or text.generation.sample == 0]


def _rows(metric: Metric, texts: Prompts) -> tuple[Array, str | None]:
    """One row of K numbers for each prompt that has any, or the reason why there can be no value."""
    rows = []
    for prompt_id, counted in texts.items():
        kept = []
        for text in counted:
            stats = metric.per_text(text)
            if stats is None:
                continue
            if not all(map(math.isfinite, stats)):
                return np.empty((0, 1)), f"prompt {prompt_id!r}, sample {text.generation.sample}: not a finite number"
            kept.append(stats)
        if kept:
            rows.append(np.sum(kept, axis=0) if metric.level == "prompt" else np.mean(kept, axis=0))
    rows_PK = np.array(rows) if rows else np.empty((0, 1))
    if metric.level == "set":
        # A prompt without a single n-gram (or token) has no part in a ratio of sums.
        rows_PK = rows_PK[rows_PK.any(axis=1)]
    return rows_PK, None


def set_value(rows_PK: Array, finish: Finish, missing: str) -> tuple[float | None, str | None]:
    """The value of P rows of K numbers, or None with the reason (`missing` where there is nothing to divide by)."""
    if not len(rows_PK):
        return None, missing
    with np.errstate(all="ignore"):
        value = float(finish(*rows_PK.mean(axis=0)))
    if math.isnan(value):
        return None, missing
    return (value, None) if math.isfinite(value) else (None, "the value is not a finite number")


def _interval(metric: Metric, texts: Prompts, rows_PK: Array) -> Interval:
    if metric.share and all(len(counted) == 1 for counted in texts.values()):
        return share_interval(int(rows_PK.sum()), len(rows_PK))
    return ratio_interval(rows_PK, metric.finish)
