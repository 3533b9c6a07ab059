"""Two halves of the prompts: by hash, whole clusters, the same whatever the order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodebench.choosing import Split, split_prompts
from decodebench.errors import ConfigError


def alone(count: int) -> dict[str, str]:
    return {f"p{n}": f"p{n}" for n in range(count)}


@given(st.integers(20, 300))
def test_half_of_the_prompts_confirm(count: int) -> None:
    found = split_prompts(alone(count))
    assert len(found.confirm) == (count + 1) // 2
    assert sorted([*found.select, *found.confirm]) == sorted(alone(count))
    assert (found.limits is None) == (len(found.confirm) >= 64)


@given(st.permutations(list(alone(40))))
def test_the_order_of_the_prompts_changes_nothing(order: list[str]) -> None:
    found = split_prompts({prompt: prompt for prompt in order})
    assert set(found.confirm) == set(split_prompts(alone(40)).confirm)
    # and each half keeps the order of the set
    assert [prompt for prompt in order if prompt in found.select] == list(found.select)


def test_one_more_prompt_moves_few() -> None:
    """By hash: a prompt does not change sides because another was added, but for the one on the border."""
    before, after = split_prompts(alone(60)), split_prompts(alone(61))
    assert len(set(before.confirm) ^ set(after.confirm)) <= 2


@given(st.lists(st.integers(3, 5), min_size=30, max_size=40))
def test_clusters_stay_whole(sizes: list[int]) -> None:
    of = {f"p{c}.{n}": f"c{c}" for c, size in enumerate(sizes) for n in range(size)}
    found = split_prompts(of)
    assert not {of[prompt] for prompt in found.select} & {of[prompt] for prompt in found.confirm}
    # half, and no more beyond it than a cluster has
    assert 0 <= 2 * len(found.confirm) - len(of) < 2 * max(sizes)


def test_the_names_of_clusters_do_not_matter() -> None:
    of = {f"p{n}": f"c{n // 3}" for n in range(90)}
    renamed = {prompt: cluster[::-1] + "x" for prompt, cluster in of.items()}
    assert split_prompts(of) == split_prompts(renamed)


def test_too_few_for_two_halves() -> None:
    with pytest.raises(
        ConfigError,
        match=r"choose.split=half: 19 prompts make halves of 9 and 10; allowed are 10 or more in each, .*none",
    ):
        split_prompts(alone(19))
    with pytest.raises(ConfigError, match="12 clusters of prompts make halves of 6 and 6"):
        split_prompts({f"p{n}": f"c{n % 12}" for n in range(120)})


def test_none_reports_on_what_chose_and_says_so() -> None:
    found = split_prompts(alone(5), "none")
    assert found == Split(kind="none", select=tuple(alone(5)), confirm=tuple(alone(5)))
    assert "Nothing is confirmed" in (found.limits or "")
