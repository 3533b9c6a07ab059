"""How much of a text, and of a set of texts, says the same again: n-grams, repeated passages, loops, Zipf.

A text is a sequence of units, of anything that can be hashed.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from decodebench.stats import Array

LOOP_PERIODS = 3
LOOP_MAX_PERIOD = 50
LOOP_MIN_UNITS = 30

ZIPF_RANKS = 5000
"""The most frequent units that the line is fitted to: the default of the script of Holtzman et al. 2020."""

Index = npt.NDArray[np.intp]

# --- one text -------------------------------------------------------------------------------------------------------


def ngram_counts(units: Sequence[Hashable], n: int, *, drop_last: bool = False) -> tuple[float, float]:
    """Unique and all n-grams of one text: (0, 0) where it is shorter than n units.

    `drop_last` leaves out the last n-gram, as the script of SimCTG does (Su et al. 2022,
    `measure_repetition_and_diversity`, over words): a text of n units has none then.
    """
    ngrams = list(_ngrams(units, n))
    if drop_last:
        del ngrams[-1:]
    return float(len(set(ngrams))), float(len(ngrams))


def distinct(unique: float, total: float) -> tuple[float] | None:
    """Unique n-grams per n-gram of one text; None where it has none."""
    return (unique / total,) if total else None


def seq_rep(unique: float, total: float) -> tuple[float] | None:
    """seq-rep-n (Welleck et al. 2020): 1 - unique n-grams / n-grams of one text; None where it has none."""
    return (1 - unique / total,) if total else None


def rep(unique: Array, total: Array) -> Array:
    """The share of n-grams that repeat an earlier one of their own text."""
    return 1 - unique / total


def diversity(u2: Array, t2: Array, u3: Array, t3: Array, u4: Array, t4: Array) -> Array:
    """The product of 1 - rep_n for n = 2, 3, 4."""
    return (u2 / t2) * (u3 / t3) * (u4 / t4)


def repeated_positions(units: Sequence[Hashable], n: int) -> list[bool]:
    """For each n-gram of one text, in order, whether the text had it before; the first ends at unit n - 1.

    Their mean is seq_rep; averaged over texts place by place they show where repetition sets in.
    """
    first: dict[Hashable, int] = {}
    return [first.setdefault(ngram, place) != place for place, ngram in enumerate(_ngrams(units, n))]


def longest_repeat(units: Sequence[Hashable]) -> int:
    """Units of the longest passage that a text has twice or more; 0 where no unit comes twice.

    The two places may overlap: "aaaa" has "aaa" twice. Passages of 1, 2, 4, ... units get a number each, equal ones the
    same, and longer passages are pairs of them (Karp, Miller and Rosenberg 1972); a passage that comes twice has only
    parts that come twice, so the length is found bit by bit. O(L log L) for L units.
    """
    doubled: list[list[int]] = []
    numbers = _numbers(units)
    while _repeats(numbers):
        doubled.append(numbers)
        numbers = _numbers(zip(numbers, numbers[1 << (len(doubled) - 1) :], strict=False))
    if not doubled:
        return 0
    numbers, length = doubled[-1], 1 << (len(doubled) - 1)
    for power in reversed(range(len(doubled) - 1)):
        longer = _numbers(zip(numbers, doubled[power][length:], strict=False))
        if _repeats(longer):
            numbers, length = longer, length + (1 << power)
    return length


def loop_period(units: Sequence[Hashable]) -> int | None:
    """The period of the loop in which a text ends, None where it does not end in one.

    It is the smallest p <= 50 for which the last L = max(3p, 30) units each equal the unit p places before them inside
    those L. A period need not end where the text ends: L counts units, not whole periods.
    """
    for period in range(1, LOOP_MAX_PERIOD + 1):
        length = max(LOOP_PERIODS * period, LOOP_MIN_UNITS)
        tail = units[-length:]
        if len(tail) == length and tail[period:] == tail[:-period]:
            return period
    return None


def loop_onset(units: Sequence[Hashable]) -> int | None:
    """The place (from 0) where a text starts to repeat for ever, None where it does not end in a loop.

    With p = `loop_period`, it is the first s for which units[i] = units[i + p] for all i from s on: where the first
    period begins, not its first repetition, and wherever in the period that is (x y | a b c a b c ... : 2).
    """
    period = loop_period(units)
    if period is None:
        return None
    place = len(units) - period
    while place > 0 and units[place - 1] == units[place - 1 + period]:
        place -= 1
    return place


def leading(units: Sequence[Hashable], length: int) -> Sequence[Hashable] | None:
    """The first `length` units, None where the text is shorter: longer texts repeat more for being long."""
    return units[:length] if len(units) >= length else None


def _ngrams(units: Sequence[Hashable], n: int) -> Iterable[tuple[Hashable, ...]]:
    return zip(*(units[start:] for start in range(n)), strict=False)


def _numbers(things: Iterable[Hashable]) -> list[int]:
    """A number for each, from 0 in the order of first appearance; equal things have the same."""
    known: dict[Hashable, int] = {}
    return [known.setdefault(thing, len(known)) for thing in things]


def _repeats(numbers: Sequence[int]) -> bool:
    """Whether one of `_numbers` comes twice."""
    return bool(numbers) and max(numbers) + 1 < len(numbers)


# --- a set of texts -------------------------------------------------------------------------------------------------


class NgramSet:
    """The n-grams of the texts of P prompts, ready to be counted for any of these prompts.

    An n-gram lies within one text. `prompts` are places in `texts_by_prompt`, None is all of them; a prompt that is
    named twice counts once. (A bootstrap would draw texts twice, and find repetition that is not there: what is
    counted over a set is taken of subsets.)
    """

    def __init__(self, texts_by_prompt: Sequence[Sequence[Sequence[Hashable]]], n: int) -> None:
        prompt_N, ngram_N = _numbered(texts_by_prompt, n)
        # The same n-gram of the same prompt is kept once, with its count: K pairs, ordered by prompt.
        kinds = int(ngram_N.max(initial=-1)) + 1
        pair_K, count_K = np.unique(prompt_N * kinds + ngram_N, return_counts=True)
        prompt_K, ngram_K = np.divmod(pair_K, max(1, kinds))
        self._kinds = kinds
        self._ngram_K = ngram_K.astype(np.int32)
        self._count_K = count_K.astype(np.float64)
        self._unique_P = np.bincount(prompt_K, minlength=len(texts_by_prompt))
        self._total_P = np.bincount(prompt_N, minlength=len(texts_by_prompt))

    @property
    def prompts(self) -> int:
        """How many of them have an n-gram."""
        return int(np.count_nonzero(self._total_P))

    def counts(self, prompts: Index | None = None) -> tuple[float, float]:
        """Unique and all n-grams of the texts of these prompts, pooled: (0, 0) where no text has n units."""
        chosen_P = self._chosen(prompts)
        seen_G = np.zeros(self._kinds, dtype=np.bool_)
        seen_G[self._ngram_K[np.repeat(chosen_P, self._unique_P)]] = True
        return float(np.count_nonzero(seen_G)), float(self._total_P[chosen_P].sum())

    def distinct(self, prompts: Index | None = None) -> float | None:
        """Unique n-grams per n-gram over these prompts (Li et al. 2016); None where no text has n units."""
        unique, total = self.counts(prompts)
        return unique / total if total else None

    def frequencies(self, prompts: Index | None = None) -> Array:
        """How often each n-gram comes that the texts of these prompts have, in no order."""
        chosen_K = np.repeat(self._chosen(prompts), self._unique_P)
        count_G = np.bincount(self._ngram_K[chosen_K], self._count_K[chosen_K])
        return np.asarray(count_G[count_G > 0], dtype=np.float64)

    def _chosen(self, prompts: Index | None) -> npt.NDArray[np.bool_]:
        chosen_P = np.full(len(self._total_P), prompts is None)
        if prompts is not None:
            chosen_P[prompts] = True
        return chosen_P


def _numbered(texts_by_prompt: Sequence[Sequence[Sequence[Hashable]]], n: int) -> tuple[Index, Index]:
    """The prompt (its place) and a number for each of the N n-grams; the same n-gram has the same number everywhere."""
    texts = list(chain.from_iterable(texts_by_prompt))
    units = list(chain.from_iterable(texts))
    samples_P = np.fromiter(map(len, texts_by_prompt), dtype=np.intp)
    length_T = np.fromiter(map(len, texts), dtype=np.intp)
    number = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    unit_U = np.fromiter(map(number.__getitem__, units), dtype=np.intp, count=len(units))
    text_U = np.repeat(np.arange(len(texts)), length_T)
    prompt_T = np.repeat(np.arange(len(texts_by_prompt)), samples_P)
    # Windows over all texts in a row; those that reach into the next text are dropped.
    windows = max(0, len(units) - n + 1)
    ngram_W = unit_U[:windows]
    for step in range(1, n):
        # Two numbers below U make one below U squared, and then again one below U: no overflow for any n.
        _, ngram_W = np.unique(ngram_W * len(number) + unit_U[step : step + windows], return_inverse=True)
    within_W = text_U[:windows] == text_U[n - 1 : n - 1 + windows]
    return prompt_T[text_U[:windows][within_W]], ngram_W[within_W]


def ead(unique: float, total: float, vocabulary: float) -> float | None:
    """Expectation-adjusted distinct (Liu et al. 2022): unique / (V (1 - ((V - 1) / V)^total)); None for total 0.

    The divisor is how many different things `total` draws from V equally likely ones would give, so that a set is not
    less diverse for being larger. It is below `unique` where a text avoids repetition better than chance: above 1.
    V is the number of things there can be: the vocabulary for tokens. ValueError for V below 1.
    """
    if vocabulary < 1:
        raise ValueError(f"a vocabulary of {vocabulary}: allowed is 1 or more")
    if not total:
        return None
    # ((V - 1) / V)^total would round to 1 where V is large: expm1 and log1p keep what it lacks.
    expected = 1.0 if vocabulary == 1 else -vocabulary * math.expm1(total * math.log1p(-1 / vocabulary))
    return unique / expected


def zipf_exponent(frequencies: Array, ranks: int = ZIPF_RANKS) -> float | None:
    """The Zipf coefficient: minus the slope of log frequency against log rank; None for fewer than 2 frequencies.

    As in the script of Holtzman et al. 2020: least squares over the `ranks` most frequent units, every rank with the
    same weight, equal frequencies on ranks of their own. About 1 for human text, larger where few units dominate, 0
    where all are equally frequent. `frequencies` are above 0, in any order.
    """
    log_frequency_R = np.log(np.sort(frequencies)[::-1][:ranks])
    if len(log_frequency_R) < 2:
        return None
    log_rank_R = np.log(np.arange(1, len(log_frequency_R) + 1))
    log_rank_R -= log_rank_R.mean()
    falling = -(log_rank_R @ (log_frequency_R - log_frequency_R.mean())) / (log_rank_R @ log_rank_R)
    return max(0.0, float(falling))  # equal frequencies: 0, whatever the rounding
