"""Who leaves a race, and that the best stays."""

from typing import Any

import numpy as np
import pytest

from choosing_data import half
from decodebench.choosing import read_bounds, rounds_of, still_in


def prompts(count: int, cluster: int = 1) -> dict[str, str]:
    return {f"p{n}": f"c{n // cluster}" for n in range(count)}


@pytest.mark.parametrize(
    ("count", "cluster", "lengths"),
    [
        (31, 1, [31]),  # 16 would leave fewer than that for the second round
        (32, 1, [16, 16]),
        (63, 1, [16, 47]),
        (64, 1, [16, 16, 32]),
        (128, 1, [16, 16, 32, 64]),
        (150, 1, [16, 16, 32, 86]),
        (96, 3, [48, 48]),  # 32 clusters
    ],
)
def test_every_round_doubles_what_was_decoded(count: int, cluster: int, lengths: list[int]) -> None:
    of = prompts(count, cluster)
    rounds = rounds_of(of)
    assert [len(each) for each in rounds] == lengths
    assert sorted(id_ for each in rounds for id_ in each) == sorted(of)
    clusters = [{of[id_] for id_ in each} for each in rounds]
    assert sum(map(len, clusters)) == len(set(of.values()))  # none on two sides
    assert rounds_of(dict(reversed(of.items())))[0] != ()
    assert {*rounds_of(dict(reversed(of.items())))[0]} == {*rounds[0]}


def values(worth: float, seed: int, count: int = 16) -> list[float]:
    return (worth + np.random.default_rng(seed).normal(0, 0.1, count)).tolist()


def test_what_could_hardly_win_leaves() -> None:
    best = values(0.9, 1)
    near = [value + (0.05 if n % 2 else -0.06) for n, value in enumerate(best)]
    racing = half(
        {
            "best": {"task": best, "loop_share": [0.5] * 16},
            "as good": {"task": near, "loop_share": [0.0] * 16},
            "worse": {"task": values(0.3, 3), "loop_share": [0.0] * 16},
            "lost": {"task": None, "loop_share": [0.0] * 16},
        }
    )
    once: dict[str, Any] = {"prompts": 32, "looks": 1}
    assert still_in(["best", "as good", "worse", "lost"], racing, "task", **once) == ["best", "as good"]
    # one that left does not come back, nor does it lead
    assert still_in(["as good", "worse"], racing, "task", **once) == ["as good"]
    # 0.6 behind at a spread of 0.14: t is about 17 at 15 degrees of freedom, but 16 prompts show no more than 2^-16
    assert still_in(["best", "worse"], racing, "task", prompts=32, looks=10_000) == ["best", "worse"]
    # the best does not lead where it does not meet the bounds, and stays all the same: it could on all prompts
    bounds = read_bounds(["loop_share<=0.1"])
    assert still_in(["best", "as good", "worse"], racing, "task", **once, bounds=bounds) == ["best", "as good"]
    assert still_in(["best", "worse"], racing, "task", **once, bounds=read_bounds(["loop_share<=-1"])) == [
        *("best", "worse")
    ]


def test_of_less_is_better_the_largest_leaves() -> None:
    racing = half({"a": {"seq_rep_4": values(0.9, 1)}, "b": {"seq_rep_4": values(0.3, 3)}}, seq_rep_4="lower")
    assert still_in(["a", "b"], racing, "seq_rep_4", prompts=32, looks=1) == ["b"]


def test_the_fewer_prompts_are_left_the_sooner_one_leaves() -> None:
    # a is ahead by 0.1 on average, at differences of 0.6 and -0.4: t = 0.1 / (0.516 / 4) = 0.77 at 15 degrees of
    # freedom, one-sided p 0.23. Of 17 prompts one is left: 0.77 / sqrt(1/17) = 3.2, p 0.003.
    racing = half({"a": {"task": [1.0, 0.0] * 8}, "b": {"task": [0.4, 0.4] * 8}})
    assert still_in(["a", "b"], racing, "task", prompts=1000, looks=1) == ["a", "b"]
    assert still_in(["a", "b"], racing, "task", prompts=17, looks=1) == ["a"]
    assert still_in(["a", "b"], racing, "task", prompts=17, looks=25) == ["a", "b"]  # 0.05 / 25 is less than 0.003


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_winner_of_all_prompts_is_lost_in_five_of_a_hundred_at_most(share: float) -> None:
    """30 settings that are equally good, so that luck alone says who wins: 100 races of 64 prompts with a look after
    32. At 5% more than 13 are lost by chance once in 2,000 such tests."""
    rng = np.random.default_rng(7)
    names = [f"s{n}" for n in range(30)]
    lost = left = 0
    for _ in range(100):
        whole = rng.binomial(3, share, (30, 64)) / 3
        winner = names[int(whole.mean(axis=1).argmax())]
        made: dict[str, dict[str, Any]] = {
            name: {"task": of_name.tolist()} for name, of_name in zip(names, whole[:, :32], strict=True)
        }
        going = still_in(names, half(made), "task", prompts=64, looks=1)
        lost += winner not in going
        left += len(names) - len(going)
    assert lost <= 13
    assert left > 0
