"""Metrics of a whole set of texts, made ready to be taken of any subset of its prompts."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from decodebench.metrics import humans, repetition, spread
from decodebench.metrics.corpus import Corpus, Stats, Text
from decodebench.metrics.kinds import Index, SetValue
from decodebench.stats import Array

MAUVE_LEAST = 100
"""It compares a tenth as many clusters. With 30 texts, loops and human texts had one histogram, and MAUVE 1."""
FEW_SUBSETS = 20
"""For what has to look at the texts themselves in each subset: a tenth of a second for a thousand of them."""


def distinct(corpus: Corpus, *, n: int) -> SetValue:
    """Unique n-grams of all texts / n-grams of all texts (Li et al. 2016)."""
    grams = repetition.NgramSet(_units(corpus), n)
    return SetValue(of=grams.distinct, prompt_ids=tuple(corpus.counted), n=grams.prompts)


def ead(corpus: Corpus) -> SetValue | str:
    """Expectation-adjusted distinct-1 (Liu et al. 2022), over tokens of a vocabulary of known size."""
    vocabulary = corpus.vocabulary
    if vocabulary is None:
        return "the size of the vocabulary is known for the tokens of a model only"
    grams = repetition.NgramSet(_units(corpus), 1)

    def of(prompts: Index) -> float | None:
        unique, total = grams.counts(prompts)
        return repetition.ead(unique, total, vocabulary)

    return SetValue(of=of, prompt_ids=tuple(corpus.counted), n=grams.prompts)


def zipf(corpus: Corpus) -> SetValue:
    """The exponent of the rank-frequency line of the units (repetition.zipf_exponent)."""
    grams = repetition.NgramSet(_units(corpus), 1)

    def of(prompts: Index) -> float | None:
        return repetition.zipf_exponent(grams.frequencies(prompts))

    return SetValue(of=of, prompt_ids=tuple(corpus.counted), n=grams.prompts)


def compression(corpus: Corpus) -> SetValue:
    """UTF-8 bytes of the texts / bytes once they are compressed together (spread.compression_ratio)."""
    texts = [[text.generation.text for text in of_prompt] for of_prompt in corpus.counted.values()]

    def of(prompts: Index) -> float | None:
        return spread.compression_ratio([text for prompt in prompts for text in texts[prompt]])

    return SetValue(of=of, prompt_ids=tuple(corpus.counted), n=sum(map(any, texts)), subsets=FEW_SUBSETS)


def embeddings(texts: Iterable[Text]) -> Array:
    """One row for each text that the scorer found a token in."""
    rows = [text.reading.embedding for text in texts if text.reading is not None and text.reading.embedding]
    return np.array(rows, dtype=np.float64) if rows else np.empty((0, 0))


def vendi(corpus: Corpus) -> SetValue | str:
    """How many different texts the set is worth, by the scorer's embeddings (spread.vendi_score)."""
    rows = [embeddings(texts) for texts in corpus.counted.values()]
    if not all(np.isfinite(row).all() for row in rows):
        return "the embedding of a text is not finite"

    def of(prompts: Index) -> float | None:
        return spread.vendi_score(_stacked([rows[prompt] for prompt in prompts]))

    return SetValue(of=of, prompt_ids=tuple(corpus.counted), n=sum(len(row) > 0 for row in rows), subsets=FEW_SUBSETS)


def mauve(corpus: Corpus) -> SetValue | str:
    """MAUVE between texts and human references, on the scorer's embeddings (humans.mauve); not taken of subsets."""
    prompt_ids, ours, theirs = _beside_human(corpus)
    human_ND, ours_ND = (_stacked([embeddings(texts) for texts in side]) for side in (theirs, ours))
    fewest = min(len(human_ND), len(ours_ND))
    if fewest < MAUVE_LEAST:
        return f"{fewest} texts on a side: MAUVE says nothing below {MAUVE_LEAST}"
    found = humans.mauve(human_ND, ours_ND)
    if found.value is None:
        return str(found.reason)
    told = f"the mean of {humans.MAUVE_CLUSTERINGS} clusterings that differ by {found.spread:.2g} (standard deviation)"
    no_interval = told if found.reason is None else f"{told}; {found.reason}"
    return SetValue(of=lambda prompts: found.value, prompt_ids=prompt_ids, n=len(ours), no_interval=no_interval)


def human_distance(corpus: Corpus, *, per_text: Callable[[Text], Stats | None]) -> SetValue | str:
    """1-Wasserstein distance of the texts' values from those of the human references of the same prompts."""
    prompt_ids, *sides = _beside_human(corpus)
    ours, theirs = ([_values(texts, per_text) for texts in side] for side in sides)
    if not all(np.isfinite(values).all() for values in (*ours, *theirs)):
        return "not a finite number for every text"

    def of(prompts: Index) -> float | None:
        a, b = (np.concatenate([np.empty(0), *(side[prompt] for prompt in prompts)]) for side in (ours, theirs))
        return humans.distribution_distance(a, b)

    n = min(sum(len(values) > 0 for values in side) for side in (ours, theirs)) if ours else 0
    return SetValue(of=of, prompt_ids=prompt_ids, n=n)


def _beside_human(corpus: Corpus) -> tuple[tuple[str, ...], list[Sequence[Text]], list[Sequence[Text]]]:
    """The prompts that have references, their counted texts, and these references."""
    human = corpus.human.counted if corpus.human is not None else {}
    shared = tuple(prompt_id for prompt_id in corpus.counted if prompt_id in human)
    return shared, [corpus.counted[prompt_id] for prompt_id in shared], [human[prompt_id] for prompt_id in shared]


def _values(texts: Sequence[Text], per_text: Callable[[Text], Stats | None]) -> Array:
    found = [stats[0] for text in texts if (stats := text.value(per_text)) is not None]
    return np.array(found, dtype=np.float64)


def _units(corpus: Corpus) -> list[list[Sequence[object]]]:
    return [[text.units for text in texts] for texts in corpus.counted.values()]


def _stacked(parts: Sequence[Array]) -> Array:
    kept = [part for part in parts if len(part)]
    return np.concatenate(kept) if kept else np.empty((0, 0))
