"""Rows of the table of metrics: likelihood, length and stopping, and what the tokens cost."""

from collections.abc import Callable

from decodebench.metrics import drafts, humans, surprisal
from decodebench.metrics.corpus import Stats, Text
from decodebench.metrics.kinds import AnyMetric, Group, Metric, Need
from decodebench.records import Direction, Reading
from decodebench.stats import Finish, identity

NO_CHARACTER = "no text has a character"


def _of_tokens(
    name: str,
    per_text: Callable[[Text], Stats | None],
    finish: Finish | None = None,
    *,
    unit: str = "1",
    missing: str = "no text has a token",
    needs: Need = "logprobs",
    headline: int | None = None,
    drawn: bool = True,
) -> Metric:
    """A ratio of sums over the tokens of all texts; without a `finish`, a value of each text."""
    return Metric(
        name=name,
        level="set" if finish else "text",
        direction="none",
        group="likelihood",
        unit=unit,
        headline=headline,
        drawn=drawn,
        per_text=per_text,
        finish=finish or identity,
        missing=missing,
        needs=(needs,),
    )


def _read(of: Callable[[Reading], Stats | None]) -> Callable[[Text], Stats | None]:
    """A function of what the scorer said of a text, where it has read it."""
    return lambda text: None if text.reading is None else of(text.reading)


def _share(name: str, direction: Direction, of: Callable[[Text], bool], *needs: Need) -> Metric:
    """A share of texts; those that were given have no part in what only generating can do."""

    def per_text(text: Text) -> Stats | None:
        return None if needs and text.generation.finish_reason == "end" else (float(of(text)),)

    return Metric(
        name=name, level="text", direction=direction, group="length", per_text=per_text, share=True, needs=needs
    )


def _own(text: Text) -> Stats:
    return surprisal.logprob_sum(text.generation.token_logprobs)


def _own_bits(text: Text) -> Stats:
    return surprisal.bits_and_characters(text.generation.token_logprobs, text.generation.text)


def _scorer_bits(text: Text) -> Stats | None:
    reading = text.reading
    return None if reading is None else surprisal.bits_and_characters(reading.token_logprobs, text.generation.text)


def _cosine(reading: Reading) -> Stats | None:
    value = humans.cosine(reading.prompt_embedding, reading.embedding)
    return None if value is None else (value,)


_scorer_sum = _read(lambda reading: surprisal.logprob_sum(reading.token_logprobs))

LIKELIHOOD: tuple[AnyMetric, ...] = (
    _of_tokens("perplexity", _own, surprisal.perplexity, headline=7),
    _of_tokens("perplexity_text", lambda text: surprisal.text_perplexity(text.generation.token_logprobs), drawn=False),
    _of_tokens("surprisal", _own, surprisal.mean_surprisal, unit="nats"),
    _of_tokens(
        "surprisal_text",
        lambda text: surprisal.text_surprisal(text.generation.token_logprobs),
        unit="nats",
        drawn=False,
    ),
    _of_tokens("bits_per_character", _own_bits, surprisal.ratio, unit="bits", missing=NO_CHARACTER),
    _of_tokens("scorer_perplexity", _scorer_sum, surprisal.perplexity, needs="reading"),
    _of_tokens("scorer_surprisal", _scorer_sum, surprisal.mean_surprisal, unit="nats", needs="reading", drawn=False),
    _of_tokens(
        "scorer_bits_per_character",
        _scorer_bits,
        surprisal.ratio,
        unit="bits",
        missing=NO_CHARACTER,
        needs="reading",
    ),
    _of_tokens(
        "entropy",
        _read(lambda reading: surprisal.entropy_sum(reading.token_entropies)),
        surprisal.ratio,
        unit="nats",
        needs="reading",
    ),
    _of_tokens("entropy_gap", _read(surprisal.gap_sum), surprisal.ratio, unit="nats", needs="reading"),
    _of_tokens("coherence", _read(surprisal.coherence), unit="nats", needs="reading"),
    _of_tokens(
        "prompt_cosine", _read(_cosine), missing="no text and prompt have embeddings of their tokens", needs="reading"
    ),
)

LENGTH: tuple[AnyMetric, ...] = (
    Metric(
        name="length",
        level="text",
        direction="none",
        group="length",
        headline=11,
        unit="{unit}",
        per_text=lambda text: (float(len(text.units)),),
        by_unit=True,
    ),
    _share("eos_share", "none", lambda text: text.generation.finish_reason == "eos", "generated"),
    _share("truncated_share", "none", lambda text: text.generation.finish_reason == "length", "generated"),
    _share("empty_share", "lower", lambda text: not text.generation.text.strip()),
)


def _cost(name: str, direction: Direction, group: Group, of: Callable[[Text], int]) -> Metric:
    """A sum over all that was returned for a prompt."""
    return Metric(
        name=name,
        level="prompt",
        direction=direction,
        group=group,
        unit="tokens",
        per_text=lambda text: (float(of(text)),),
        needs=("generated",),
    )


COST: tuple[AnyMetric, ...] = (
    _cost("delivered_tokens", "none", "length", lambda text: text.generation.delivered_tokens),
    _cost("computed_tokens", "lower", "cost", lambda text: text.generation.computed_tokens),
    Metric(
        name="acceptance_rate",
        level="set",
        direction="higher",
        group="cost",
        per_text=lambda text: drafts.accepted_counts(text.generation),
        finish=surprisal.ratio,
        missing="no token was drafted",
        needs=("generated",),
    ),
    Metric(
        name="tokens_per_forward",
        level="set",
        direction="higher",
        group="cost",
        unit="tokens",
        per_text=lambda text: drafts.delivered_counts(text.generation),
        finish=surprisal.ratio,
        missing="the strategy takes one token at a time",
        needs=("generated",),
    ),
)
