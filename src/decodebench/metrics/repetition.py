"""How much of a text says the same again: n-gram counts and loops."""

from collections.abc import Hashable, Sequence

from decodebench.stats import Array

LOOP_PERIODS = 3
LOOP_MAX_PERIOD = 50
LOOP_MIN_UNITS = 30


def ngram_counts(units: Sequence[Hashable], n: int) -> tuple[float, float]:
    """Unique and all n-grams of one text: (0, 0) where it is shorter than n units."""
    ngrams = list(zip(*(units[start:] for start in range(n)), strict=False))
    return float(len(set(ngrams))), float(len(ngrams))


def distinct(units: Sequence[Hashable], n: int) -> tuple[float] | None:
    """Unique n-grams per n-gram of one text; None where it is shorter than n units."""
    unique, total = ngram_counts(units, n)
    return (unique / total,) if total else None


def diversity_counts(units: Sequence[Hashable]) -> tuple[float, ...]:
    """The counts of 2-, 3- and 4-grams: unique, all, unique, all, unique, all."""
    return (*ngram_counts(units, 2), *ngram_counts(units, 3), *ngram_counts(units, 4))


def rep(unique: Array, total: Array) -> Array:
    """The share of n-grams that repeat an earlier one of their own text."""
    return 1 - unique / total


def diversity(u2: Array, t2: Array, u3: Array, t3: Array, u4: Array, t4: Array) -> Array:
    """The product of 1 - rep_n for n = 2, 3, 4."""
    return (u2 / t2) * (u3 / t3) * (u4 / t4)


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
