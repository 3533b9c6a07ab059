"""A stored run held against a baseline file: the run is read and scored as the baseline was, then judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from decodebench.errors import StoreError
from decodebench.metrics import measure_timings
from decodebench.records import Measurement, Timing
from decodebench.regression.assigning import assign
from decodebench.regression.baseline import Baseline, BaselineArm, BaselineMetric
from decodebench.regression.baseline_file import read_baseline
from decodebench.regression.findings import Check
from decodebench.regression.judging import judge
from decodebench.regression.making import make_baseline
from decodebench.regression.matching import FailedArm, match
from decodebench.regression.rules import Rule, read_rules
from decodebench.store import read_manifest, read_records

_COUNTED_AS = ("unit", "compat")
"""What a run is scored by as its baseline was, whatever its own configuration says."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both sides of a check in memory, and the cells of the run that failed."""

    baseline: Baseline
    run: Baseline
    failed: tuple[FailedArm, ...]


def check(run_dir: Path, baseline: Path | Baseline, rules: Path | Sequence[Rule] | None = None) -> Check:
    """Hold a stored run against a baseline (a file, or one that was read); None: the default rules.

    `exit_code` of what it returns is 0, 1 or 2. Raises ConfigError for rules that are wrong or do not fit the baseline,
    StoreError for a run or a baseline that cannot be read, and for numbers that are not finite.
    """
    given = read_rules(rules) if rules is None or isinstance(rules, Path) else rules
    return check_sides(read_sides(run_dir, baseline), given, run=str(run_dir), baseline=_name(baseline))


def check_sides(sides: Sides, rules: Sequence[Rule], *, run: str, baseline: str) -> Check:
    """The same of what was read already; `run` and `baseline` are their names."""
    return replace(judge(sides.baseline, sides.run, rules, sides.failed), run=run, baseline=baseline)


def refuse_rules(rules: Sequence[Rule], baseline: Baseline) -> None:
    """Raise ConfigError for rules that do not fit the baseline, before there is a run; of bounds, which are about the
    run alone, nothing is known yet."""
    known = [rule for rule in rules if rule.kind != "bound"]
    assign(known, match(baseline, baseline).pairs, baseline, baseline)


def read_sides(run_dir: Path, baseline: Path | Baseline) -> Sides:
    """Read both sides. The metrics of the run are computed anew, in the unit of the baseline."""
    held = read_baseline(baseline) if isinstance(baseline, Path) else baseline
    manifest = read_manifest(run_dir)
    if manifest.get("status") == "running":
        raise StoreError(f"{run_dir}: is not finished (status running); run its command again first")
    metrics = held.made.get("metrics", {})
    counted = {key: metrics[key] for key in _COUNTED_AS if key in metrics}
    made = make_baseline(run_dir, whole=False, **counted)
    return Sides(baseline=held, run=_with_timings(made, run_dir, manifest), failed=_failed(manifest))


def _name(baseline: Path | Baseline) -> str:
    return str(baseline) if isinstance(baseline, Path) else str(baseline.made.get("run") or "baseline")


def _failed(manifest: Mapping[str, Any]) -> tuple[FailedArm, ...]:
    cells = {entry["id"]: entry for entry in manifest["cells"]}
    return tuple(
        FailedArm(**{key: cells[one["cell"]][key] for key in ("model", "prompts", "strategy")}, error=one["error"])
        for one in manifest["failed"]
        if one["cell"] in cells
    )


def _with_timings(made: Baseline, run_dir: Path, manifest: Mapping[str, Any]) -> Baseline:
    """The run with what was timed of it, which a baseline does not keep: bounds may be of it."""
    arm_of = {entry["id"]: (entry["model"], entry["prompts"], entry["strategy"]) for entry in manifest["cells"]}
    by_cell: dict[str, list[Timing]] = {}
    for timing in read_records(run_dir / "latency.parquet", Timing, optional=True):
        by_cell.setdefault(timing.cell, []).append(timing)
    measured: dict[tuple[str, str, str], dict[str, list[Measurement]]] = {}
    for cell, timings in by_cell.items():
        for each in measure_timings(timings) if cell in arm_of else ():
            measured.setdefault(arm_of[cell], {}).setdefault(each.metric, []).append(each)
    return replace(made, arms=tuple(_timed(arm, measured) for arm in made.arms))


def _timed(arm: BaselineArm, measured: Mapping[tuple[str, str, str], Mapping[str, list[Measurement]]]) -> BaselineArm:
    timed = measured.get((arm.model, arm.prompts, arm.strategy), {})
    return replace(arm, metrics={**arm.metrics, **{name: _over_seeds(each) for name, each in timed.items()}})


def _over_seeds(seeds: Sequence[Measurement]) -> BaselineMetric:
    first, values = seeds[0], [each.value for each in seeds if each.value is not None]
    return BaselineMetric(
        version=first.version,
        unit=first.unit,
        direction=first.direction,
        value=fmean(values) if len(values) == len(seeds) else None,
        reason=next((each.reason for each in seeds if each.value is None), None),
        rows={},
    )
