"""What several samples of a prompt are worth: k of its n judged samples are drawn, and one of them is taken.

Every value is the expectation over all subsets of k samples, each as likely as any other; it is computed from counts,
and no subset is drawn. That is the unbiased estimate of what k new samples would give (Chen et al. 2021, arXiv
2107.03374, of pass@k), with less variance than the first k samples alone. For k = 1 all of them are the mean.
"""

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from decodebench.stats import Array


def chosen_at_k(values: Sequence[float], keys: Sequence[float], k: int) -> float:
    """The expected value of the sample with the largest key among k of them; equal keys are taken equally often.

    The expectation of an order statistic: the largest key of k is one of a group of equal keys in C(up to them, k) -
    C(below them, k) of the C(n, k) subsets. `keys` are finite, 1 <= k <= n.
    """
    groups: dict[float, list[float]] = {}
    for key, value in sorted(zip(keys, values, strict=True)):
        groups.setdefault(key, []).append(value)
    subsets, below, parts = math.comb(len(values), k), 0, []
    for group in groups.values():
        upto = below + len(group)
        parts.append((math.comb(upto, k) - math.comb(below, k)) / subsets * math.fsum(group) / len(group))
        below = upto
    return math.fsum(parts)


def best_at_k(values: Sequence[float], k: int) -> float:
    """The expected largest value of k samples. Where c of n are 1 and the others 0: 1 - C(n - c, k) / C(n, k), pass@k
    (arXiv 2107.03374)."""
    return chosen_at_k(values, values, k)


def worst_at_k(values: Sequence[float], k: int) -> float:
    """The expected smallest value of k samples. Where c of n are 1 and the others 0: C(c, k) / C(n, k), pass^k, all of
    them right (arXiv 2406.12045)."""
    return chosen_at_k(values, [-value for value in values], k)


def majority_at_k(answers: Sequence[Hashable | None], values: Sequence[float], k: int) -> float:
    """The expected value of the commonest answer among k samples (self-consistency, Wang et al. 2022).

    Answers that are equally common are taken equally often. A sample without an answer (None) does not vote; where none
    of the k votes, one of them is taken. Samples with one answer are worth their mean.
    """
    found: dict[Hashable, list[float]] = {}
    silent = [value for answer, value in zip(answers, values, strict=True) if answer is None]
    for answer, value in zip(answers, values, strict=True):
        if answer is not None:
            found.setdefault(answer, []).append(value)
    votes = sorted((len(of), math.fsum(of) / len(of)) for of in found.values())
    nobody = math.comb(len(silent), k) / math.comb(len(values), k)
    return _plurality(tuple(votes), len(silent), k) + (nobody * math.fsum(silent) / len(silent) if silent else 0.0)


@lru_cache(maxsize=4096)
def _plurality(votes: tuple[tuple[int, float], ...], silent: int, k: int) -> float:
    """The part of the subsets in which somebody votes. `votes` are the answers' counts and values.

    For each number of votes that may win, the answers are taken up one by one: `ways_KT` is the probability of k votes
    so far with t answers at the winning number and none above it, `worth_KT` the sum of these answers' values in it.
    Each sample is taken with probability k / n; given that k are taken, all subsets are equally likely, and no number
    gets as large as C(n, k).
    """
    n = silent + sum(count for count, _ in votes)
    share = k / n
    expected = []
    for winning in range(1, min(k, max((count for count, _ in votes), default=0)) + 1):
        ways_KT = np.zeros((k + 1, k // winning + 1))
        worth_KT = np.zeros_like(ways_KT)
        ways_KT[0, 0] = 1.0
        for count, value in votes:
            taken = _binomial(count, share)
            ways, worth = (_more(table_KT, taken[:winning]) for table_KT in (ways_KT, worth_KT))
            if count >= winning:
                p, reach = taken[winning], slice(winning, None)
                ways[reach, 1:] += p * ways_KT[:-winning, :-1]
                worth[reach, 1:] += p * (worth_KT[:-winning, :-1] + value * ways_KT[:-winning, :-1])
            ways_KT, worth_KT = ways, worth
        last_T = _more(worth_KT, _binomial(silent, share))[k, 1:]
        expected.append(float((last_T / np.arange(1, len(last_T) + 1)).sum()))
    # Where every answer is right the value is 1, and not that less what was rounded.
    return round(math.fsum(expected) / float(_binomial(n, share)[k]), 12)


@lru_cache(maxsize=4096)
def _binomial(n: int, p: float) -> Array:
    """The probability of each number of successes, 0 to n."""
    if p == 1:
        return np.array([*[0.0] * n, 1.0])
    ways = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(n + 1))
    return np.exp([log_ways + i * math.log(p) + (n - i) * math.log1p(-p) for i, log_ways in enumerate(ways)])


def _more(table_KT: Array, taken: Array) -> Array:
    """The table after 0, 1, ... more votes with these probabilities."""
    after = np.zeros_like(table_KT)
    for votes, p in enumerate(taken[: len(table_KT)]):
        after[votes:] += p * table_KT[: len(table_KT) - votes]
    return after
