"""Settings to try: inside their ranges, the default first, equally many, the same for the same seed."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.errors import ConfigError
from decodebench.plan import ChooseConfig, Trial, build_strategy, catalogue, families, trials
from decodebench.plan.search import Range

RULES = {"max_new_tokens": 12}


def tried(*names: str, count: int = 8, seed: int = 0, search: dict[str, Any] | None = None) -> tuple[Trial, ...]:
    return trials(ChooseConfig(families=list(names), trials=count, search=search), RULES, seed)


def test_each_family_has_its_default_first_and_equally_many_settings() -> None:
    every = families()
    found = tried(*every)
    assert {family: sum(one.family == family for one in found) for family in every} == {
        family: 1 if family == "greedy" else 8 for family in every
    }
    known = catalogue()
    for family in every:
        default, *others = [one for one in found if one.family == family]
        assert [default.default, *(one.default for one in others)] == [True, *[False] * len(others)]
        assert all(default.node[key] == value for key, value in known[family].numbers.items())
        assert default.node["max_new_tokens"] == 12
        assert len({str(one.node) for one in (default, *others)}) == len(others) + 1


def test_every_setting_can_be_decoded_with() -> None:
    known = catalogue()
    for one in tried(*families(), count=16):
        assert type(build_strategy(one.node)) is type(known[one.family].strategy)


def test_it_is_the_same_for_the_same_seed_alone() -> None:
    assert tried("top_p", seed=3) == tried("top_p", seed=3)
    assert tried("top_p", seed=3) != tried("top_p", seed=4)
    # more settings begin with the fewer: a larger budget adds to what was decoded
    assert tried("top_p", "min_p", count=16)[:8] == tried("top_p", count=8)


@settings(deadline=None)
@given(low=st.floats(1e-3, 1.0), width=st.floats(0.01, 3.0), log=st.booleans(), u=st.floats(0, 1, exclude_max=True))
def test_points_stay_in_their_range(low: float, width: float, log: bool, u: float) -> None:
    one = Range(key="x", low=low, high=low + width, scale="log" if log else "linear")
    assert one.low <= one.at(u) <= one.high


@given(st.integers(1, 50), st.integers(1, 50), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_whole_numbers_stay_whole_and_in_their_range(low: int, width: int, log: bool, u: float) -> None:
    one = Range(key="x", low=low, high=low + width, scale="log" if log else "linear", whole=True)
    assert type(one.at(u)) is int
    assert low <= one.at(u) <= low + width


def test_scales_by_hand() -> None:
    # the middle of a log scale from 0.01 to 1 is 0.1; of 2..4 each whole number has a third
    assert Range(key="x", low=0.01, high=1.0, scale="log").at(0.5) == 0.1
    assert [Range(key="x", low=2, high=4, whole=True).at(u) for u in (0, 0.33, 0.34, 0.66, 0.67, 0.99)] == [
        *(2, 2, 3, 3, 4, 4)
    ]
    # 1..7 on a log scale: from 1 to 8, three doublings; u = 1/3 is 2, u = 2/3 is 4
    whole = Range(key="x", low=1, high=7, scale="log", whole=True)
    assert [whole.at(u) for u in (0, 0.32, 0.34, 0.66, 0.67, 0.99)] == [1, 1, 2, 3, 4, 7]
    assert [Range(key="x", choices=("a", None)).at(u) for u in (0, 0.49, 0.5, 0.99)] == ["a", "a", None, None]


def test_points_fill_their_range() -> None:
    """A scrambled Sobol sequence of 2^k points has one in each of 2^k equal parts of every axis."""
    found = tried("temperature", count=100, search={"temperature": {"temperature": {"low": 1e-9, "high": 1.0}}})
    parts = [math.floor(one.node["temperature"] * 8) for one in found[1:65]]
    assert {parts.count(n) for n in range(8)} == {8}


def test_few_values_give_few_settings() -> None:
    found = tried("beam", "greedy", search={"beam": {"num_beams": {"low": 5, "high": 6}, "early_stopping": [True]}})
    assert [one.node.get("num_beams") for one in found] == [5, 6, None]


@pytest.mark.parametrize(
    ("names", "search", "line"),
    [
        (("topp",), None, "choose.families=topp: allowed: .*top_p"),
        (("top_p",), {"top_p": 3}, "choose.search.top_p=3: allowed are ranges by key"),
        (("top_p",), {"top_p": {"top_p": {"low": 0.5}}}, "choose.search.top_p.top_p=.*: allowed is {low"),
        (("top_p",), {"top_p": {"top_p": {"low": 0.9, "high": 0.5}}}, "low below high"),
        (("top_p",), {"top_p": {"top_p": {"low": 0.0, "high": 0.5, "scale": "log"}}}, "above 0 on a log scale"),
        (("top_p",), {"top_p": {"top_p": {"low": 0.5, "high": 1.5}}}, "choose.families=top_p: .*strategy.top_p=1.5"),
        (("top_p",), {"top_p": {"topp": {"low": 0.5, "high": 0.9}}}, "choose.families=top_p: .*strategy.topp=0.5"),
        (("greedy",), None, r"choose.families=\['greedy'\]: all settings are equal, there is nothing to choose"),
    ],
)
def test_bad_input_gets_one_line(names: tuple[str, ...], search: dict[str, Any] | None, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as error:
        tried(*names, search=search)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"families": "top_p"}, "choose.families='top_p': allowed is a list"),
        ({"families": ["top_p", "top_p"]}, "names one twice"),
        ({"trials": 0}, "choose.trials=0: allowed is 1 or more"),
        ({"split": "third"}, "choose.split=third: allowed: half, none"),
        ({"require": []}, "choose.require=.*allowed is a list"),
    ],
)
def test_bad_options(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        ChooseConfig(**options)
