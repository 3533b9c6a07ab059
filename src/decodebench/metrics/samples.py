"""How alike the texts of one prompt are: self-BLEU, distinct n-grams of pairs, different texts.

Each function takes all texts of ONE prompt, as sequences of units, and gives None for fewer than two of them. The order
of the texts does not matter.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Texts = Sequence[Sequence[Hashable]]

BLEU_ORDER = 4


def self_bleu(texts: Texts) -> float | None:
    """The mean BLEU of each text against all others of its prompt, 0 to 1; low is diverse. None for fewer than 2 texts.

    Zhu et al. 2018 (Texygen), whose references are the whole set. It is sacrebleu's sentence BLEU (effective_order,
    smoothing "exp", tokenize "none") with the units as tokens; a text of fewer than four is compared by what
    n-grams it has. A text without units scores 0, as in sacrebleu, unless another one is as empty: they are the same,
    and score 1.
    """
    if len(texts) < 2:
        return None
    from sacrebleu.metrics.bleu import BLEU  # only here: it takes 0.1 s to import

    # Its sentence_score counts the n-grams of a text anew for each text that it is held against: 10 times slower.
    counts = list(_ngram_counts(texts, BLEU_ORDER))
    found_NT = [_found_elsewhere(counts_TG).tolist() for counts_TG in counts]
    total_NT = [counts_TG.sum(axis=1).tolist() for counts_TG in counts]
    lengths = [len(text) for text in texts]
    scores = []
    for at, length in enumerate(lengths):
        others = lengths[:at] + lengths[at + 1 :]
        if not length:
            scores.append(float(0 in others))
            continue
        bleu = BLEU.compute_bleu(
            [found_T[at] for found_T in found_NT],
            [total_T[at] for total_T in total_NT],
            sys_len=length,
            ref_len=min((abs(other - length), other) for other in others)[1],
            smooth_method="exp",
            effective_order=True,
        )
        scores.append(min(1.0, bleu.score / 100))
    return fmean(scores)


def pair_distinct(texts: Texts, n: int) -> float | None:
    """Mean over pairs of texts: unique n-grams of the two together / n-grams of the two; high is diverse.

    The distinct-n of Li et al. 2016, of two texts as one, averaged over pairs so that prompts with different numbers of
    samples compare; the usual forms pool all samples of a prompt, and fall with their number. Two equal texts have half
    of what one of them has. n-grams across the seam do not count. Pairs without an n-gram are left out; None for fewer
    than 2 texts, or where no text has n units.
    """
    unique = [set(zip(*(text[start:] for start in range(n)), strict=False)) for text in texts]
    total = [max(0, len(text) - n + 1) for text in texts]
    pairs = combinations(zip(unique, total, strict=True), 2)
    # |A or B| as |A| + |B| - |A and B|: what two samples share is small, and quick to collect.
    values = [(len(a) + len(b) - len(a & b)) / (of_a + of_b) for (a, of_a), (b, of_b) in pairs if of_a + of_b]
    return fmean(values) if values else None


def distinct_texts(texts: Texts) -> float | None:
    """How many of the texts are different, 1 to their number; two texts without units are the same.

    None for fewer than 2 texts: the one text of a search is not less diverse than three samples.
    """
    return float(len({tuple(text) for text in texts})) if len(texts) > 1 else None


def _ngram_counts(texts: Texts, longest: int) -> Iterator[Counts]:
    """For n = 1 to `longest`: how often each text (T) has each of the G n-grams that occur in any of them."""
    names: dict[Hashable, int] = {}
    unit_N = np.array([names.setdefault(unit, len(names)) for text in texts for unit in text], dtype=np.int64)
    owner_N = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    gram_N, kinds = unit_N, len(names)
    for n in range(1, longest + 1):
        if n > 1:
            # An n-gram is an (n-1)-gram and a unit. Numbered anew each time, the products stay below N squared.
            unique, gram_N = np.unique(gram_N[:-1] * len(names) + unit_N[n - 1 :], return_inverse=True)
            kinds = len(unique)
        whole_N = owner_N[: len(gram_N)] == owner_N[n - 1 :]  # not across the seam of two texts
        places = owner_N[: len(gram_N)][whole_N] * kinds + gram_N[whole_N]
        yield np.bincount(places, minlength=len(texts) * kinds).reshape(len(texts), kinds)


def _found_elsewhere(counts_TG: Counts) -> Counts:
    """How many n-grams of each text another one has: BLEU's clipped matches, with all others as references.

    They are min(count, largest count in the others), and that is min(count, second largest count of all): only the text
    that alone has the largest count finds less in the others.
    """
    second_G = np.sort(counts_TG, axis=0)[-2]
    found_T: Counts = np.minimum(counts_TG, second_G).sum(axis=1)
    return found_T
