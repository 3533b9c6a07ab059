"""How much two texts have in common: F1 of what they share, chrF, BLEU and ROUGE-L, each from 0 to 1.

With several references: the best of them for F1, chrF and ROUGE-L; BLEU takes them together, as its paper does.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from decodebench.tasks.units import TextUnit, in_units

_TO_CHARACTERS = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
_APART = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),  # signs of ASCII
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # a point or comma that no digit precedes,
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),  # or none follows
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def token_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the units that both have, each as often as both have it (Rajpurkar et al. 2016, SQuAD 1.1).

    Precision is the shared ones / those of the answer, recall / those of the reference; 0 where nothing is shared.
    """
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence of both (Lin 2004, with precision and recall weighed alike)."""
    shared = lcs_length(answer, reference)
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0


def lcs_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, with the bits of one integer as a row of the table (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for at, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << at
    every = (1 << len(one)) - 1
    row = every
    for item in other:
        matched = row & places.get(item, 0)
        row = (row + matched | row - matched) & every
    return len(one) - row.bit_count()


def chrf(answer: str, reference: str, *, order: int = 6, beta: float = 2.0) -> float:
    """chrF (Popović 2015): F of character n-grams, white space left out, recall weighing `beta` times as much.

    Precision and recall are averaged over n = 1 .. `order`, without those n for which either text is too short, as
    sacrebleu does (nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no; its score is 100 times this one).
    """
    one, other = "".join(answer.split()), "".join(reference.split())
    precisions, recalls = [], []
    for n in range(1, min(order, len(one), len(other)) + 1):
        of_one, of_other = _ngrams(one, n), _ngrams(other, n)
        shared = (of_one & of_other).total()
        precisions.append(shared / of_one.total())
        recalls.append(shared / of_other.total())
    if not any(precisions):
        return 0.0
    precision, recall = math.fsum(precisions) / len(precisions), math.fsum(recalls) / len(recalls)
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def bleu(answer: Sequence[str], references: Sequence[Sequence[str]], *, order: int = 4) -> float:
    """BLEU of one sentence (Papineni et al. 2002) with exponential smoothing and effective order.

    The k-th order without a match counts as 1 / 2^k matches (Chen and Cherry 2014, method 3); orders for which the
    answer is too short are left out; without a single match it is 0. The brevity penalty is of the reference whose
    length is nearest, the shorter of two. It is sacrebleu's `sentence_bleu` / 100.
    """
    logs: list[float] = []
    halvings = 0
    for n in range(1, min(order, len(answer)) + 1):
        ours = _ngrams(answer, n)
        most: Counter[Sequence[str]] = Counter()
        for reference in references:
            most |= _ngrams(reference, n)
        matches = float((ours & most).total())
        if not matches:
            halvings += 1
        logs.append(math.log((matches or 0.5**halvings) / ours.total()))
        if n == 1 and not matches:
            return 0.0
    if not logs:
        return 0.0
    nearest = min((len(reference) for reference in references), key=lambda length: (abs(length - len(answer)), length))
    brevity = min(0.0, 1 - nearest / len(answer))
    return math.exp(brevity + math.fsum(logs) / len(logs))


def bleu_tokens(text: str, unit: TextUnit) -> list[str]:
    """What BLEU counts: words and signs as mteval-v13a, WMT's script, splits them ("13a" in sacrebleu); or characters
    that are no white space ("char").
    """
    if unit == "characters":
        return in_units(text, unit)
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for written, sign in _TO_CHARACTERS.items():
        text = text.replace(written, sign)
    text = f" {text} "
    for pattern, apart in _APART:
        text = pattern.sub(apart, text)
    return text.split()


def _ngrams(items: Sequence[str], n: int) -> Counter[Sequence[str]]:
    if isinstance(items, str):
        return Counter(items[at : at + n] for at in range(len(items) - n + 1))
    return Counter(tuple(items[at : at + n]) for at in range(len(items) - n + 1))
