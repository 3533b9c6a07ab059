"""A strategy as what `model.generate` takes: what is benchmarked is what is deployed."""

from collections.abc import Sequence
from typing import Any

from decodebench.strategies.base import Strategy

_OFF: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "early_stopping": False,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    "use_cache": True,
}
"""Every decoding field of transformers at the value that does nothing: one left unset would be filled from the
model's own generation_config.json, or with transformers' default (top_k=50)."""


def generation_config(fields: dict[str, Any]) -> Any:
    """A transformers GenerationConfig of these fields, without its warnings on fields that are set and off."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    library: Any = logging
    shown = library.get_verbosity()
    library.set_verbosity_error()
    try:
        return GenerationConfig(**fields)  # type: ignore[no-untyped-call]
    finally:
        library.set_verbosity(shown)


def generation_config_fields(
    strategy: Strategy, *, eos_ids: Sequence[int], pad_id: int, limit: int, min_new_tokens: int | None = None
) -> dict[str, Any]:
    """The fields of a transformers GenerationConfig that decodes as the strategy does, at most `limit` new tokens.

    `eos_ids` are those at which it stops (none: never). The fields are also what the manifest keeps of the cell.
    """
    minimum = strategy.min_new_tokens if min_new_tokens is None else min_new_tokens
    return (
        _OFF
        | {"repetition_penalty": strategy.repetition_penalty, "no_repeat_ngram_size": strategy.no_repeat_ngram_size}
        | strategy.generation_config()
        | {
            "max_new_tokens": limit,
            "min_new_tokens": minimum or None,
            "eos_token_id": list(eos_ids) or None,
            "pad_token_id": pad_id,
        }
    )
