"""How many tokens a prompt is continued by: of two numbers that every strategy has, the smaller one holds."""

from decodebench.errors import ConfigError, DecodebenchError
from decodebench.strategies.base import Strategy


def most_new_tokens(max_new_tokens: int | None, max_total_tokens: int | None, prompt_length: int) -> int:
    """New tokens behind a prompt of `prompt_length`, at most: 0 or fewer where the prompt alone fills the total.

    One of the two numbers is given at least.
    """
    limits = (max_new_tokens, None if max_total_tokens is None else max_total_tokens - prompt_length)
    return min(n for n in limits if n is not None)


def new_token_limit(
    strategy: Strategy, prompt_length: int, prompt: str = "a prompt", error: type[DecodebenchError] = ConfigError
) -> int:
    """New tokens behind a prompt of `prompt_length`, at most, by the numbers of the strategy.

    Raises `error`, which calls the prompt `prompt`, where they leave fewer than a text must have.
    """
    total, least = strategy.max_total_tokens, max(1, strategy.min_new_tokens)
    limit = most_new_tokens(strategy.max_new_tokens, total, prompt_length)
    if limit < least:
        raise error(
            f"strategy.max_total_tokens={total}: {prompt} has {prompt_length} tokens; "
            f"allowed is {prompt_length + least} or more"
        )
    return limit
