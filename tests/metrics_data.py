"""Builders of records for the tests of the metrics: everything has a default, so that a test names what it is about."""

from collections.abc import Sequence
from typing import Any

from decodebench.records import Generation, Measurement, Timing

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
        "prompt": "A",
        "text": " ".join(map(str, ids)),
        "token_ids": tuple(ids),
        "token_logprobs": (-1.0,) * len(ids),
        "finish_reason": "length",
        "delivered_tokens": len(ids),
        "computed_tokens": len(ids) + 2,
    }
    return Generation(**{**values, **fields})


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
