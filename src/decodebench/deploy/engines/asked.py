"""What a strategy asks of whoever decodes by it: its numbers that do something, and the order of its rules."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from decodebench.errors import ConfigError
from decodebench.strategies import MBR, Beam, BestOfN, Greedy, Mirostat, Sampler, SelfConsistency, Strategy, is_on

_DRY = ("dry_base", "dry_allowed_length", "dry_sequence_breakers")
_UNTOLD = ("num_return_sequences", "order", "stop_keep", *_DRY)
"""Fields that are told with another one, or apart."""
_SWITCHED = {"dynatemp_range": "dynatemp_exponent", "xtc_probability": "xtc_threshold"}
"""Two numbers of one rule, which is on with both alone."""
_LENGTHS = ("max_new_tokens", "max_total_tokens", "eos")
"""What every engine must be told, also where it is the default here."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The numbers that are on, by our names, and for a sampler its rules in the order in which they apply. `texts` are
    returned for each prompt; no prompt with its text is longer than `longest` tokens."""

    kind: Literal["greedy", "sampler", "search"]
    numbers: Mapping[str, Any]
    order: tuple[str, ...]
    texts: int
    longest: int
    strategy: Strategy


def asked(strategy: Strategy, *, texts: int, longest: int) -> Asked:
    """What this strategy asks. Raises ConfigError for a rule that engines outside have no settings for at all."""
    kind = _kind(strategy)
    defaults = {field.name: field.default for field in fields(Strategy)}
    numbers: dict[str, Any] = {}
    for name in (field.name for field in fields(strategy)):
        value = getattr(strategy, name)
        default = name in defaults and value == defaults[name] and name not in _LENGTHS
        if name not in _UNTOLD and value is not None and not default and is_on(strategy, name):
            numbers[name] = value
    for switch, name in _SWITCHED.items():
        if not (numbers.get(switch) and numbers.get(name)):
            numbers = {key: value for key, value in numbers.items() if key not in (switch, name)}
    if strategy.dry_multiplier:
        numbers |= {name: getattr(strategy, name) for name in _DRY}
    if strategy.stop_keep:
        numbers["stop_keep"] = True
    order = tuple(rule.name for rule in strategy.rules()) if isinstance(strategy, Sampler) else ()
    if isinstance(strategy, Mirostat):
        order = (*order, "mirostat")
    return Asked(kind=kind, numbers=numbers, order=order, texts=texts, longest=longest, strategy=strategy)


def _kind(strategy: Strategy) -> Literal["greedy", "sampler", "search"]:
    if isinstance(strategy, Sampler) and not isinstance(strategy, BestOfN | MBR | SelfConsistency):
        return "sampler"
    if type(strategy) is Greedy:
        return "greedy"
    if type(strategy) is Beam:
        return "search"
    raise ConfigError(
        f"strategy={type(strategy).__name__}: no engine outside has this rule; allowed are greedy search, beam search "
        "and samplers (of a choice among samples: its sampler)"
    )
