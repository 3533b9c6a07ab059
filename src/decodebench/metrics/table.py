"""The table of metrics: one row each, in the order in which they are reported (docs/metrics.md explains every row)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from decodebench.metrics import drafts, likelihood, repetition
from decodebench.metrics.texts import Text
from decodebench.records import Direction
from decodebench.stats import Finish, identity

Level = Literal["text", "set", "prompt"]
"""Where the value arises: `text`: of each text, averaged; `set`: one ratio of sums over all texts (both from the
counted texts: every sample, but only rank 0 of a search); `prompt`: the sum over all that was returned for a prompt."""

Stats = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: what it keeps of a text, and how that becomes one value.

    `per_text` gives the K numbers that suffice (None: this text has no value and is left out); they are averaged (level
    `prompt`: summed) within each prompt, then over prompts; `finish` makes the value of the K means. `missing` is the
    reason where nothing is left. `by_unit`: depends on the unit that texts are cut into; `{unit}` stands for its name.
    `share`: `per_text` is 0 or 1.
    """

    name: str
    unit: str
    direction: Direction
    version: str
    level: Level
    per_text: Callable[[Text], Stats | None]
    finish: Finish = identity
    missing: str = "no text"
    by_unit: bool = False
    share: bool = False


def _distinct(n: int) -> Metric:
    return Metric(
        name=f"distinct_{n}",
        unit="1",
        direction="higher",
        version="1",
        level="text",
        per_text=lambda text: repetition.distinct(text.units, n),
        missing=f"no text has {n} {{unit}}",
        by_unit=True,
    )


def _rep(n: int) -> Metric:
    return Metric(
        name=f"rep_{n}",
        unit="1",
        direction="lower",
        version="1",
        level="set",
        per_text=lambda text: repetition.ngram_counts(text.units, n),
        finish=repetition.rep,
        missing=f"no text has {n} {{unit}}",
        by_unit=True,
    )


METRICS: tuple[Metric, ...] = (
    _distinct(1),
    _distinct(2),
    _distinct(3),
    _distinct(4),
    _rep(2),
    _rep(3),
    _rep(4),
    Metric(
        name="diversity",
        unit="1",
        direction="higher",
        version="1",
        level="set",
        per_text=lambda text: repetition.diversity_counts(text.units),
        finish=repetition.diversity,
        missing="no text has 4 {unit}",
        by_unit=True,
    ),
    Metric(
        name="loop_share",
        unit="1",
        direction="lower",
        version="1",
        level="text",
        per_text=lambda text: (float(repetition.loop_period(text.units) is not None),),
        by_unit=True,
        share=True,
    ),
    Metric(
        name="perplexity",
        unit="1",
        direction="none",
        version="1",
        level="set",
        per_text=lambda text: likelihood.logprob_sum(text.generation.token_logprobs),
        finish=likelihood.perplexity,
        missing="no text has a token",
    ),
    Metric(
        name="perplexity_text",
        unit="1",
        direction="none",
        version="1",
        level="text",
        per_text=lambda text: likelihood.text_perplexity(text.generation.token_logprobs),
        missing="no text has a token",
    ),
    Metric(
        name="length",
        unit="{unit}",
        direction="none",
        version="1",
        level="text",
        per_text=lambda text: (float(len(text.units)),),
        by_unit=True,
    ),
    Metric(
        name="eos_share",
        unit="1",
        direction="none",
        version="1",
        level="text",
        per_text=lambda text: (float(text.generation.finish_reason == "eos"),),
        share=True,
    ),
    Metric(
        name="empty_share",
        unit="1",
        direction="lower",
        version="1",
        level="text",
        per_text=lambda text: (float(not text.generation.text.strip()),),
        share=True,
    ),
    Metric(
        name="delivered_tokens",
        unit="tokens",
        direction="none",
        version="1",
        level="prompt",
        per_text=lambda text: (float(text.generation.delivered_tokens),),
    ),
    Metric(
        name="computed_tokens",
        unit="tokens",
        direction="lower",
        version="1",
        level="prompt",
        per_text=lambda text: (float(text.generation.computed_tokens),),
    ),
    Metric(
        name="acceptance_rate",
        unit="1",
        direction="higher",
        version="1",
        level="set",
        per_text=lambda text: drafts.accepted_counts(text.generation),
        finish=drafts.rate,
        missing="no token was drafted",
    ),
    Metric(
        name="tokens_per_forward",
        unit="tokens",
        direction="higher",
        version="1",
        level="set",
        per_text=lambda text: drafts.delivered_counts(text.generation),
        finish=drafts.rate,
        missing="the strategy takes one token at a time",
    ),
)
