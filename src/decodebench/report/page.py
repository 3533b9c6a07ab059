"""report.html: the run as one file that needs no other, read in any browser."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from decodebench.errors import one_line, visible
from decodebench.report import summary
from decodebench.report.claims import choice_claims, claims
from decodebench.report.comparison import Comparison, Metric, Row, reporting
from decodebench.report.folder import Run
from decodebench.report.fonts import font_face
from decodebench.report.formats import MISSING, edges, interval, language, number
from decodebench.report.notes import Footnotes, certainty, footnotes, warnings
from decodebench.report.plots import LeftOut, Plot
from decodebench.report.texts import OPEN_PROMPTS, by_prompt, facts, more


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """An interval drawn in its table cell: start, width and point in percent of the metric's range in the run."""

    start: float
    width: float
    point: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A table cell: value and interval as text, the number of its note, the drawn interval, whether it is the best."""

    text: str
    interval: str = ""
    note: int | None = None
    whisker: Whisker | None = None
    best: bool = False
    hint: str = ""


def page(run: Run, comparison: Comparison, plots: Sequence[Plot | LeftOut]) -> str:
    """The whole page. Everything that was generated or configured passes through the template's escaping."""
    shown = reporting(comparison, run.choice)
    context = {
        "title": str(run.manifest.get("name") or run.path.name),
        "command": run.manifest.get("command"),
        "choice": run.choice and run.choice["sentence"],
        "opening": summary.opening(run.manifest),
        "details": summary.details(run),
        "warnings": warnings(shown),
        "failed": [row for row in comparison.rows if row.error],
        "headline": table(shown, shown.headline),
        "choice_claims": list(choice_claims(run)),
        "everything": table(comparison, comparison.measured),
        "unmeasured": comparison.unmeasured,
        "claims": claims(run, comparison),
        "plots": [plot for plot in plots if isinstance(plot, Plot)],
        "left_out": [plot for plot in plots if isinstance(plot, LeftOut)],
        "prompts": list(by_prompt(run, comparison)),
        "open_prompts": OPEN_PROMPTS,
        "manifest": json.dumps(run.manifest, ensure_ascii=False, indent=2),
    }
    html = _template().render(context)
    # The first </head> is the template's own: everything of the run is escaped.
    return html.replace("</head>", f"{font_face(html)}</head>", 1)


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "one_line": one_line, "language": language, "data_uri": _data_uri}
    environment.filters |= {"edges": edges, "facts": facts, "more": more}
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
            (row, [_value(comparison, row, metric, marks, ranges[metric.name]) for metric in metrics])
            for row in comparison.rows
        ],
        "notes": marks.notes,
        "certainty": certainty(comparison, metrics),
    }


def _value(
    comparison: Comparison, row: Row, metric: Metric, marks: Footnotes, limits: tuple[float, float] | None
) -> Value:
    found = row.measured.get(metric.name)
    if found is None or found.value is None:
        return Value(text=MISSING, note=marks.marks.get((row.cell, metric.name)))
    low, high = found.ci_low, found.ci_high
    whisker = None if low is None or high is None or limits is None else _whisker(found.value, low, high, limits)
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    return Value(
        text=number(found.value, metric.unit),
        interval=interval(low, high, metric.unit),
        whisker=whisker,
        best=found.value == comparison.best(metric),
        hint=f"{metric.name} of {row.label}: {found.value!r}{unit}, n={found.n}, version {found.version}",
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


def _whisker(value: float, low: float, high: float, limits: tuple[float, float]) -> Whisker:
    first, last = limits
    start, point, end = (round(100 * (spot - first) / (last - first), 1) for spot in (low, value, high))
    return Whisker(start=start, width=round(end - start, 1), point=point)
