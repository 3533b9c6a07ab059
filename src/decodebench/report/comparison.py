"""One row for each cell, one value for each metric: the shape that tables, plots and pages share."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from decodebench.errors import StoreError
from decodebench.records import Direction, Measurement
from decodebench.report.folder import Run
from decodebench.report.formats import ARROWS, one_line

HEADLINE = (
    "diversity",
    "rep_4",
    "loop_share",
    "perplexity",
    "e2e_s",
    "tok_per_s",
    "ttft_s",
    "length",
    "distinct_2",
)
"""The metrics of the short table, the most telling first."""
GROUPS = {
    "quality": (
        "diversity",
        "rep_2",
        "rep_3",
        "rep_4",
        "loop_share",
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "distinct_4",
    ),
    "likelihood": ("perplexity", "perplexity_text"),
    "length": ("length", "eos_share", "empty_share", "delivered_tokens"),
    "cost": ("computed_tokens", "acceptance_rate", "tokens_per_forward", "ttft_s", "e2e_s", "tok_per_s", "peak_bytes"),
}
"""The metrics in the order in which they are shown, in groups; any other metric comes last, as `other`."""
N_GRAM_UNITS = ("", "_characters", "_words")


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
        named = self._base.endswith(self.unit.replace("/", "_per_"))
        return "" if self.unit == "1" or named else self.unit

    @property
    def group(self) -> str:
        """The group of GROUPS that it belongs to, or `other`."""
        return next((group for group, names in GROUPS.items() if self._base in names), "other")

    @property
    def place(self) -> int:
        """Where it comes in the order of GROUPS."""
        order = [name for names in GROUPS.values() for name in names]
        return order.index(self._base) if self._base in order else len(order)

    @property
    def _base(self) -> str:
        return self.name.removesuffix("_characters").removesuffix("_words")


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
    """The cells in the order of the manifest, and every metric in the order of GROUPS."""

    rows: tuple[Row, ...]
    metrics: tuple[Metric, ...]

    def find(self, *names: str) -> Metric | None:
        """The first of these metrics that has a value in some cell; over tokens, else characters, else words."""
        by_name = {metric.name: metric for metric in self.metrics}
        for name in (name + unit for name in names for unit in N_GRAM_UNITS):
            metric = by_name.get(name)
            if metric and any(row.value(metric) is not None for row in self.rows):
                return metric
        return None

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The metrics of the short table: those of HEADLINE that were measured, else the first eight."""
        wanted = [name + unit for name in HEADLINE for unit in N_GRAM_UNITS]
        found = sorted((m for m in self.metrics if m.name in wanted), key=lambda m: wanted.index(m.name))
        return tuple(found) or self.metrics[:8]

    def best(self, metric: Metric) -> float | None:
        """The value that is better than all others for certain: its interval lies apart from each of theirs.

        None where no side is better, or where an interval is missing: no difference is claimed without one.
        """
        found = [m for row in self.rows if (m := row.measured.get(metric.name)) is not None and m.value is not None]
        intervals = [(m.ci_low, m.ci_high) for m in found if m.ci_low is not None and m.ci_high is not None]
        if metric.direction == "none" or len(found) < 2 or len(intervals) < len(found):
            return None
        values = [m.value for m in found if m.value is not None]
        high = metric.direction == "higher"
        at = values.index(max(values) if high else min(values))
        others = [interval for n, interval in enumerate(intervals) if n != at]
        apart = all(low > intervals[at][1] if not high else top < intervals[at][0] for low, top in others)
        return values[at] if apart else None


def labels(manifest: Mapping[str, Any]) -> dict[str, str]:
    """A short unique name for each cell id: the strategy, and what else differs between the cells of the run."""
    cells = manifest["cells"]
    varying = [key for key in ("model", "prompts", "seed") if len({cell[key] for cell in cells}) > 1]
    names = {}
    for cell in cells:
        extras = [f"seed={cell[key]}" if key == "seed" else str(cell[key]) for key in varying]
        names[str(cell["id"])] = one_line(" · ".join([str(cell["strategy"]), *extras]))
    count = Counter(names.values())
    return {cell: f"{name} #{cell}" if count[name] > 1 else name for cell, name in names.items()}


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
            seed=cell["seed"],
            error=errors.pop(str(cell["id"]), None),
            measured=measured.get(str(cell["id"]), {}),
        )
        for cell in run.manifest["cells"]
    ]
    ordered = tuple(sorted(metrics.values(), key=lambda metric: metric.place))
    return Comparison(rows=(*rows, *_unlisted(errors)), metrics=ordered)


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
