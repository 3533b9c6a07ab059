"""How many tokens a prompt is continued by: the smaller of two numbers holds, and a text must have its least."""

import pytest

from decodebench.errors import ConfigError, PromptError
from decodebench.strategies import Greedy, most_new_tokens, new_token_limit


@pytest.mark.parametrize(
    ("new", "total", "length", "most"),
    [(64, None, 10, 64), (None, 30, 10, 20), (64, 30, 10, 20), (5, 30, 10, 5), (64, 30, 30, 0), (64, 30, 33, -3)],
)
def test_the_smaller_number_holds(new: int | None, total: int | None, length: int, most: int) -> None:
    assert most_new_tokens(new, total, length) == most


def test_a_text_must_have_one_token_or_those_that_the_strategy_asks_for() -> None:
    one, three = Greedy(max_total_tokens=12), Greedy(max_total_tokens=12, min_new_tokens=3)
    assert (new_token_limit(one, 11), new_token_limit(three, 9)) == (1, 3)
    with pytest.raises(ConfigError) as raised:
        new_token_limit(one, 12)
    assert str(raised.value) == "strategy.max_total_tokens=12: a prompt has 12 tokens; allowed is 13 or more"
    with pytest.raises(PromptError) as named:
        new_token_limit(three, 10, "prompt ko", PromptError)
    assert str(named.value) == "strategy.max_total_tokens=12: prompt ko has 10 tokens; allowed is 13 or more"
