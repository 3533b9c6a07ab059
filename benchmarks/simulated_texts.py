"""Texts of a known distribution, for benchmarks/coverage.py: Zipf's law, and topics that the words of a text share."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

VOCABULARY = 3000
LENGTH = 60
TOPIC = 20
"""Words of a topic; how much of a text is about its topic differs (a third on average)."""

Ids = npt.NDArray[np.int64]
_CUMULATIVE = np.cumsum(1 / np.arange(1, VOCABULARY + 1))


def draw_texts(rng: np.random.Generator, prompts: int) -> Ids:
    """One text of 60 words for each prompt: words by Zipf's law (exponent 1), or of the text's own topic."""
    size = (prompts, LENGTH)
    common = np.searchsorted(_CUMULATIVE, rng.random(size) * _CUMULATIVE[-1])
    topic = rng.integers(0, VOCABULARY, (prompts, TOPIC))
    own = np.take_along_axis(topic, (rng.random(size) ** 2 * TOPIC).astype(np.int64), axis=1)
    return np.where(rng.random(size) < rng.beta(1, 2, (prompts, 1)), own, common)


def words(texts: Ids) -> Ids:
    """Each word as a number."""
    return texts


def bigrams(texts: Ids) -> Ids:
    """Each two words in a row as a number."""
    return texts[:, :-1] * VOCABULARY + texts[:, 1:]


def distinct(counts: Ids) -> float:
    """Different ones among all."""
    return float(np.count_nonzero(counts) / counts.sum())


def zipf(counts: Ids) -> float:
    """Slope of log frequency against log rank, least squares, with the sign turned."""
    frequencies = np.log(np.sort(counts[counts > 0])[::-1])
    ranks = np.log(np.arange(1, len(frequencies) + 1))
    ranks -= ranks.mean()
    return float(-(ranks @ frequencies) / (ranks @ ranks))


SetMetric = tuple[Callable[[Ids], Ids], Callable[[Ids], float]]
SET_METRICS: dict[str, SetMetric] = {
    "distinct-1": (words, distinct),
    "distinct-2": (bigrams, distinct),
    "Zipf exponent": (words, zipf),
}


def counted(texts: Ids, metric: SetMetric) -> Callable[[Ids], float]:
    """The metric of the texts of some prompts: units are numbered once, a subset only counts them."""
    cut, value = metric
    units = cut(texts)
    numbers = np.unique(units, return_inverse=True)[1].reshape(units.shape)
    return lambda kept: value(np.bincount(numbers[kept].ravel()))
