"""What a metric sees: the texts of one cell, by prompt, and what they are held against."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from decodebench.metrics import repetition
from decodebench.metrics.texts import Unit, cut
from decodebench.records import HUMAN, Generation, Judgement, Reading

Stats = tuple[float, ...]
"""The numbers that a metric keeps of a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the texts of a cell were to keep to: the texts of `strategy.bad_words` and `strategy.force_words`, and the
    ids that the model's tokenizer has no text for, as the first and the last of each run of them.
    """

    bad_words: tuple[str, ...] = ()
    force_words: tuple[str, ...] = ()
    unused_ids: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Text:
    """A generation beside its content cut into units (the EOS that ended it left out), what a scorer and a task's judge
    said of it, and the rules of its cell."""

    generation: Generation
    units: tuple[Hashable, ...]
    reading: Reading | None = None
    judgement: Judgement | None = None
    rules: Rules = field(default_factory=Rules)
    _counts: dict[tuple[int, bool], tuple[float, float]] = field(default_factory=dict, compare=False, repr=False)
    _values: dict[Callable[["Text"], Stats | None], Stats | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    def ngrams(self, n: int, *, drop_last: bool = False) -> tuple[float, float]:
        """Unique and all n-grams, counted once: (0, 0) where the text is shorter than n units."""
        key = (n, drop_last)
        if key not in self._counts:
            self._counts[key] = repetition.ngram_counts(self.units, n, drop_last=drop_last)
        return self._counts[key]

    def value(self, of: Callable[["Text"], Stats | None]) -> Stats | None:
        """What a metric keeps of this text, asked once: distances from the references ask again."""
        if of not in self._values:
            self._values[of] = of(self)
        return self._values[of]

    def leading(self, length: int) -> "Text | None":
        """The text cut to so many units; None where it is shorter."""
        units = repetition.leading(self.units, length)
        return None if units is None else replace(self, units=tuple(units), _counts={}, _values={})


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The texts of one cell, in a fixed order of prompts and samples, so that no value depends on the order of storage.

    `prompts` has all that each prompt returned; `clusters` the cluster of each prompt, for intervals; `human` the
    references of the same prompts (None: there are none); `vocabulary` the number of tokens that the model can choose
    from, None where it is not known; `unread` why a scorer could not read the texts, where it tried. `judged_whole` is
    what a task's judge said of all texts together, or why it said nothing; None where it judges each of them.
    """

    prompts: Mapping[str, tuple[Text, ...]]
    clusters: Mapping[str, str]
    human: "Corpus | None" = None
    vocabulary: int | None = None
    unread: str | None = None
    judged_whole: float | str | None = None

    @cached_property
    def counted(self) -> dict[str, tuple[Text, ...]]:
        """The texts that stand for each prompt: every sample, but only the best text of a search."""
        return {
            prompt_id: tuple(t for t in texts if not t.generation.is_search or t.generation.sample == 0)
            for prompt_id, texts in self.prompts.items()
        }

    @property
    def texts(self) -> Iterable[Text]:
        """All of them."""
        return (text for texts in self.prompts.values() for text in texts)

    @property
    def first(self) -> Generation:
        """Any text of the cell: they share its names."""
        return next(iter(self.prompts.values()))[0].generation

    def sets(self) -> "list[Corpus]":
        """The corpus as sets with one counted text for each prompt: the first samples, the second ones, and so on.

        A set of three samples for each prompt is no set of three times as many prompts: strategies with different
        numbers of samples would differ for that alone. There are as many sets as all prompts have samples, so that all
        sets have all prompts: what a prompt has more is left out (where others were too short for leading units, too).
        A prompt without a text that counts (of a search, the best one was too short) is in none.
        """
        counted = {prompt_id: texts for prompt_id, texts in self.counted.items() if texts}
        samples = min(map(len, counted.values()), default=0)
        return [
            replace(self, prompts={prompt_id: (texts[at],) for prompt_id, texts in counted.items()})
            for at in range(samples)
        ]

    def clusters_of(self, prompt_ids: Iterable[str]) -> list[str]:
        """The cluster of each of these prompts."""
        return [self.clusters[prompt_id] for prompt_id in prompt_ids]

    @property
    def is_human(self) -> bool:
        """Whether these texts are the human references."""
        return self.first.strategy == HUMAN

    def leading(self, length: int) -> "Corpus":
        """Every text cut to so many units, the shorter ones left out."""
        cut_ = {
            prompt_id: tuple(short for text in texts if (short := text.leading(length)) is not None)
            for prompt_id, texts in self.prompts.items()
        }
        return replace(self, prompts={prompt_id: texts for prompt_id, texts in cut_.items() if texts})


def text_clusters(generations: Iterable[Generation]) -> dict[str, str]:
    """The cluster of each prompt: the hash of its text, since the same text under two ids is one prompt twice.

    A prompt without a text (a text of a file may come without its prompt) is a cluster of its own, by its id.
    """
    return {
        each.prompt_id: hashlib.sha256(each.prompt.encode("utf-8", "surrogatepass")).hexdigest()
        if each.prompt
        else each.prompt_id
        for each in generations
    }


def corpus(
    generations: Sequence[Generation],
    *,
    unit: Unit = "tokens",
    readings: Iterable[Reading] = (),
    judgements: Iterable[Judgement] = (),
    clusters: Mapping[str, str] | None = None,
    human: Corpus | None = None,
    vocabulary: int | None = None,
    unread: str | None = None,
    rules: Rules | None = None,
    judged_whole: float | str | None = None,
) -> Corpus:
    """The corpus of one cell's records. `clusters` has the cluster of each prompt; None: those of `text_clusters`."""
    read = {(reading.prompt_id, reading.sample): reading for reading in readings}
    judged = {(judgement.prompt_id, judgement.sample): judgement for judgement in judgements}
    prompts: dict[str, list[Text]] = {}
    ordered = sorted(generations, key=lambda g: (g.prompt_id, g.sample))
    for generation, units in zip(ordered, cut(ordered, unit), strict=True):
        text = Text(
            generation=generation,
            units=units,
            reading=read.get((generation.prompt_id, generation.sample)),
            judgement=judged.get((generation.prompt_id, generation.sample)),
            rules=rules or Rules(),
        )
        prompts.setdefault(generation.prompt_id, []).append(text)
    return Corpus(
        prompts={prompt_id: tuple(texts) for prompt_id, texts in prompts.items()},
        clusters=text_clusters(generations) if clusters is None else clusters,
        human=human,
        vocabulary=vocabulary,
        unread=unread,
        judged_whole=judged_whole,
    )
