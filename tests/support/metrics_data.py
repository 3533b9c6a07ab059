"""Builders of records for the tests of the metrics: everything has a default, so that a test names what it is about."""

from collections.abc import Sequence
from typing import Any

from decodebench.metrics import MetricsConfig, Scored, score
from decodebench.metrics.corpus import corpus
from decodebench.records import HUMAN, Generation, Measurement, Reading, Timing

EOS = 0


def generation(ids: Sequence[int] = (), **fields: Any) -> Generation:
    """A generation of `ids`; finish_reason="eos" means that the last of them is the EOS."""
    values: dict[str, Any] = {
        "cell": "c1",
        "model": "tiny",
        "strategy": "greedy",
        "seed": 0,
        "prompt_id": "p1",
        "sample": 0,
        "prompt": f"text of {fields.get('prompt_id', 'p1')}",
        "text": " ".join(map(str, ids)),
        "token_ids": tuple(ids),
        "token_logprobs": (-1.0,) * len(ids),
        "finish_reason": "length",
        "delivered_tokens": len(ids),
        "computed_tokens": len(ids) + 2,
    }
    return Generation(**{**values, **fields})


def given(ids: Sequence[int] = (), **fields: Any) -> Generation:
    """A text of that person or file: it did not end by a limit, and cost nothing."""
    return generation(ids, **{"strategy": HUMAN, "cell": "h", "finish_reason": "end", **fields})


def reading(text: Generation, **fields: Any) -> Reading:
    """What a scorer says of this text: each token has the log-prob -2 and the entropy 1.5."""
    values: dict[str, Any] = {
        "cell": text.cell,
        "prompt_id": text.prompt_id,
        "sample": text.sample,
        "scorer": "self",
        "token_ids": text.token_ids,
        "token_logprobs": (-2.0,) * len(text.token_ids),
        "token_entropies": (1.5,) * len(text.token_ids),
        "embedding": (1.0, 0.0) if text.token_ids else (),
        "prompt_embedding": (1.0, 1.0),
    }
    return Reading(**{**values, **fields})


def scores(
    texts: Sequence[Generation],
    *,
    people: Sequence[Generation] = (),
    readings: Sequence[Reading] = (),
    vocabulary: int | None = None,
    **config: Any,
) -> dict[str, Scored]:
    """What a run scores of one cell, by the name of the metric; nothing on leading units unless `leading` says so."""
    asked = MetricsConfig(**{"leading": 0, **config})
    human = corpus(people, unit=asked.unit, readings=readings) if people else None
    cell = corpus(texts, unit=asked.unit, readings=readings, human=human, vocabulary=vocabulary)
    return {each.name: each for each in score(cell, asked)}


def timing(**fields: Any) -> Timing:
    """A timed call of half a second for 10 tokens."""
    values: dict[str, Any] = {
        "cell": "c1",
        "model": "tiny",
        "strategy": "greedy",
        "prompt_id": "p1",
        "round": 0,
        "e2e_s": 0.5,
        "ttft_s": 0.125,
        "ttft_reason": None,
        "new_tokens": 10,
        "peak_bytes": 1000,
        "peak_reason": None,
    }
    return Timing(**{**values, **fields})


def by_name(measurements: Sequence[Measurement]) -> dict[str, Measurement]:
    """Measurements by the name of their metric."""
    return {measurement.metric: measurement for measurement in measurements}
