"""Rows of the table of a task's metrics: how good the texts are by its judge, and what several samples are worth.

They are measured where texts were judged, and only there. Those named `..._at_k` are measured for each k of a run.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from decodebench.metrics import tries
from decodebench.metrics.corpus import Corpus, Stats, Text
from decodebench.metrics.kinds import AnyMetric, Metric, SetMetric, SetValue
from decodebench.records import Direction, Judgement

K = "_k"
"""What the name of a row ends in that is measured for several k: `pass_at_k` is measured as pass_at_1, pass_at_4."""


def row_name(metric: str) -> tuple[str, int | None]:
    """The row that a metric would be of, and its k: pass_at_k and 4 of `pass_at_4`; without a number: itself."""
    found = re.fullmatch(r"(.+)_([1-9]\d{0,8})", metric, re.DOTALL)
    return (f"{found[1]}{K}", int(found[2])) if found else (metric, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How the texts of a run were judged. `ks`: for how many samples the metrics of k samples are measured.

    `rule` tells judgings apart: it is a part of the metrics' versions, so that values by two rules are not compared.
    `direction` and `unit` are those of the judge's values.
    """

    ks: tuple[int, ...]
    rule: str
    direction: Direction = "higher"
    unit: str = "1"


Valued = tuple[Text, float]
"""A text and the judge's value of it; larger is better."""


def _at_k(
    name: str,
    of: Callable[[Sequence[Valued], int], float],
    *,
    needs_logprobs: bool = False,
    headline: int | None = None,
) -> Metric:
    def per_k(texts: Sequence[Text], k: int, sign: int) -> Stats | None:
        tried = texts[:k] if texts[0].generation.is_search else texts
        valued = [(text, sign * value) for text in tried if (value := _value(text)) is not None]
        return None if len(valued) < k else (sign * of(valued, k),)

    return Metric(
        name=f"{name}{K}",
        level="samples",
        direction="higher",
        group="task",
        headline=headline,
        per_k=per_k,
        needs=("judged", "logprobs") if needs_logprobs else ("judged",),
        share=True,
    )


def _value(text: Text) -> float | None:
    return None if text.judgement is None else text.judgement.value


def _mean_logprob(text: Text) -> float:
    return fmean(text.generation.token_logprobs or (float("nan"),))


def _likeliest(valued: Sequence[Valued], k: int) -> float:
    keys = [_mean_logprob(text) for text, _ in valued]
    if any(key != key for key in keys):
        return float("nan")
    return tries.chosen_at_k([value for _, value in valued], keys, k)


def _majority(valued: Sequence[Valued], k: int) -> float:
    answers = [text.judgement and text.judgement.answer for text, _ in valued]
    return tries.majority_at_k(answers, [value for _, value in valued], k)


def _said(name: str, direction: Direction, of: Callable[[Judgement], float | None], unit: str, missing: str) -> Metric:
    """What is known of each judged text beside its value."""

    def per_text(text: Text) -> Stats | None:
        value = None if text.judgement is None else of(text.judgement)
        return None if value is None else (float(value),)

    return Metric(
        name=name,
        level="text",
        direction=direction,
        group="task",
        unit=unit,
        per_text=per_text,
        missing=missing,
        needs=("judged",),
        share=unit == "1",
    )


_KEPT = "thinking was not taken apart: task.thinking=keep"

TASK_METRICS: tuple[Metric, ...] = (
    replace(_said("task", "higher", lambda said: said.value, "1", "no text could be judged"), headline=1),
    _at_k("pass_at", lambda valued, k: tries.best_at_k([value for _, value in valued], k), headline=2),
    _at_k("pass_all", lambda valued, k: tries.worst_at_k([value for _, value in valued], k)),
    _at_k("majority_at", _majority, headline=3),
    _at_k("best_by_logprob_at", _likeliest, needs_logprobs=True),
    _said("no_answer_share", "lower", lambda said: said.answer is None, "1", "no text was judged"),
    _said("answer_length", "none", lambda said: said.answer_characters, "characters", _KEPT),
    _said("thinking_length", "none", lambda said: said.thinking_characters, "characters", _KEPT),
    _said("thinking_unclosed_share", "lower", lambda said: said.thinking_unclosed, "1", _KEPT),
)


def task_metrics(judging: Judging, texts: Corpus) -> tuple[AnyMetric, ...]:
    """The rows as a run measures them: those of k samples for each of its k, and by its judge's direction and unit."""
    rows = (one for row in TASK_METRICS for one in ([at(row, k, judging) for k in judging.ks] if row.per_k else [row]))
    metrics = [replace(row, version=f"{row.version}.{judging.rule}") for row in rows]
    task = replace(metrics[0], direction=judging.direction, unit=judging.unit)
    return (task if texts.judged_whole is None else _of_whole_set(task), *metrics[1:])


def at(row: Metric, k: int, judging: Judging) -> Metric:
    """The row for k samples."""
    per_k, sign = row.per_k, -1 if judging.direction == "lower" else 1
    assert per_k is not None, "only rows of k samples"
    return replace(
        row,
        name=f"{row.name.removesuffix(K)}_{k}",
        per_prompt=lambda texts: per_k(texts, k, sign),
        per_k=None,
        direction=judging.direction,
        unit=judging.unit,
        missing=f"no prompt has {k} judged text{'s' * (k > 1)}",
    )


def _of_whole_set(task: Metric) -> SetMetric:
    """The same where the judge has said one thing of all texts, and nothing of each."""

    def prepare(texts: Corpus) -> SetValue | str:
        whole = texts.judged_whole
        if whole is None or isinstance(whole, str):
            return whole or "no text could be judged"
        prompt_ids = tuple(texts.counted)
        return SetValue(of=lambda prompts: whole, prompt_ids=prompt_ids, n=len(prompt_ids), no_interval=OF_THE_SET)

    return SetMetric(
        name=task.name,
        direction=task.direction,
        group=task.group,
        unit=task.unit,
        version=task.version,
        prepare=prepare,
        headline=task.headline,
    )


OF_THE_SET = "the judge gives one value for all texts, and none for each"
