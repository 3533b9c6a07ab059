"""Numbers that an engine takes from the model: a yaml says `model else 1.0` for them, and they stand in the resolved
configuration once the model is known. Read nowhere later: cells, manifests and exports have plain numbers."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml

from decodebench.errors import ConfigError
from decodebench.strategies import Strategy

_TAKEN = (
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("repetition_penalty", "no_repeat_ngram_size"),
)
"""Fields of generation_config.json that may be taken."""
_ELSE = re.compile(r"model else (\S+)")
_OFF: Mapping[str, tuple[float, ...]] = {"top_k": (0, -1), "top_p": (1,), "min_p": (0,)}
"""What turns a rule off, beside null: it has no place in an order then."""
_GREEDY = "decodebench.strategies.Greedy"


def takes(node: Mapping[str, Any]) -> bool:
    """Whether a strategy's yaml leaves numbers to the model."""
    return bool(_left(node))


def settled(node: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """A strategy's yaml with the numbers that the model's generation_config.json says, `said`, in place of each `model
    else OTHER`, and OTHER for what it does not say. Where that samples nothing it is greedy search.

    Raises ConfigError where the file asks for beams, and for a number of a sampler where nothing is sampled.
    """
    left = _left(node)
    if not left:
        return dict(node)
    found = {key: other if said.get(key) is None else said[key] for key, other in left.items()}
    numbers = {**node, **found}
    samples = numbers.pop("do_sample", numbers.get("temperature") != 0)  # who never reads it samples, but at 0
    if "do_sample" in node and (said.get("num_beams") or 1) > 1:
        raise ConfigError(
            f"strategy={node.get('name')}: the model's generation_config.json says num_beams={said['num_beams']}: "
            "beam search; allowed is strategy=beam with its numbers"
        )
    if not samples:
        return _greedy(node, numbers, set(left))
    if isinstance(numbers.get("order"), list):
        numbers["order"] = [rule for rule in numbers["order"] if numbers.get(rule) not in (None, *_OFF.get(rule, ()))]
    return numbers


def _left(node: Mapping[str, Any]) -> dict[str, Any]:
    """What is left to the model, and what holds where it says nothing."""
    said = {key: _ELSE.fullmatch(value) for key in _TAKEN if isinstance(value := node.get(key), str)}
    return {key: yaml.safe_load(match[1]) for key, match in said.items() if match}


def _greedy(node: Mapping[str, Any], numbers: Mapping[str, Any], left: set[str]) -> dict[str, Any]:
    kept = {"name", *(f.name for f in fields(Strategy))}
    for key in set(numbers) - kept - left - {"_target_", "num_return_sequences", "order"}:
        if numbers[key] is not None:
            raise ConfigError(
                f"strategy.{key}={numbers[key]}: has no effect with strategy={node.get('name')}, which samples nothing "
                "here; allowed is null, or strategy.do_sample=true"
            )
    return {"_target_": _GREEDY, **{key: value for key, value in numbers.items() if key in kept}}
