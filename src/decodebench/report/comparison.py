"""One row for each cell, one value for each metric: the shape that tables, plots and pages share."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from decodebench.errors import StoreError, one_line
from decodebench.records import HUMAN, Direction, Measurement
from decodebench.report.folder import Run
from decodebench.report.formats import ARROWS
from decodebench.store import labels

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
    "repetition": (
        "diversity",
        *(f"rep_{n}" for n in (2, 3, 4)),
        *(f"seq_rep_{n}" for n in (2, 3, 4)),
        *(f"distinct_{n}" for n in (1, 2, 3, 4)),
        "longest_repeat",
        "loop_share",
        "loop_onset",
    ),
    "the whole set": (
        *(f"set_distinct_{n}" for n in (1, 2, 3, 4)),
        "ead",
        "zipf",
        "compression_ratio",
        "vendi",
    ),
    "between samples": (
        "self_bleu",
        *(f"pair_distinct_{n}" for n in (2, 3, 4)),
        "distinct_texts",
        "vendi_samples",
    ),
    "likelihood": (
        "perplexity",
        "perplexity_text",
        "surprisal",
        "surprisal_text",
        "bits_per_character",
        "scorer_perplexity",
        "scorer_surprisal",
        "scorer_bits_per_character",
        "entropy",
        "entropy_gap",
        "coherence",
        "prompt_cosine",
    ),
    "length": ("length", "eos_share", "truncated_share", "empty_share", "delivered_tokens"),
    "rules": ("bad_words_share", "lacks_force_words_share", "unused_token_share"),
    "cost": ("computed_tokens", "acceptance_rate", "tokens_per_forward", "ttft_s", "e2e_s", "tok_per_s", "peak_bytes"),
    "against people's texts": ("mauve",),
}
"""The metrics in the order in which they are shown, in groups; any other metric comes last, as `other`."""
NOT_DRAWN = ("seq_rep", "distinct", "pair_distinct", "perplexity_text", "surprisal_text", "scorer_surprisal")
"""What says in a panel of its own what another panel says already; so do the variants of a metric."""
LEADING = re.compile(r"(.+)_first\d+(_simctg)?")
LEADING_GROUP = "on the first units alone"
DISTANCE = re.compile(r"(.+)_w1")
HUMAN_GROUP = "against people's texts"
UNIT_SUFFIXES = ("", "_characters", "_jamo", "_words", "_morphemes")
"""Behind the names of metrics that depend on the unit: nothing where that is tokens."""


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
        if LEADING.fullmatch(self._base):
            return LEADING_GROUP
        if DISTANCE.fullmatch(self._base):
            return HUMAN_GROUP
        return next((group for group, names in GROUPS.items() if self._core in names), "other")

    @property
    def place(self) -> tuple[int, int]:
        """Where it comes: by the order of the groups, then within them."""
        groups, names = [*GROUPS, LEADING_GROUP, "other"], [name for names in GROUPS.values() for name in names]
        return groups.index(self.group), names.index(self._core) if self._core in names else len(names)

    @property
    def is_drawn(self) -> bool:
        """Whether it gets a panel of its own; the tables have all of them."""
        return self._base == self._core and re.sub(r"_\d+$", "", self._core) not in NOT_DRAWN

    @property
    def plain(self) -> str:
        """The name without unit and way of counting: that of a column of the short table."""
        return self._base.removesuffix("_simctg")

    @property
    def _base(self) -> str:
        """The name without the unit that it was counted in."""
        unit = next((suffix for suffix in UNIT_SUFFIXES if suffix and self.name.endswith(suffix)), "")
        return self.name.removesuffix(unit)

    @property
    def _core(self) -> str:
        """The name of the metric that this one is a variant of: on leading units, as a distance, counted otherwise."""
        base = self._base
        for variant in (LEADING, DISTANCE):
            if found := variant.fullmatch(base):
                base = found[1]
        return base.removesuffix("_simctg")


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
    """The cells in the order of the manifest, human references last, and every metric in the order of GROUPS.

    `warnings` say what is odd about cells that were decoded all the same, each with the ids of its cells.
    """

    rows: tuple[Row, ...]
    metrics: tuple[Metric, ...]
    warnings: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def find(self, *names: str) -> Metric | None:
        """The first of these metrics that has a value in some cell, whatever unit it was counted in."""
        of_name = (metric for name in names for metric in self.measured if metric.plain == name)
        return next(of_name, None)

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The metrics of the short table: those of HEADLINE that were measured, else the first eight."""
        found = [m for name in HEADLINE for m in self.measured if m.plain == name]
        return tuple(found) or self.measured[:8] or self.metrics[:8]

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
    ordered = tuple(sorted(metrics.values(), key=lambda metric: metric.place))
    warnings = tuple((str(each["warning"]), tuple(each["cells"])) for each in run.manifest.get("warnings") or ())
    return Comparison(rows=(*rows, *_unlisted(errors)), metrics=ordered, warnings=warnings)


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
