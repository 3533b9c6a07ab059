"""How alike two texts are, and which text is most like all others (minimum Bayes risk decoding).

A utility u(hypothesis, reference) is largest where both are the same text. Two texts without content are the same, one
without content is like no other: where a library says nothing of that, it is said here.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Text = TypeVar("Text", bound=Hashable)


def chrf(hypothesis: str, reference: str) -> float:
    """sacrebleu's sentence chrF2 (Popović 2015: character n-grams up to 6, recall weighs twice), 0 to 100.

    It leaves white space out, and so do we in what counts as content.
    """
    from sacrebleu.metrics.chrf import CHRF  # only here: it takes 0.1 s to import

    if not hypothesis.strip() or not reference.strip():
        return 100.0 * (not hypothesis.strip() and not reference.strip())
    return float(CHRF().sentence_score(hypothesis, [reference]).score)


def ngram_f1(hypothesis: Sequence[int], reference: Sequence[int], order: int) -> float:
    """Mean over k = 1 .. order of the F1 of token k-grams, 2 x common / (those of one + those of the other), 0 to 1.

    A k-gram that comes twice counts twice. A k for which both texts are too short is left out of the mean.
    """
    if not hypothesis and not reference:
        return 1.0
    values = []
    for k in range(1, order + 1):
        one, other = ngrams(hypothesis, k), ngrams(reference, k)
        if one or other:
            values.append(2 * (one & other).total() / (one.total() + other.total()))
    return math.fsum(values) / len(values)


def ngrams(tokens: Sequence[int], k: int) -> Counter[tuple[int, ...]]:
    """How often each k-gram comes."""
    return Counter(tuple(tokens[at : at + k]) for at in range(len(tokens) - k + 1))


def cosine(vectors_NH: Tensor) -> list[list[float]]:
    """Cosines of all pairs of vectors, -1 to 1; two zero vectors are the same text, one is like no other."""
    unit_NH = torch.nn.functional.normalize(vectors_NH.to(torch.float64), dim=-1)
    zero_N = (vectors_NH == 0).all(-1)
    values: list[list[float]] = (unit_NH @ unit_NH.T + (zero_N[:, None] & zero_N)).tolist()
    return values


def of_pairs(texts: Sequence[Text], utility: Callable[[Text, Text], float]) -> list[list[float]]:
    """utility(hypothesis i, reference j) of all pairs, each pair of distinct texts computed once."""
    distinct = dict.fromkeys(texts)
    known = {(one, other): utility(one, other) for one in distinct for other in distinct}
    return [[known[one, other] for other in texts] for one in texts]


def expected(utility: Sequence[Sequence[float]]) -> list[float]:
    """The mean utility of each hypothesis, the other texts being the references.

    Rounded once (fsum), so that texts with equal utilities in another order tie exactly.
    """
    others = len(utility) - 1
    return [math.fsum(u for j, u in enumerate(row) if j != i) / others for i, row in enumerate(utility)]
