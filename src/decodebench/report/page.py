"""report.html: the run as one file that needs no other, read in any browser."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from decodebench.report import summary
from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.figures import LeftOut, Plot
from decodebench.report.folder import Run
from decodebench.report.formats import MISSING, interval, language, number, one_line, visible
from decodebench.report.notes import Footnotes, footnotes, no_interval
from decodebench.report.texts import by_prompt, facts, heading


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """An interval drawn in its table cell: start, width and point in percent of the metric's range in the run."""

    start: float
    width: float
    point: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A table cell: the value and its interval as text, the number of its note, and the drawn interval."""

    text: str
    interval: str = ""
    note: int | None = None
    whisker: Whisker | None = None
    hint: str = ""


def page(run: Run, comparison: Comparison, plots: Sequence[Plot | LeftOut]) -> str:
    """The whole page. Everything that was generated or configured passes through the template's escaping."""
    metrics = comparison.headline
    context = {
        "title": str(run.manifest.get("name") or run.path.name),
        "command": run.manifest.get("command"),
        "opening": [*summary.models(run.manifest), *summary.prompt_sets(run.manifest)],
        "setting": summary.setting(run.manifest),
        "work": summary.work(run),
        "failed": [row for row in comparison.rows if row.error],
        "headline": table(comparison, metrics),
        "everything": table(comparison, comparison.metrics),
        "plots": [plot for plot in plots if isinstance(plot, Plot)],
        "left_out": [plot for plot in plots if isinstance(plot, LeftOut)],
        "prompts": list(by_prompt(run, comparison)),
        "manifest": json.dumps(run.manifest, ensure_ascii=False, indent=2),
    }
    return _template().render(context)


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "one_line": one_line, "language": language, "data_uri": _data_uri}
    environment.filters |= {"heading": heading, "facts": facts}
    return environment.get_template("page.html.j2")


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def table(comparison: Comparison, metrics: Sequence[Metric]) -> dict[str, Any]:
    """What the template needs of a table: its metrics, a list of values for each cell, and its notes."""
    marks = footnotes(comparison, metrics)
    ranges = {metric.name: _range(comparison, metric) for metric in metrics}
    return {
        "metrics": metrics,
        "rows": [
            (row, [_value(row, metric, marks, ranges[metric.name]) for metric in metrics]) for row in comparison.rows
        ],
        "notes": marks.notes,
        "no_interval": no_interval(comparison, metrics),
    }


def _value(row: Row, metric: Metric, marks: Footnotes, limits: tuple[float, float] | None) -> Value:
    found = row.measured.get(metric.name)
    if found is None or found.value is None:
        return Value(text=MISSING, note=marks.marks.get((row.cell, metric.name)))
    low, high = found.ci_low, found.ci_high
    return Value(
        text=number(found.value, metric.unit),
        interval=interval(low, high, metric.unit),
        whisker=_whisker(found.value, low, high, limits) if limits else None,
        hint=f"{metric.name} of {row.label}: {found.value!r} {metric.unit}, n={found.n}, version {found.version}",
    )


def _range(comparison: Comparison, metric: Metric) -> tuple[float, float] | None:
    """The lowest and highest end of the metric's intervals; None where nothing would be told apart."""
    spots = list(_spots(comparison, metric))
    return (min(spots), max(spots)) if spots and min(spots) < max(spots) else None


def _spots(comparison: Comparison, metric: Metric) -> Iterator[float]:
    for row in comparison.rows:
        found = row.measured.get(metric.name)
        if found:
            yield from (spot for spot in (found.ci_low, found.value, found.ci_high) if spot is not None)


def _whisker(value: float, low: float | None, high: float | None, limits: tuple[float, float]) -> Whisker:
    first, last = limits

    def place(spot: float) -> float:
        return round(100 * (spot - first) / (last - first), 1)

    start, end = (place(value), place(value)) if low is None or high is None else (place(low), place(high))
    return Whisker(start=start, width=round(end - start, 1), point=place(value))
