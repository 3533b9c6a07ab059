"""What a name says of a metric is what the run that made the name meant, and where a report shows it."""

import pytest

from decodebench.metrics import METRICS, TASK_METRICS, TIMING_METRICS, UNITS, MetricsConfig, chosen, read_name
from decodebench.metrics.kinds import GROUPS, HUMAN_GROUP, LEADING_GROUP, named
from decodebench.metrics.options import COMPATS
from decodebench.metrics.table import distances, on_leading_units


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("compat", [None, *COMPATS])
def test_every_name_that_a_run_can_have_is_that_of_its_row(unit, compat):
    metrics = chosen(MetricsConfig(unit=unit, compat=compat))
    repeating = [row for row in METRICS if row.repeats]
    for metric, row in zip(metrics, METRICS, strict=True):
        read = read_name(named(metric, unit))
        assert (read.row, read.plain, read.without_unit) == (row, row.name, metric.name)
        assert (read.group, read.headline) == (row.group, row.headline)
        assert read.drawn == (row.drawn and metric.name == row.name)
    for metric, row in zip(on_leading_units(metrics, 12), repeating, strict=True):
        read = read_name(named(metric, unit))
        assert (read.row, read.plain, read.without_unit) == (row, f"{row.name}_first12", metric.name)
        assert (read.group, read.headline, read.drawn) == (LEADING_GROUP, None, False)
    for metric in distances(metrics):
        read = read_name(named(metric, unit))
        assert read.row in METRICS
        assert (f"{read.row.name}_w1", read.without_unit) == (metric.name, metric.name)
        assert (read.is_distance, read.group, read.headline, read.drawn) == (True, metric.group, None, False)


def test_a_row_is_not_taken_for_a_variant_of_another():
    for row in (*METRICS, *TIMING_METRICS):
        assert read_name(row.name).row is row


@pytest.mark.parametrize(
    ("name", "group", "drawn"),
    [
        ("novelty", "other", True),
        ("novelty_words", "other", True),
        ("novelty_simctg", "other", False),
        ("novelty_first8_jamo", LEADING_GROUP, False),
        ("novelty_w1", HUMAN_GROUP, False),
        ("words", "other", True),
        ("", "other", True),
        ("two\nlines", "other", True),
    ],
)
def test_a_metric_of_another_version_comes_last_in_its_group(name, group, drawn):
    read = read_name(name)
    assert (read.row, read.group, read.headline, read.drawn) == (None, group, None, drawn)
    assert all(read.place > read_name(row.name).place for row in (*METRICS, *TIMING_METRICS) if row.group == group)


def test_groups_come_in_their_order_and_rows_in_theirs():
    every = (*TASK_METRICS, *METRICS, *TIMING_METRICS)
    backwards = [row.name for row in every][::-1]
    shown = sorted(backwards, key=lambda name: read_name(name).place)
    assert shown == [row.name for group in GROUPS for row in every if row.group == group]
    assert sorted(["mauve", "length_w1", "rep_4_first8", "novelty"], key=lambda name: read_name(name).place) == [
        "length_w1",
        "mauve",
        "rep_4_first8",
        "novelty",
    ]


def test_the_short_table_has_its_places_once():
    every = (*TASK_METRICS, *METRICS, *TIMING_METRICS)
    places = {row.headline: row.name for row in every if row.headline is not None}
    assert sorted(places) == [*range(1, 13)]
    assert [places[place] for place in range(1, 13)] == [
        "task",
        "pass_at_k",
        "majority_at_k",
        "diversity",
        "rep_4",
        "loop_share",
        "perplexity",
        "e2e_s",
        "tok_per_s",
        "ttft_s",
        "length",
        "distinct_2",
    ]
