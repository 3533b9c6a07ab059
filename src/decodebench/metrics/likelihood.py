"""What the raw model thinks of its texts: perplexity from the stored log-probabilities (nats)."""

import math
from collections.abc import Sequence

import numpy as np

from decodebench.stats import Array


def logprob_sum(logprobs: Sequence[float]) -> tuple[float, float]:
    """Sum and number of the scored tokens of one text: (0, 0) where there is none."""
    return float(sum(logprobs)), float(len(logprobs))


def perplexity(total: Array, tokens: Array) -> Array:
    """exp(- sum of log-probabilities / number of tokens)."""
    return np.exp(-total / tokens)


def text_perplexity(logprobs: Sequence[float]) -> tuple[float] | None:
    """The perplexity of one text; None where it has no token, infinite where it overflows."""
    total, tokens = logprob_sum(logprobs)
    if not tokens:
        return None
    try:
        return (math.exp(-total / tokens),)
    except OverflowError:
        return (math.inf,)
