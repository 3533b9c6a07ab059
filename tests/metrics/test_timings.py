"""measure_timings(): medians over rounds, means over prompts, and calls that were not or not well measured."""

import math

import pytest

from decodebench.errors import StoreError
from decodebench.metrics import TIMING_METRICS, measure_timings
from metrics_data import by_name, timing


def test_median_of_rounds_then_mean_of_prompts():
    rows = by_name(
        measure_timings(
            [
                timing(prompt_id="a", round=0, e2e_s=1.0, ttft_s=0.1, peak_bytes=5),
                timing(prompt_id="a", round=1, e2e_s=2.0, ttft_s=0.2, peak_bytes=9),
                timing(prompt_id="a", round=2, e2e_s=90.0, ttft_s=9.0, peak_bytes=7),  # one slow round
                timing(prompt_id="b", round=0, e2e_s=4.0, ttft_s=0.4, peak_bytes=3),
            ]
        )
    )
    assert list(rows) == [metric.name for metric in TIMING_METRICS]
    assert rows["e2e_s"].value == 3.0  # (median 2 + 4) / 2
    assert rows["ttft_s"].value == pytest.approx(0.3)  # (0.2 + 0.4) / 2
    # a: median of 10/1, 10/2, 10/90 = 5; b: 10/4 = 2.5
    assert rows["tok_per_s"].value == 3.75
    assert (rows["tok_per_s"].unit, rows["tok_per_s"].direction) == ("tok/s", "higher")
    assert rows["peak_bytes"].value == 9.0
    assert {row.n for row in rows.values()} == {2}
    assert rows["e2e_s"].reason == "2 prompts: an interval needs at least 10"
    assert rows["peak_bytes"].reason == "the largest of all calls has no interval"


def test_an_even_number_of_rounds():
    assert by_name(measure_timings([timing(round=i, e2e_s=s) for i, s in enumerate((1.0, 4.0))]))["e2e_s"].value == 2.5


def test_missing_keeps_the_reason_of_the_timing():
    calls = [timing(round=i, ttft_s=None, ttft_reason="beam search has no first token before its end") for i in (0, 1)]
    row = by_name(measure_timings(calls))["ttft_s"]
    assert (row.value, row.reason, row.n) == (None, "beam search has no first token before its end", 0)
    row = by_name(measure_timings([timing(peak_bytes=None, peak_reason="no counter")]))["peak_bytes"]
    assert (row.value, row.reason, row.n) == (None, "no counter", 0)


def test_prompts_that_gave_no_value_are_not_counted():
    calls = [timing(prompt_id="a", ttft_s=None, ttft_reason="lost"), timing(prompt_id="b", ttft_s=0.5)]
    row = by_name(measure_timings(calls))["ttft_s"]
    assert (row.value, row.n) == (0.5, 1)


def test_ten_prompts_have_an_interval():
    row = by_name(measure_timings([timing(prompt_id=f"p{i}", e2e_s=1.0 + i) for i in range(10)]))["e2e_s"]
    assert row.reason is None
    assert row.ci_low < row.value == 5.5 < row.ci_high


@pytest.mark.parametrize("e2e_s", [0.0, math.nan, math.inf])
def test_times_that_cannot_be(e2e_s):
    rows = by_name(measure_timings([timing(e2e_s=e2e_s, ttft_s=math.nan), timing(round=1)]))
    assert rows["ttft_s"].value is None
    assert rows["ttft_s"].reason == "a timed call gave a number that is not finite"
    if e2e_s != math.inf:  # an endless call has a rate of 0
        assert rows["tok_per_s"].reason == "a timed call gave a number that is not finite"


def test_no_calls_and_calls_of_two_cells():
    assert measure_timings([]) == []
    with pytest.raises(StoreError, match="2 cells measured as one: c1, c2"):
        measure_timings([timing(), timing(cell="c2")])
