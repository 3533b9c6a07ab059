"""Each family's best by one half, what is said by the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from choosing_data import half
from decodebench.choosing import Choice, Half, Split, Tried, confirm, read_bounds, select
from decodebench.errors import ConfigError

TRIED = (
    Tried(strategy="greedy", family="greedy", default=True),
    Tried(strategy="top_p", family="top_p", default=True),
    Tried(strategy="top_p hot", family="top_p", default=False),
    Tried(strategy="top_p cold", family="top_p", default=False),
)


def flat(value: float, count: int = 40) -> list[float]:
    """Values around `value` with a spread that is the same for every strategy."""
    return (value + np.linspace(-0.2, 0.2, count)).tolist()


def noisy(value: float, seed: int, count: int = 40) -> list[float]:
    return (value + np.random.default_rng(seed).normal(0, 0.3, count)).tolist()


def of(**values: Sequence[float]) -> Half:
    """A half with `task` and computed_tokens; names with `_` for a space."""
    costs = {"greedy": 10.0, "top_p": 30.0, "top_p hot": 30.0, "top_p cold": 30.0}
    named = {"greedy": "greedy", "top_p": "top_p", "hot": "top_p hot", "cold": "top_p cold"}
    return half(
        {
            named[key]: {"task": of_prompts, "computed_tokens": [costs[named[key]]] * len(of_prompts)}
            for key, of_prompts in values.items()
        }
    )


def chosen(selecting: Half, confirming: Half, **options: Any) -> Choice:
    bounds = options.pop("bounds", ())
    selected = select(TRIED, selecting, "task", bounds)
    split = Split(kind="half", select=selecting.prompts, confirm=confirming.prompts)
    return confirm(selected, selecting, confirming, split, keep="greedy", cost="computed_tokens", bounds=bounds)


def test_the_best_by_one_half_is_reported_by_the_other() -> None:
    # hot is the luckiest on the prompts that choose, and 0.5 on the others, 0.4 less
    found = chosen(
        of(greedy=flat(0.3), top_p=flat(0.4), hot=flat(0.9), cold=flat(0.5)),
        of(greedy=noisy(0.3, 1), top_p=noisy(0.4, 2), hot=noisy(0.5, 3), cold=noisy(2.0, 4)),
    )
    family = found.families["top_p"]
    assert (family.best, family.default, family.trials) == ("top_p hot", "top_p", 3)
    assert family.select == pytest.approx(0.9)
    assert family.confirm == pytest.approx(float(np.mean(noisy(0.5, 3))))
    assert family.optimism == pytest.approx(family.select - family.confirm)
    # that cold would be best there is not seen: it was not among the contenders
    assert [one.strategy for one in found.contenders] == ["greedy", "top_p", "top_p hot"]
    assert sum(one.chance_of_best for one in found.contenders) == pytest.approx(1)
    # of 0.4, 0.5, 0.9 one has 0.6 on average; the best of two 0.5, 0.9, 0.9; of three 0.9
    assert family.curve == pytest.approx((0.6, 2.3 / 3, 0.9))


def test_a_clear_winner_is_recommended() -> None:
    found = chosen(
        of(greedy=flat(0.3), top_p=flat(0.4), hot=flat(0.9)),
        of(greedy=noisy(0.3, 1), top_p=noisy(0.4, 2), hot=noisy(1.5, 3)),
    )
    assert (found.recommended, found.winner, found.tied) == ("top_p hot", "top_p hot", ("top_p hot",))
    assert found.sentence.startswith("Take top_p hot: task 1.49 [")
    assert "on 40 prompts that the choice never saw; no other can keep up with it." in found.sentence
    assert "The default, greedy, is behind by 1.19" in found.sentence
    assert found.as_json()["schema"] == 1


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_taken() -> None:
    found = chosen(
        of(greedy=flat(0.8), top_p=flat(0.1), hot=flat(0.9)),
        of(greedy=noisy(0.8, 1), top_p=noisy(-1.0, 2), hot=noisy(0.82, 3)),
    )
    assert found.winner == "top_p hot"
    assert set(found.tied) == {"greedy", "top_p hot"}
    assert found.recommended == "greedy"
    assert "1 other cannot be told from the best, and it costs least." in found.sentence


def test_where_no_difference_can_be_shown_the_default_stays() -> None:
    found = chosen(
        of(greedy=flat(0.3), top_p=flat(0.4), hot=flat(0.5)),
        of(greedy=noisy(0.30, 1), top_p=noisy(0.31, 2), hot=noisy(0.34, 3)),
    )
    assert found.recommended == "greedy"
    assert found.sentence.startswith("No difference in task could be shown between 3 settings on 40 prompts: keep the")
    seen = {one.strategy: one.value for one in found.contenders}
    if seen["top_p hot"] > seen["greedy"]:
        assert found.prompts_needed is not None
        assert found.prompts_needed > 40
        assert f"about {found.prompts_needed} prompts" in found.sentence


def test_the_number_of_prompts_that_would_show_it() -> None:
    """Differences of mean d and spread s: n = (t_(1 - 0.025) + t_0.8)^2 s^2 / d^2 with the t of n - 1 = 39 degrees of
    freedom: (2.0227 + 0.8512)^2 = 8.2593."""
    rng = np.random.default_rng(5)
    difference = rng.normal(0, 1, 40)
    difference = (difference - difference.mean()) / difference.std(ddof=1) * 0.5 + 0.1
    base = np.linspace(0, 1, 40)
    found = chosen(
        of(greedy=flat(0.3), top_p=flat(0.2), hot=flat(0.5)),
        of(greedy=base.tolist(), top_p=base.tolist(), hot=(base + difference).tolist()),
    )
    assert found.prompts_needed == int(np.ceil(8.2593 * 0.5**2 / 0.1**2))


def test_the_other_half_may_know_better() -> None:
    # greedy leads where it is chosen, and is far behind where it is confirmed
    found = chosen(
        of(greedy=flat(0.9), top_p=flat(0.1), hot=flat(0.2)),
        of(greedy=noisy(0.0, 1), top_p=noisy(0.1, 2), hot=noisy(2.0, 3)),
    )
    assert found.winner == "greedy"
    assert (found.tied, found.recommended) == (("top_p hot",), "top_p hot")


def test_bounds_count_on_both_halves() -> None:
    selecting = of(greedy=flat(0.3), top_p=flat(0.4), hot=flat(0.9), cold=flat(0.8))
    confirming = of(greedy=noisy(0.3, 1), top_p=noisy(0.4, 2), hot=noisy(1.5, 3), cold=noisy(1.2, 4))
    found = chosen(selecting, confirming, bounds=read_bounds(["computed_tokens<=2*greedy"]))
    # the whole family costs three times as much: greedy is what is left
    assert found.left_out["top_p hot"] == "does not meet choose.require"
    assert (list(found.families), found.recommended) == (["greedy"], "greedy")
    assert "no other meets choose.require" in found.sentence
    # hot has 0.9 where it is chosen and 1.5 where it is confirmed: it is out by the latter
    found = chosen(selecting, confirming, bounds=read_bounds(["task<=1"]))
    assert [one.strategy for one in found.contenders if not one.meets] == ["top_p hot"]
    assert "top_p hot" not in found.tied


def test_nothing_to_choose_by() -> None:
    selecting = of(greedy=flat(0.3), top_p=flat(0.4))
    with pytest.raises(ConfigError, match=r"choose.by=tsk: was not measured; allowed .* such as task"):
        select(TRIED, selecting, "tsk")
    sideless = half({"greedy": {"length": flat(1)}, "top_p": {"length": flat(2)}}, length="none")
    with pytest.raises(ConfigError, match=r"choose.by=length: neither more nor less of it is better"):
        select(TRIED, sideless, "length")


def test_settings_without_a_value_are_left_out_with_the_reason() -> None:
    selecting = half({"greedy": {"task": flat(0.3)}, "top_p": {"task": flat(0.4)}, "top_p hot": {"task": None}})
    found = select(TRIED, selecting, "task")
    assert found.left_out == {"top_p hot": "task nothing to count", "top_p cold": "task was not measured"}
    with pytest.raises(ConfigError, match="one setting is left, there is nothing to choose"):
        select(TRIED, half({"greedy": {"task": flat(0.3)}}), "task")


def test_less_is_better() -> None:
    selecting = half({"greedy": {"loops": flat(0.3)}, "top_p": {"loops": flat(0.1)}}, loops="lower")
    found = select(TRIED, selecting, "loops")
    assert found.winner == "top_p"
    split = Split(kind="half", select=selecting.prompts, confirm=selecting.prompts)
    confirming = half({"greedy": {"loops": noisy(0.9, 1)}, "top_p": {"loops": noisy(0.1, 2)}}, loops="lower")
    choice = confirm(found, selecting, confirming, split, keep="greedy", cost="computed_tokens")
    assert choice.recommended == "top_p"
    # it looked better by 0.1 less loops than it is
    assert choice.families["top_p"].optimism == pytest.approx(float(np.mean(noisy(0.1, 2))) - 0.1)
