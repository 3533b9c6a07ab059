"""One row for each cell, one value for each metric: the shape that tables, plots and pages share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from decodebench.errors import StoreError, one_line
from decodebench.metrics import MetricName, read_name
from decodebench.records import HUMAN, Direction, Measurement
from decodebench.report.folder import Run
from decodebench.report.formats import ARROWS
from decodebench.store import StoredChoice, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A column: its name, its unit and which way is better."""

    name: str
    unit: str
    direction: Direction

    @property
    def title(self) -> str:
        """The name with an arrow to the better side."""
        return self.name + ARROWS[self.direction]

    @property
    def unit_shown(self) -> str:
        """The unit to write beside the name: nothing where there is no dimension, or where the name ends in it."""
        named = self.known.without_unit.endswith(self.unit.replace("/", "_per_"))
        return "" if self.unit == "1" or named else self.unit

    @property
    def group(self) -> str:
        """What it is shown with."""
        return self.known.group

    @property
    def is_drawn(self) -> bool:
        """Whether it gets a panel of its own; the tables have all of them."""
        return self.known.drawn

    @property
    def known(self) -> MetricName:
        """What the tables of metrics know of it, by its name."""
        return read_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell with what was measured of it, by metric name; `error` where it failed."""

    cell: str
    label: str
    model: str
    prompts: str
    strategy: str
    seed: int | None
    error: str | None
    measured: Mapping[str, Measurement]

    @property
    def is_human(self) -> bool:
        """Whether these are the human references of the prompts."""
        return self.strategy == HUMAN

    def value(self, metric: Metric) -> float | None:
        """The value, or None where it is missing."""
        found = self.measured.get(metric.name)
        return None if found is None else found.value

    def missing_reason(self, metric: Metric) -> str:
        """Why there is no value."""
        found = self.measured.get(metric.name)
        return "not measured" if found is None else one_line(found.reason or "no reason was recorded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The cells in the order of the manifest, human references last, and every metric by group.

    `warnings` say what is odd about cells that were decoded all the same, each with the ids of its cells.
    """

    rows: tuple[Row, ...]
    metrics: tuple[Metric, ...]
    warnings: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def find(self, *names: str) -> Metric | None:
        """The first of these metrics that has a value in some cell, whatever unit it was counted in."""
        of_name = (metric for name in names for metric in self.measured if metric.known.plain == name)
        return next(of_name, None)

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The metrics of the short table: those with a place there that were measured, else the first eight."""
        found = [(m.known.headline, m) for m in self.measured if m.known.headline]
        return tuple(m for _, m in sorted(found, key=lambda placed: placed[0])) or self.measured[:8] or self.metrics[:8]

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics that have a value in some cell."""
        return tuple(m for m in self.metrics if any(row.value(m) is not None for row in self.rows))

    @property
    def unmeasured(self) -> dict[str, list[str]]:
        """Why the others have none, and their names: one entry for each reason."""
        reasons: dict[str, list[str]] = {}
        for metric in self.metrics:
            rows = [row for row in self.rows if not row.error]
            if rows and all(row.value(metric) is None for row in rows):
                told = dict.fromkeys(row.missing_reason(metric) for row in rows if not row.is_human) or {"": None}
                reasons.setdefault("; ".join(told), []).append(metric.name)
        return reasons

    def best(self, metric: Metric) -> float | None:
        """The value that is better than all others for certain: its interval lies apart from each of theirs.

        None where no side is better, or where an interval is missing: no difference is claimed without one. The
        human references do not compete.
        """
        rows = [row for row in self.rows if not row.is_human]
        found = [m for row in rows if (m := row.measured.get(metric.name)) is not None and m.value is not None]
        intervals = [(m.ci_low, m.ci_high) for m in found if m.ci_low is not None and m.ci_high is not None]
        if metric.direction == "none" or len(found) < 2 or len(intervals) < len(found):
            return None
        values = [m.value for m in found if m.value is not None]
        high = metric.direction == "higher"
        at = values.index(max(values) if high else min(values))
        others = [interval for n, interval in enumerate(intervals) if n != at]
        apart = all(low > intervals[at][1] if not high else top < intervals[at][0] for low, top in others)
        return values[at] if apart else None


def compare(run: Run) -> Comparison:
    """Lay the measurements of a run out by cell and metric. Raises StoreError where a value is there twice."""
    measured: dict[str, dict[str, Measurement]] = {}
    metrics: dict[str, Metric] = {}
    for each in run.measurements:
        of_cell = measured.setdefault(each.cell, {})
        if each.metric in of_cell:
            raise StoreError(f"measurements.parquet: cell {each.cell!r} has metric {each.metric!r} twice")
        of_cell[each.metric] = each
        metrics.setdefault(each.metric, Metric(name=each.metric, unit=each.unit, direction=each.direction))
    names = labels(run.manifest)
    errors = run.errors
    rows = [
        Row(
            cell=str(cell["id"]),
            label=names[str(cell["id"])],
            model=str(cell["model"]),
            prompts=str(cell["prompts"]),
            strategy=str(cell["strategy"]),
            seed=cell.get("seed"),
            error=errors.pop(str(cell["id"]), None),
            measured=measured.get(str(cell["id"]), {}),
        )
        for cell in (*run.manifest["cells"], *(run.manifest.get("references") or ()))
    ]
    ordered = tuple(sorted(metrics.values(), key=lambda metric: metric.known.place))
    warnings = tuple((str(each["warning"]), tuple(each["cells"])) for each in run.manifest.get("warnings") or ())
    return Comparison(rows=(*rows, *_unlisted(errors)), metrics=ordered, warnings=warnings)


def reporting(comparison: Comparison, choice: StoredChoice | None) -> Comparison:
    """What a report shows of each cell: of a choice that decoded its halves apart, the cells on the prompts that
    report (and what failed); of any other run all of them."""
    sets = [row.prompts for row in comparison.rows if choice is not None and row.cell == choice["cell"]]
    if not sets or len({row.prompts for row in comparison.rows}) == 1:
        return comparison
    shown = [row for row in comparison.rows if row.prompts == sets[0] or row.error]
    alone = len({row.strategy for row in shown}) == len(shown)
    rows = tuple(replace(row, label=row.strategy) if alone else row for row in shown)
    kept = {row.cell for row in rows}
    warnings = tuple((text, of) for text, cells in comparison.warnings if (of := tuple(c for c in cells if c in kept)))
    return replace(comparison, rows=rows, warnings=warnings)


def _unlisted(errors: Mapping[str, str]) -> Iterable[Row]:
    """Cells that failed before the manifest could list them."""
    for cell, error in errors.items():
        yield Row(
            cell=cell, label=one_line(cell), model="", prompts="", strategy="", seed=None, error=error, measured={}
        )


def to_frame(comparison: Comparison) -> pd.DataFrame:
    """The rows of comparison.csv: one for each cell, three columns for each metric (docs/run_folder.md)."""
    lines: list[dict[str, Any]] = []
    for row in comparison.rows:
        line: dict[str, Any] = {"cell": row.cell, "label": row.label, "model": row.model, "prompts": row.prompts}
        line |= {"strategy": row.strategy, "seed": row.seed}
        line |= {"status": "failed" if row.error else "ok", "error": row.error}
        for metric in comparison.metrics:
            found = row.measured.get(metric.name)
            line[metric.name] = found.value if found else None
            line[f"{metric.name}_ci_low"] = found.ci_low if found else None
            line[f"{metric.name}_ci_high"] = found.ci_high if found else None
        lines.append(line)
    return pd.DataFrame(lines)
