"""What the texts of a cell were to keep to, and how many did not: forbidden and forced texts, ids without a text."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from decodebench.metrics import surprisal
from decodebench.metrics.corpus import Corpus, Rules, Stats, Text
from decodebench.metrics.kinds import AnyMetric, Metric


def has_bad_word(text: Text) -> Stats | None:
    """Whether a text contains one of `bad_words`; None where none is forbidden."""
    words = text.rules.bad_words
    return (float(any(word in text.generation.text for word in words)),) if words else None


def lacks_forced_word(text: Text) -> Stats | None:
    """Whether a text lacks one of `force_words`; None where none is forced."""
    words = text.rules.force_words
    return (float(any(word not in text.generation.text for word in words)),) if words else None


def unused_counts(text: Text) -> Stats | None:
    """Tokens that the tokenizer has no text for, and all tokens, EOS left out; None where every id has a text."""
    ranges, ids = text.rules.unused_ids, text.generation.content_ids
    if not ranges:
        return None
    return float(sum(any(first <= id_ <= last for first, last in ranges) for id_ in ids)), float(len(ids))


RULES: tuple[AnyMetric, ...] = (
    Metric(
        name="bad_words_share",
        group="rules",
        level="text",
        direction="lower",
        per_text=has_bad_word,
        share=True,
        missing="strategy.bad_words forbids no text",
        needs=("generated",),
    ),
    Metric(
        name="lacks_force_words_share",
        group="rules",
        level="text",
        direction="lower",
        per_text=lacks_forced_word,
        share=True,
        missing="strategy.force_words forces no text",
        needs=("generated",),
    ),
    Metric(
        name="unused_token_share",
        group="rules",
        level="set",
        direction="lower",
        per_text=unused_counts,
        finish=surprisal.ratio,
        missing="no id without a text is known of this model, or no text has a token",
        needs=("generated",),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A rule that texts of a cell did not keep to: the metric that counts it, and one line."""

    metric: str
    line: str


def broken_rules(corpus: Corpus) -> list[Broken]:
    """What texts of a cell did not keep to, of those that stand for their prompts."""
    texts = [text for counted in corpus.counted.values() for text in counted]
    rules = texts[0].rules if texts else Rules()
    found = [
        Broken(
            metric="bad_words_share",
            line=f"{_texts(texts, has_bad_word)} contain what strategy.bad_words forbids "
            f"({_each(texts, rules.bad_words, lambda text, word: word in text)}): it forbids the tokens of each word "
            "as it is written there, and this tokenizer can spell it with others",
        ),
        Broken(
            metric="lacks_force_words_share",
            line=f"{_texts(texts, lacks_forced_word)} lack what strategy.force_words forces "
            f"({_each(texts, rules.force_words, lambda text, word: word not in text)}): limit and penalties left no "
            "room for its tokens, or they are other text in their place",
        ),
        Broken(
            metric="unused_token_share",
            line=f"{_texts(texts, unused_counts)} have tokens that the tokenizer has no text for (ids "
            f"{', '.join(f'{a} to {b}' if a != b else str(a) for a, b in rules.unused_ids)}): nobody sees them; "
            "model.mask_unused=true keeps them from being chosen",
        ),
    ]
    broken = {
        metric.name
        for metric in RULES
        if isinstance(metric, Metric) and any((value := text.value(metric.per_text)) and value[0] for text in texts)
    }
    nothing = all(text.generation.finish_reason == "stop" and not text.generation.text.strip() for text in texts)
    if texts and nothing:
        line = f"all {len(texts)} texts are empty: each begins with one of strategy.stop"
        found.append(Broken(metric="empty_share", line=line))
        broken.add("empty_share")
    return [each for each in found if each.metric in broken]


def _texts(texts: Sequence[Text], of: Callable[[Text], Stats | None]) -> str:
    """Of how many texts something is true: `39 of 300 texts`."""
    true = sum(bool((value := text.value(of)) and value[0]) for text in texts)
    return f"{true} of {len(texts)} texts"


def _each(texts: Sequence[Text], words: Iterable[str], holds: Callable[[str, str], bool]) -> str:
    """Each word that holds of a text, and of how many: `'다' 39`."""
    counts = {word: sum(holds(text.generation.text, word) for text in texts) for word in words}
    return ", ".join(f"{word!r} {count}" for word, count in counts.items() if count)
