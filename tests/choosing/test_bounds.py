"""Bounds that a setting must meet."""

import math

import pytest

from choosing_data import half
from decodebench.choosing.bounds import Bound, check_bounds, meeting, read_bounds
from decodebench.errors import ConfigError

HALF = half(
    {
        "greedy": {"empty": [0.0, 0.0], "time": [1.0, 1.0]},
        "sample": {"empty": [0.5, 0.0], "time": [2.0, 1.8]},
        "beam": {"empty": [0.0, 0.0], "time": [3.0, 5.0]},
        "broken": {"empty": None, "time": [1.0, 1.0]},
    }
)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("empty<=0.01", Bound(text="empty<=0.01", metric="empty", sign="<=", limit=0.01)),
        (" time < 2 * greedy ", Bound(text=" time < 2 * greedy ", metric="time", sign="<", limit=2.0, beside="greedy")),
        ("time>=greedy", Bound(text="time>=greedy", metric="time", sign=">=", limit=1.0, beside="greedy")),
        ("x>1e-3", Bound(text="x>1e-3", metric="x", sign=">", limit=1e-3)),
        (
            "x<=1.5*top_p temperature=0.3",
            Bound(
                text="x<=1.5*top_p temperature=0.3", metric="x", sign="<=", limit=1.5, beside="top_p temperature=0.3"
            ),
        ),
    ],
)
def test_forms(text: str, bound: Bound) -> None:
    assert read_bounds([text]) == (bound,)


@pytest.mark.parametrize("text", ["", "empty", "empty=1", "<=1", "empty<=", "empty<=two*greedy"])
def test_what_is_no_bound_gets_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"choose.require=.*allowed is a metric") as error:
        read_bounds([text])
    assert "\n" not in str(error.value)


def test_who_meets_them() -> None:
    every = list(HALF.arms)
    # empty: 0, 0.25, 0, none; time: 1, 1.9, 4, 1
    assert meeting(every, read_bounds(["empty<=0.25"]), HALF) == ["greedy", "sample", "beam"]
    assert meeting(every, read_bounds(["empty<0.25"]), HALF) == ["greedy", "beam"]
    assert meeting(every, read_bounds(["time<=2*greedy"]), HALF) == ["greedy", "sample", "broken"]
    assert meeting(every, read_bounds(["time<=2*greedy", "empty<=0"]), HALF) == ["greedy"]


def test_when_nobody_does_the_closest_is_named() -> None:
    # time is 1, 1.9, 4: above 4.4 by 0.77, 0.57 and 0.09 of the limit
    with pytest.raises(
        ConfigError, match=r"choose.require=time>4.4: no setting meets it; the closest is beam, with time 4"
    ):
        meeting(["greedy", "sample", "beam"], read_bounds(["time>4.4"]), HALF)
    (bound,) = read_bounds(["empty<=1"])
    assert bound.missed_by("broken", HALF) == math.inf


def test_unknown_metrics_and_strategies_are_named() -> None:
    with pytest.raises(ConfigError, match=r"choose.require=emty<=1: emty: allowed: empty"):
        check_bounds(read_bounds(["emty<=1"]), HALF)
    with pytest.raises(ConfigError, match=r"choose.require=time<=2[*]greed: .*greedy"):
        check_bounds(read_bounds(["time<=2*greed"]), HALF)
