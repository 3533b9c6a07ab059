"""docs/metrics.md says of every metric what the code does, and of nothing else."""

import math
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from decodebench.metrics import METRICS, TASK_METRICS, TIMING_METRICS, MetricsConfig, measure
from metrics_data import EOS, by_name, generation

ROOT = Path(__file__).parents[2]


def tables():
    """Each table of the page: a list of rows, {head of the column: cell}."""
    found, head = [], None
    for line in (ROOT / "docs/metrics.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            head = None
        elif head is None:
            head = cells
            found.append([])
        elif not set(line) <= set("|-"):
            assert len(cells) == len(head), line
            found[-1].append(dict(zip(head, cells, strict=True)))
    return found


QUALITY, SOURCES, TASK, LATENCY = tables()
EMPTY = generation(
    [EOS], text="", token_logprobs=(math.log(1 / 2),), finish_reason="eos", delivered_tokens=1, computed_tokens=3
)
ONE_TOKEN = generation([7], text="가", token_logprobs=(math.log(1 / 4),), delivered_tokens=1, computed_tokens=3)


@pytest.mark.parametrize(("metrics", "rows"), [(METRICS, QUALITY), (TASK_METRICS, TASK), (TIMING_METRICS, LATENCY)])
def test_rows_are_the_table_of_the_code(metrics, rows):
    said = [tuple(row[key] for key in ("metric", "level", "unit", "direction", "version")) for row in rows]
    done = [(m.name, m.level, m.unit.replace("{unit}", "the unit"), m.direction, m.version) for m in metrics]
    assert said == done
    assert all(row["formula"] for row in rows)


def test_every_metric_has_its_source_and_its_likes():
    assert [row["metric"] for row in SOURCES] == [metric.name for metric in METRICS]
    assert all(all(row.values()) for row in SOURCES)


def test_names_are_unique():
    names = [metric.name for metric in (*TASK_METRICS, *METRICS, *TIMING_METRICS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("column", "text"), [("empty text", EMPTY), ("one token", ONE_TOKEN)])
def test_examples_are_what_the_code_gives(column, text):
    rows = by_name(measure([text]))
    for row in QUALITY:
        value = rows[row["metric"]].value
        said = None if row[column] == "none" else float(row[column])
        assert value == (said if said is None else pytest.approx(said)), row["metric"]


def test_suffix_column():
    assert {row["metric"] for row in QUALITY if row["suffix"] == "yes"} == {m.name for m in METRICS if m.by_unit}


def test_the_default_config_is_that_of_the_code():
    config = yaml.safe_load((ROOT / "conf/metrics/default.yaml").read_text(encoding="utf-8"))
    assert MetricsConfig(**config) == MetricsConfig()
    assert set(config) == {field.name for field in fields(MetricsConfig)}
