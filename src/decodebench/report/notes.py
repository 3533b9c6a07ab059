"""The footnotes of a comparison: why a value or an interval is missing, each reason once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decodebench.report.comparison import Comparison, Metric
from decodebench.report.formats import one_line


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


def no_interval(comparison: Comparison, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """One line for each reason why a value has no interval: `no interval: <reason> (length, tok_per_s)`."""
    lacking: dict[str, dict[str, None]] = {}
    for row in comparison.rows:
        for metric in metrics:
            found = row.measured.get(metric.name)
            if found and found.value is not None and (found.ci_low is None or found.ci_high is None):
                reason = one_line(found.reason or "no reason was recorded")
                lacking.setdefault(reason, {})[metric.name] = None
    return tuple(f"no interval: {reason} ({', '.join(names)})" for reason, names in lacking.items())


def _where(by_metric: Mapping[str, Sequence[str]], everywhere: tuple[str, ...]) -> str:
    """Metrics that are missing in the same cells are named together."""
    by_cells: dict[tuple[str, ...], list[str]] = {}
    for metric, cells in by_metric.items():
        by_cells.setdefault(tuple(cells), []).append(metric)
    places = (
        f"{', '.join(metrics)} of {'every cell' if len(cells) > 1 and cells == everywhere else ', '.join(cells)}"
        for cells, metrics in by_cells.items()
    )
    return "; ".join(places)
