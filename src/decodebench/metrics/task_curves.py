"""Metrics of k samples against k: what trying more often is worth."""

from decodebench.metrics.corpus import Corpus
from decodebench.metrics.quality import score_rows
from decodebench.metrics.rows_task import TASK_METRICS, Judging, at
from decodebench.records import CurvePoint

OVER_K = ("pass_at_k", "majority_at_k")
MOST_POINTS = 16
"""All numbers of samples up to this one have a point; above it, so many that lie about evenly in their logarithm."""


def measure_task_curves(texts: Corpus, judging: Judging) -> list[CurvePoint]:
    """The points of a cell, from one sample to the largest number that a prompt has; none where that is one.

    `n` of a point is the number of prompts with so many judged samples.
    """
    most = max(map(len, texts.prompts.values()))
    if most == 1 or texts.is_human or texts.judged_whole is not None:
        return []
    ks = sorted({round(most ** (step / (MOST_POINTS - 1))) for step in range(MOST_POINTS)})
    ks = [*range(1, most + 1)] if most <= MOST_POINTS else ks
    rows = {row.name: row for row in TASK_METRICS}
    points = [(name, k) for name in OVER_K for k in ks]
    scored = score_rows([at(rows[name], k, judging) for name, k in points], texts)
    first = texts.first
    return [
        CurvePoint(
            cell=first.cell,
            model=first.model,
            strategy=first.strategy,
            curve=name,
            unit="samples",
            start=k,
            stop=k + 1,
            value=each.value,
            reason=each.reason or each.interval.reason,
            n=each.n,
            ci_low=each.interval.low,
            ci_high=each.interval.high,
            version=f"{rows[name].version}.{judging.rule}",
        )
        for (name, k), each in zip(points, scored, strict=True)
    ]
