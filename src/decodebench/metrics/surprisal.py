"""How surprising texts are to a scorer: from the log-probs and entropies (nats) that it gave to their tokens.

Numbers that are not finite go through: a token that the scorer holds impossible makes its text's sum infinite, and the
caller, who knows prompt and sample, says so.
"""

import math
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from decodebench.records import Reading
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


def mean_surprisal(total: Array, tokens: Array) -> Array:
    """Surprisal per token in nats, from the sums of logprob_sum: each token has the same weight."""
    return (0.0 - total) / tokens  # not -total: a sure text has 0, not -0


def text_surprisal(logprobs: Sequence[float]) -> tuple[float] | None:
    """The mean surprisal of the tokens of one text in nats; None where it has no token."""
    return ((0.0 - sum(logprobs)) / len(logprobs),) if len(logprobs) else None


def bits_and_characters(logprobs: Sequence[float], text: str) -> tuple[float, float]:
    """The surprisal of a text in bits, and its characters in Unicode form NFC; (0, 0) where it has no log-probs.

    Their ratio, bits per character, compares scorers with different tokenizers. An EOS among the log-probs adds its
    bits and no character.
    """
    if not len(logprobs):
        return 0.0, 0.0
    return (0.0 - sum(logprobs)) / math.log(2), float(len(unicodedata.normalize("NFC", text)))


def entropy_sum(entropies: Sequence[float]) -> tuple[float, float]:
    """The entropies of the scorer before each token of one text, summed in nats, and the tokens."""
    return float(sum(entropies)), float(len(entropies))


def gap_sum(reading: Reading) -> tuple[float, float]:
    """Surprisal minus entropy, summed over the tokens of one text in nats, and the tokens.

    Their ratio is the calibration gap. A text drawn from the scorer itself has 0 in expectation; truncation, a low
    temperature and search make it negative (Meister et al. 2023, "Locally typical sampling"). Raises ValueError where
    there is not one entropy for each log-prob.
    """
    pairs = zip(reading.token_logprobs, reading.token_entropies, strict=True)
    return float(sum(-logprob - entropy for logprob, entropy in pairs)), float(len(reading.token_logprobs))


def ratio(part: Array, whole: Array) -> Array:
    """part / whole, NaN where there is nothing to divide by: the `finish` of a ratio of sums."""
    return np.where(whole == 0, np.nan, part) / whole


def coherence(reading: Reading) -> tuple[float] | None:
    """The mean log-prob of a continuation given its prompt under the scorer, in nats (Su & Collier 2022).

    0 at most, high is coherent; None where the text has no token.
    """
    logprobs = reading.token_logprobs
    return (sum(logprobs) / len(logprobs),) if logprobs else None


def binned(texts: Sequence[Sequence[float] | Array], width: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """The values of one prompt's texts by position -> their sums_B and counts_B in B bins of `width` positions.

    The longest text reaches into the last bin. NaN is a position without a value; a bin without any has count 0, and
    sums / counts are the prompt's mean within each other bin. Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"width={width}: allowed: 1 or more positions")
    bins = math.ceil(max(map(len, texts), default=0) / width)
    values_L = np.concatenate([np.empty(0), *(np.asarray(values, dtype=np.float64) for values in texts)])
    bin_L = np.concatenate([np.empty(0, dtype=np.intp), *(np.arange(len(values)) // width for values in texts)])
    there_L = ~np.isnan(values_L)
    sums_B = np.zeros(bins)
    np.add.at(sums_B, bin_L[there_L], values_L[there_L])
    return sums_B, np.bincount(bin_L[there_L], minlength=bins).astype(np.int64)
