"""The texts of one cell -> a value with its interval for each metric: the walk over the table of metrics."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from decodebench.errors import StoreError
from decodebench.metrics.corpus import Corpus, Stats, Text, corpus
from decodebench.metrics.kinds import AnyMetric, Index, Metric, SetMetric, SetValue, named, unmet
from decodebench.metrics.options import MetricsConfig
from decodebench.metrics.rows_task import Judging, task_metrics
from decodebench.metrics.scored import Scored, ScoredMetric
from decodebench.metrics.table import chosen, distances, on_leading_units
from decodebench.metrics.texts import Unit, unit_of
from decodebench.records import Generation, Measurement
from decodebench.stats import (
    MIN_PROMPTS,
    Array,
    Finish,
    Interval,
    clustered_share_interval,
    no_interval,
    ratio_intervals,
    subsample,
    subsample_interval,
    too_few,
)


def measure(generations: Sequence[Generation], *, unit: Unit = "tokens") -> list[Measurement]:
    """Every metric of METRICS, in its order, for the generations of ONE cell; no generations, no measurements.

    `unit` cuts the texts for n-grams, loops and lengths; names of metrics that depend on it end in it where it is not
    tokens. Measurement.n counts the prompts that gave a value (0 where there is none).
    Raises ConfigError for another unit, StoreError for generations that cannot be of one cell.
    """
    unit = unit_of(unit)
    if not generations:
        return []
    check_one_cell(generations)
    texts = corpus(generations, unit=unit)
    return [scored.measurement(texts.first) for scored in score(texts, MetricsConfig(unit=unit, leading=0))]


def value_of(metric: AnyMetric, texts: Corpus, unit: Unit = "tokens") -> float | None:
    """One metric of one corpus, without an interval."""
    return _score_one(metric, texts, unit, subsets=False).value


def score(texts: Corpus, config: MetricsConfig, judging: Judging | None = None) -> list[Scored]:
    """Every metric that a run asks for: those of its task (`judging`), those of the table, those on leading units, the
    distances from references."""
    metrics = chosen(config)
    asked = (*(task_metrics(judging, texts) if judging else ()), *metrics)
    scored = [_score_one(metric, texts, config.unit) for metric in asked]
    if config.leading:
        short = texts.leading(config.leading)
        too_short = f"no text has {config.leading} {config.unit}"
        scored += [
            _score_one(metric, short, config.unit, empty=too_short)
            for metric in on_leading_units(metrics, config.leading)
        ]
    if texts.human is not None or texts.is_human:
        scored += [_score_one(metric, texts, config.unit) for metric in distances(metrics)]
    return _with_intervals(scored, texts)


def score_rows(metrics: Sequence[AnyMetric], texts: Corpus) -> list[Scored]:
    """These metrics of a cell, with their intervals."""
    return _with_intervals([_score_one(metric, texts, "tokens") for metric in metrics], texts)


def check_one_cell(generations: Sequence[Generation]) -> None:
    """Raise StoreError where a value over these would look right and be wrong: two cells, or a row stored twice."""
    cells = sorted({generation.cell for generation in generations})
    if len(cells) > 1:
        raise StoreError(f"generations of {len(cells)} cells measured as one: {', '.join(cells)}; allowed: one cell")
    (prompt_id, sample), times = Counter((g.prompt_id, g.sample) for g in generations).most_common(1)[0]
    if times > 1:
        raise StoreError(f"cell {cells[0]}: prompt {prompt_id!r}, sample {sample} is stored {times} times; allowed: 1")
    for g in generations:
        given_alone = g.finish_reason == "end" and not g.token_logprobs
        if len(g.token_logprobs) != len(g.token_ids) and not given_alone:
            raise StoreError(
                f"cell {cells[0]}: prompt {g.prompt_id!r}, sample {g.sample} has {len(g.token_logprobs)} "
                f"token_logprobs for {len(g.token_ids)} token_ids; allowed: one for each"
            )


def _score_one(metric: AnyMetric, texts: Corpus, unit: Unit, *, subsets: bool = True, empty: str = "no text") -> Scored:
    """The value of a metric, without its interval; that of a set with its values on subsets, unless told otherwise.

    `empty` is the reason where there is no text at all.
    """
    blank = Scored(metric=metric, name=named(metric, unit), unit=metric.unit.format(unit=unit))
    missing = metric.missing.format(unit=unit)
    if reason := unmet(metric.needs, texts) if texts.prompts else empty:
        return replace(blank, reason=reason)
    if isinstance(metric, Metric):
        return _of_prompts(blank, metric, texts, missing)
    return _of_set(blank, metric, texts, missing, subsets)


def _of_prompts(blank: Scored, metric: Metric, texts: Corpus, missing: str) -> Scored:
    """The value that the means over prompts give, of what the metric keeps of each text."""
    prompt_ids, rows = [], []
    everything = metric.level in ("prompt", "samples")
    for prompt_id, of_prompt in (texts.prompts if everything else texts.counted).items():
        kept = []
        for where, stats in _kept(metric, of_prompt):
            if not all(map(math.isfinite, stats)):
                return replace(blank, reason=f"prompt {prompt_id!r}{where}: not a finite number", wrong=True)
            kept.append(stats)
        # A prompt without a single n-gram (or token) has no part in a ratio of sums.
        if kept and (metric.level != "set" or np.any(kept)):
            prompt_ids.append(prompt_id)
            rows.append(
                kept[0] if len(kept) == 1 else np.sum(kept, 0) if metric.level == "prompt" else np.mean(kept, 0)
            )
    rows_PK = np.array(rows)
    value, reason = set_value(rows_PK, metric.finish, missing)
    n = 0 if value is None else len(rows)
    wrong = reason not in (None, missing)
    return replace(blank, value=value, reason=reason, wrong=wrong, n=n, prompt_ids=tuple(prompt_ids), rows_PK=rows_PK)


def _kept(metric: Metric, texts: Sequence[Text]) -> Iterable[tuple[str, Stats]]:
    """The numbers that the metric keeps of the texts of a prompt, each with the place that an error would name."""
    if metric.per_prompt is not None:
        if (stats := metric.per_prompt(texts)) is not None:
            yield "", stats
        return
    for text in texts:
        if (stats := text.value(metric.per_text)) is not None:
            yield f", sample {text.generation.sample}", stats


def _of_set(blank: Scored, metric: SetMetric, texts: Corpus, missing: str, subsets: bool) -> Scored:
    """The value of one text for each prompt as a set, averaged over the samples, and the same on subsets of prompts."""
    sets = [metric.prepare(one) for one in texts.sets()]
    if reason := next((one for one in sets if isinstance(one, str)), None if sets else missing):
        return replace(blank, reason=reason)
    ready = [one for one in sets if isinstance(one, SetValue)]

    def of(prompts: Index) -> float | None:
        values = [value for one in ready if (value := one.of(prompts)) is not None]
        return fmean(values) if len(values) == len(ready) else None

    prompt_ids, n = ready[0].prompt_ids, min(one.n for one in ready)
    value = of(np.arange(len(prompt_ids)))
    if value is None or not math.isfinite(value):
        return replace(blank, reason=missing)
    scored = replace(blank, value=value, n=n, prompt_ids=prompt_ids)
    why_none = dict.fromkeys(one.no_interval for one in ready if one.no_interval is not None)
    if why_none or not subsets:
        return replace(scored, interval=no_interval("; ".join(why_none) or "not asked for"))
    clusters = texts.clusters_of(prompt_ids)
    if n < MIN_PROMPTS:
        few = subsample(of, len(prompt_ids), 0, clusters)
        return replace(scored, subsets=replace(few, reason=too_few(n).reason))
    return replace(scored, subsets=subsample(of, len(prompt_ids), ready[0].subsets, clusters))


def set_value(rows_PK: Array, finish: Finish, missing: str) -> tuple[float | None, str | None]:
    """The value of P rows of K numbers, or None with the reason (`missing` where there is nothing to divide by)."""
    if not len(rows_PK):
        return None, missing
    with np.errstate(all="ignore"):
        value = float(finish(*rows_PK.mean(axis=0)))
    if math.isnan(value):
        return None, missing
    return (value, None) if math.isfinite(value) else (None, "the value is not a finite number")


def _with_intervals(scored: Sequence[Scored], texts: Corpus) -> list[Scored]:
    """The same with their intervals: all means and ratios at once, since they share their resamples."""
    one_text = all(len(of_prompt) == 1 for of_prompt in texts.counted.values())
    found: dict[int, Interval] = {}
    ratios: dict[int, tuple[Array, Finish]] = {}
    for at, each in enumerate(scored):
        if each.value is None:
            continue
        if each.subsets is not None:
            found[at] = _clipped(subsample_interval(each.value, each.subsets, each.n), each.metric)
        elif isinstance(each.metric, Metric) and each.rows_PK is not None:
            # A share of all or none has no spread to resample; that all samples of a prompt agree is the worst case.
            alone = one_text or each.metric.level == "samples"
            if each.metric.share and (alone or each.value in (0, 1)) and np.isin(each.rows_PK, (0, 1)).all():
                of = texts.clusters_of(each.prompt_ids)
                found[at] = clustered_share_interval(each.rows_PK[:, 0], of)
            else:
                ratios[at] = each.rows_PK, each.metric.finish
    clusters = [texts.clusters_of(scored[at].prompt_ids) for at in ratios]
    found |= dict(zip(ratios, ratio_intervals(list(ratios.values()), clusters), strict=True))
    return [replace(each, interval=found.get(at, each.interval)) for at, each in enumerate(scored)]


def _clipped(interval: Interval, metric: ScoredMetric) -> Interval:
    """Without what the metric cannot be: t knows of no ends."""
    if interval.low is None or interval.high is None or not isinstance(metric, SetMetric):
        return interval
    low, high = metric.within
    return Interval(low=max(low, interval.low), high=min(high, interval.high))
