"""Does an engine draw from what a sampler keeps? Counts of first tokens held against what is expected of them.

Pure functions of numbers: neither an engine nor a model is needed. Three questions for each prompt: was a token drawn
that cannot be kept, was none drawn of a token that must come, and do the frequencies of the others fit. The chance of a
false alarm is that of the whole verification, over all its prompts together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

ALPHA = 1e-3
"""How often a right engine is called wrong, at most: one half for the prompts, each its part of it, and one half for
all of them together."""

SURE = 20.0
"""The expected count at which a token must be seen (it is missed with a probability of exp(-20) = 2e-9), and is a class
of its own among the frequencies."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expected:
    """What is expected of the first token behind a prompt, `[V]` each: its probabilities, which tokens may be kept by
    arithmetic that is off by `tolerance` (the ratio of two probabilities by that share), and which must be."""

    prompt_id: str
    probability_V: Floats
    may_V: NDArray[np.bool_]
    must_V: NDArray[np.bool_]
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A token and how often it came; `expected` is how often it should have."""

    token: int
    count: int
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the draws of one prompt say. `kept` tokens are kept; `outside` were drawn and cannot be kept, `unseen` must
    have come; `misfit` is the likelihood ratio over `freedom` degrees of freedom, `p_value` its chance (None: the draws
    fill no two classes). `odd` are the tokens that the misfit comes from, the worst first; `fits` says whether all is
    well."""

    prompt_id: str
    draws: int
    kept: int
    outside: tuple[Drawn, ...]
    unseen: tuple[Drawn, ...]
    misfit: float
    freedom: int
    p_value: float | None
    odd: tuple[Drawn, ...]
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What all prompts say. `p_value` is that of the misfits of all prompts added up; `false_alarms` is the chance that
    a right engine is called wrong; `mean_kept` is the size of the kept sets. `found` is False where the draws were too
    few to say anything."""

    looks: tuple[Look, ...]
    misfit: float
    freedom: int
    p_value: float | None
    false_alarms: float
    mean_kept: float
    alone: int
    fits: bool
    found: bool

    @property
    def wrong(self) -> tuple[Look, ...]:
        """The prompts that do not fit."""
        return tuple(look for look in self.looks if not look.fits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Where an engine's text of a prompt leaves ours: at its token number `at` (from 0) ours has `ours` and the engine
    `theirs`; None: the text is at its end there. `margin` is by how much our own log-prob of ours was larger (None
    where a text has no token there)."""

    prompt_id: str
    at: int
    ours: int | None
    theirs: int | None
    margin: float | None = None

    def close(self, tolerance: float) -> bool:
        """Whether arithmetic that is off by `tolerance` can turn the choice."""
        return self.margin is not None and self.margin <= tolerance


def parting(
    prompt_id: str, ours: Sequence[int], theirs: Sequence[int], *, content: int, eos_ids: Sequence[int] = ()
) -> Parting | None:
    """Where two texts part; None: they do not. Of our tokens the first `content` are text, those behind them are its
    end (an end token, a stop string), which an engine may leave out or have."""
    at = next((at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
    if at is None:
        at = min(len(ours), len(theirs))
        if len(theirs) <= len(ours) and len(theirs) >= content:
            return None
    mine = ours[at] if at < len(ours) else None
    other = theirs[at] if at < len(theirs) else None
    if mine in eos_ids and other in eos_ids and at == len(theirs) - 1:  # one of several end tokens
        return None
    return Parting(prompt_id=prompt_id, at=at, ours=mine, theirs=other)


def judge(expected: Sequence[Expected], counts_PV: Sequence[Counts]) -> Verdict:
    """Hold the counts of first tokens, `[V]` for each prompt, against what is expected of them."""
    looks = [
        look_at(one, counts_V, ALPHA / 2 / len(expected)) for one, counts_V in zip(expected, counts_PV, strict=True)
    ]
    misfit, freedom = sum(look.misfit for look in looks), sum(look.freedom for look in looks)
    together = _chance(misfit, freedom)
    tokens = sum(int((look.draws * one.probability_V >= SURE).sum()) for look, one in zip(looks, expected, strict=True))
    sizes = [look.kept for look in looks]
    return Verdict(
        looks=tuple(looks),
        misfit=misfit,
        freedom=freedom,
        p_value=together,
        false_alarms=ALPHA + tokens * math.exp(-SURE),
        mean_kept=float(np.mean(sizes)),
        alone=sum(size == 1 for size in sizes),
        fits=all(look.fits for look in looks) and (together is None or together >= ALPHA / 2),
        found=any(look.freedom or look.outside for look in looks) or all(size == 1 for size in sizes),
    )


def look_at(expected: Expected, counts_V: Counts, level: float) -> Look:
    """The three questions of one prompt; `level` is the false-alarm rate of its frequencies."""
    draws = int(counts_V.sum())
    due_V = draws * expected.probability_V
    outside_V = (counts_V > 0) & ~expected.may_V
    unseen_V = (counts_V == 0) & expected.must_V & (due_V * math.exp(-expected.tolerance) >= SURE)
    misfit, freedom, part_V = _misfit(expected, counts_V)
    p_value = _chance(misfit, freedom)
    odd_V = np.argsort(-part_V)[:3]
    fits = p_value is None or p_value >= level

    def drawn(tokens: Any) -> tuple[Drawn, ...]:
        return tuple(
            Drawn(token=int(token), count=int(counts_V[token]), expected=float(due_V[token])) for token in tokens
        )

    return Look(
        prompt_id=expected.prompt_id,
        draws=draws,
        kept=int((expected.probability_V > 0).sum()),
        outside=drawn(sorted(np.flatnonzero(outside_V), key=lambda token: -counts_V[token])),
        unseen=drawn(sorted(np.flatnonzero(unseen_V), key=lambda token: -due_V[token])),
        misfit=misfit,
        freedom=freedom,
        p_value=p_value,
        odd=() if fits else drawn(token for token in odd_V if part_V[token] > 0),
        fits=fits and not outside_V.any() and not unseen_V.any(),
    )


def _misfit(expected: Expected, counts_V: Counts) -> tuple[float, int, Floats]:
    """The likelihood ratio of the counts among tokens that must be kept, its degrees of freedom, and what each token
    adds to it, `[V]`.

    Whether a token at a boundary is kept changes how often the others come, but not their shares among each other. A
    token that is expected SURE times is a class of its own; the rarer ones make classes of about that size together,
    the likelier first, so that a tail that is cut off is one that does not come. What arithmetic may be off is taken
    off each expected count first, so that the ratio is never larger for it.
    """
    part_V = np.zeros(len(counts_V))
    at = np.flatnonzero(expected.must_V & (expected.probability_V > 0))
    at = at[np.argsort(-expected.probability_V[at], kind="stable")]
    among = int(counts_V[at].sum())
    if not among:
        return 0.0, 0, part_V
    due_T = among * expected.probability_V[at] / expected.probability_V[at].sum()
    own = int((due_T >= SURE).sum())
    class_T = np.arange(len(at))
    class_T[own:] = own + (due_T[own:].cumsum() / SURE).astype(np.int64)
    class_T = np.unique(class_T, return_inverse=True)[1]
    due, seen = np.bincount(class_T, due_T), np.bincount(class_T, counts_V[at].astype(np.float64))
    share = math.exp(expected.tolerance)
    near = np.clip(seen, due / share, due * share)
    part = 2 * (np.where(seen > 0, seen * np.log(np.maximum(seen, 1) / near), 0.0) - seen + near)
    part_V[at[:own]] = part[:own]
    return float(part.sum()) if len(due) > 1 else 0.0, len(due) - 1, part_V


def _chance(misfit: float, freedom: int) -> float | None:
    """The chance of a misfit at least as large, of a right engine."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, misfit)) if freedom else None
