"""Rows of the table of metrics: likelihood, length and stopping, and what the tokens cost."""

from collections.abc import Callable

from decodebench.metrics import drafts, humans, likelihood, surprisal
from decodebench.metrics.corpus import Text
from decodebench.metrics.kinds import AnyMetric, Metric, Need, Stats
from decodebench.records import Direction, Reading
from decodebench.stats import Finish

NO_TOKEN = "no text has a token"


def _pooled(name: str, of: Callable[[Text], Stats | None], finish: Finish, *, unit: str = "1") -> Metric:
    """A ratio of sums over the tokens of all texts, from the generating model's log-probabilities."""
    return Metric(
        name=name,
        level="set",
        direction="none",
        unit=unit,
        per_text=of,
        finish=finish,
        missing=NO_TOKEN,
        needs=("logprobs",),
    )


def _read(name: str, of: Callable[[Reading], Stats | None], finish: Finish, *, unit: str = "1") -> Metric:
    """The same from what the scorer said of the texts."""
    return Metric(
        name=name,
        level="set",
        direction="none",
        unit=unit,
        per_text=lambda text: None if text.reading is None else of(text.reading),
        finish=finish,
        missing=NO_TOKEN,
        needs=("reading",),
    )


def _share(name: str, direction: Direction, of: Callable[[Text], bool], *needs: Need) -> Metric:
    """A share of texts; those that were given have no part in what only generating can do."""

    def per_text(text: Text) -> Stats | None:
        return None if needs and text.generation.finish_reason == "end" else (float(of(text)),)

    return Metric(name=name, level="text", direction=direction, per_text=per_text, share=True, needs=needs)


def _own(text: Text) -> Stats:
    return likelihood.logprob_sum(text.generation.token_logprobs)


def _coherence(text: Text) -> Stats | None:
    return None if text.reading is None else surprisal.coherence(text.reading)


def _cosine(text: Text) -> Stats | None:
    if text.reading is None:
        return None
    value = humans.cosine(text.reading.prompt_embedding, text.reading.embedding)
    return None if value is None else (value,)


LIKELIHOOD: tuple[AnyMetric, ...] = (
    _pooled("perplexity", _own, likelihood.perplexity),
    Metric(
        name="perplexity_text",
        level="text",
        direction="none",
        per_text=lambda text: likelihood.text_perplexity(text.generation.token_logprobs),
        missing=NO_TOKEN,
        needs=("logprobs",),
    ),
    _pooled("surprisal", _own, surprisal.mean_surprisal, unit="nats"),
    Metric(
        name="surprisal_text",
        level="text",
        direction="none",
        unit="nats",
        per_text=lambda text: surprisal.text_surprisal(text.generation.token_logprobs),
        missing=NO_TOKEN,
        needs=("logprobs",),
    ),
    _pooled(
        "bits_per_character",
        lambda text: surprisal.bits_and_characters(text.generation.token_logprobs, text.generation.text),
        surprisal.ratio,
        unit="bits",
    ),
    _read("scorer_perplexity", lambda r: likelihood.logprob_sum(r.token_logprobs), likelihood.perplexity),
    _read(
        "scorer_surprisal", lambda r: likelihood.logprob_sum(r.token_logprobs), surprisal.mean_surprisal, unit="nats"
    ),
    Metric(
        name="scorer_bits_per_character",
        level="set",
        direction="none",
        unit="bits",
        per_text=lambda text: (
            None
            if text.reading is None
            else surprisal.bits_and_characters(text.reading.token_logprobs, text.generation.text)
        ),
        finish=surprisal.ratio,
        missing=NO_TOKEN,
        needs=("reading",),
    ),
    _read("entropy", lambda r: surprisal.entropy_sum(r.token_entropies), surprisal.ratio, unit="nats"),
    _read("entropy_gap", surprisal.gap_sum, surprisal.ratio, unit="nats"),
    Metric(
        name="coherence",
        level="text",
        direction="none",
        unit="nats",
        per_text=_coherence,
        missing=NO_TOKEN,
        needs=("reading",),
    ),
    Metric(
        name="prompt_cosine",
        level="text",
        direction="none",
        per_text=_cosine,
        missing="no text and prompt have tokens",
        needs=("reading",),
    ),
)

LENGTH: tuple[AnyMetric, ...] = (
    Metric(
        name="length",
        level="text",
        direction="none",
        unit="{unit}",
        per_text=lambda text: (float(len(text.units)),),
        by_unit=True,
    ),
    _share("eos_share", "none", lambda text: text.generation.finish_reason == "eos", "generated"),
    _share("truncated_share", "none", lambda text: text.generation.finish_reason == "length", "generated"),
    _share("empty_share", "lower", lambda text: not text.generation.text.strip()),
)


def _cost(name: str, direction: Direction, of: Callable[[Text], int]) -> Metric:
    """A sum over all that was returned for a prompt."""
    return Metric(
        name=name,
        level="prompt",
        direction=direction,
        unit="tokens",
        per_text=lambda text: (float(of(text)),),
        needs=("generated",),
    )


COST: tuple[AnyMetric, ...] = (
    _cost("delivered_tokens", "none", lambda text: text.generation.delivered_tokens),
    _cost("computed_tokens", "lower", lambda text: text.generation.computed_tokens),
    Metric(
        name="acceptance_rate",
        level="set",
        direction="higher",
        per_text=lambda text: drafts.accepted_counts(text.generation),
        finish=drafts.rate,
        missing="no token was drafted",
    ),
    Metric(
        name="tokens_per_forward",
        level="set",
        direction="higher",
        unit="tokens",
        per_text=lambda text: drafts.delivered_counts(text.generation),
        finish=drafts.rate,
        missing="the strategy takes one token at a time",
    ),
)
