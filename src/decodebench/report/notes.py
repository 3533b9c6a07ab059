"""What is said below a comparison: why a value is missing, and how sure the others are; each reason once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decodebench.errors import one_line
from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.formats import MISSING, number, superscript
from decodebench.stats import CONFIDENCE

CONFIDENCE_PERCENT = round(100 * CONFIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A numbered reason, and where it applies: `ttft_s of beam, diverse_beam`."""

    mark: int
    where: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Footnotes:
    """The notes in order, and the number of the note for each (cell, metric name) without a value."""

    notes: tuple[Note, ...]
    marks: Mapping[tuple[str, str], int]

    def value(self, row: Row, metric: Metric) -> str:
        """The value as text, or a dash with the number of its note."""
        value = row.value(metric)
        return MISSING + superscript(self.marks[row.cell, metric.name]) if value is None else number(value, metric.unit)


def footnotes(comparison: Comparison, metrics: Sequence[Metric]) -> Footnotes:
    """Collect the missing values of these metrics. Failed cells are left out: their error says it all."""
    gaps: dict[str, dict[str, list[str]]] = {}
    marks: dict[tuple[str, str], int] = {}
    for row in comparison.rows:
        if row.error:
            continue
        for metric in metrics:
            if row.value(metric) is None:
                reason = row.missing_reason(metric)
                gaps.setdefault(reason, {}).setdefault(metric.name, []).append(row.label)
                marks[row.cell, metric.name] = list(gaps).index(reason) + 1
    everywhere = tuple(row.label for row in comparison.rows if not row.error)
    notes = [
        Note(mark=mark, where=_where(by_metric, everywhere), reason=reason)
        for mark, (reason, by_metric) in enumerate(gaps.items(), start=1)
    ]
    return Footnotes(notes=tuple(notes), marks=marks)


def warnings(comparison: Comparison) -> list[tuple[str, str]]:
    """What is odd about cells that were decoded all the same: where, as `every cell` or their labels, and what."""
    generated = [row for row in comparison.rows if not row.is_human]
    return [
        (_cells([row.label for row in generated if row.cell in cells], [row.label for row in generated]), text)
        for text, cells in comparison.warnings
    ]


def has_intervals(comparison: Comparison, metrics: Sequence[Metric]) -> bool:
    """Whether any of these values has an interval."""
    found = (row.measured.get(metric.name) for row in comparison.rows for metric in metrics)
    return any(each is not None and each.value is not None and each.ci_low is not None for each in found)


def certainty(comparison: Comparison, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """How sure the values are: one sentence for all of them, then one for each exception from it.

    Without any interval: `No intervals: <the commonest reason>. Differences may be chance.`
    """
    lacking: dict[str, dict[str, list[str]]] = {}
    valued: dict[str, list[str]] = {}
    for row in comparison.rows:
        for metric in metrics:
            found = row.measured.get(metric.name)
            if found is None or found.value is None:
                continue
            valued.setdefault(metric.name, []).append(row.label)
            if found.ci_low is None or found.ci_high is None:
                reason = one_line(found.reason or "no reason was recorded").replace(": ", ", ")
                lacking.setdefault(reason, {}).setdefault(metric.name, []).append(row.label)
    where = {reason: _without_interval(by_metric, valued) for reason, by_metric in lacking.items()}
    if has_intervals(comparison, metrics):
        first = f"Intervals are {CONFIDENCE_PERCENT}%, over prompts; where two overlap, the difference may be chance."
        return first, *(f"No interval for {places}: {reason}." for reason, places in where.items())
    if not lacking:
        return ()
    main = max(lacking, key=lambda reason: sum(map(len, lacking[reason].values())))
    others = (f"{places}: {reason}." for reason, places in where.items() if reason != main)
    return f"No intervals: {main}. Differences may be chance.", *others


def _without_interval(by_metric: Mapping[str, Sequence[str]], valued: Mapping[str, Sequence[str]]) -> str:
    """Metrics that have no interval in any cell are named alone, others with their cells."""
    alone = [metric for metric, cells in by_metric.items() if list(cells) == list(valued[metric])]
    rest = {metric: cells for metric, cells in by_metric.items() if metric not in alone}
    return "; ".join(part for part in (", ".join(alone), _where(rest, ())) if part)


def _where(by_metric: Mapping[str, Sequence[str]], everywhere: tuple[str, ...]) -> str:
    """Metrics that are missing in the same cells are named together."""
    by_cells: dict[tuple[str, ...], list[str]] = {}
    for metric, cells in by_metric.items():
        by_cells.setdefault(tuple(cells), []).append(metric)
    places = (f"{', '.join(metrics)} of {_cells(cells, everywhere)}" for cells, metrics in by_cells.items())
    return "; ".join(places)


def _cells(labels: Sequence[str], everywhere: Sequence[str]) -> str:
    return "every cell" if len(labels) > 1 and [*labels] == [*everywhere] else ", ".join(labels)
