"""An engine's settings -> the strategy that decodes so: the tables of the engines read backwards.

What is read is translated again, and every setting must come out as it was given. So nothing is lost: a setting that no
number of ours says is an error that names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from decodebench.deploy.engines.asked import asked
from decodebench.deploy.engines.table import Engine, Row, translate
from decodebench.errors import ConfigError, allowed_names
from decodebench.strategies import Beam, Greedy, Mirostat, Sample, Strategy, is_on


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What an engine does with what a request leaves out (`fills`, where that is not nothing), of which fields that
    changed between its versions (`changed`); which kind of decoding settings ask for, and fields of a request that are
    no decoding rule (`others`)."""

    fills: Mapping[str, Any]
    kind: Callable[[Mapping[str, Any]], str]
    changed: Mapping[str, str]
    others: Sequence[str] = ("prompt", "model", "stream", "messages")


_LLAMA_ORDER = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")
_SEEDS = ("seed", "random_seed", "rng_seed")
"""The same seed is another text elsewhere."""
_WINDOWS = {"repeat_last_n": "repetition_penalty", "dry_penalty_last_n": "dry_multiplier"}
_PAIRS = {"xtc_threshold": "xtc_probability", "dynatemp_exponent": "dynatemp_range", "early_stopping": "num_beams"}
"""Numbers that count with another one alone, and then whatever they are."""
_BACK: Mapping[str, Callable[[Any], Any]] = {
    "stop_criteria": lambda value: {"EARLY": True, "HEURISTIC": False, "NEVER": "never"}[value],
    "patience": lambda value: True if value == 1 else "never",
    "ignore_eos": lambda value: "none" if value else "model",
}
"""What a target's value is here, where it is another one."""
_CHAIN = ("temperature", "top_k", "top_p", "min_p")
"""What says nothing where the likeliest token is taken."""


def _by_temperature(settings: Mapping[str, Any]) -> str:
    return "search" if "beam_width" in settings else "greedy" if settings["temperature"] <= 0 else "sampler"


def _by_do_sample(settings: Mapping[str, Any]) -> str:
    return "search" if settings["num_beams"] > 1 else "sampler" if settings["do_sample"] else "greedy"


def _by_top_k(settings: Mapping[str, Any]) -> str:
    return "search" if settings["beam_size"] > 1 else "greedy" if settings["sampling_topk"] == 1 else "sampler"


_OLLAMA = {"repeat_penalty": "repeat_penalty was 1.1 where nothing was said until August 2026, 1.0 since: 1.0 is taken"}
HABITS: Mapping[str, Habits] = {
    "llama_cpp": Habits(
        fills={
            "temperature": 0.8,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0.05,
            "samplers": list(_LLAMA_ORDER),
            "repeat_last_n": 64,
            "dry_penalty_last_n": 64,
        },
        kind=_by_temperature,
        changed={},
        others=("prompt", "model", "stream", "messages", "cache_prompt", "id_slot", "n_probs"),
    ),
    "ollama": Habits(
        fills={"temperature": 0.8, "top_k": 40, "top_p": 0.9, "repeat_last_n": 64},
        kind=_by_temperature,
        changed=_OLLAMA,
    ),
    "vllm": Habits(fills={}, kind=_by_temperature, changed={}),
    "mlx_lm": Habits(
        fills={"temp": 0.0, "repetition_context_size": 20, "order": ["top_p", "min_p", "top_k", "temperature"]},
        kind=lambda settings: "greedy" if settings["temp"] == 0 else "sampler",
        changed={},
    ),
    "ctranslate2": Habits(fills={"sampling_topk": 1, "include_prompt_in_result": True}, kind=_by_top_k, changed={}),
    "openvino_genai": Habits(fills={"do_sample": False, "stop_criteria": "HEURISTIC"}, kind=_by_do_sample, changed={}),
    "onnxruntime_genai": Habits(fills={"do_sample": False, "top_k": 50}, kind=_by_do_sample, changed={}),
    "openai": Habits(fills={}, kind=_by_temperature, changed={}),
}
"""Of each engine; what `served_*` has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The strategy that settings ask for, and what a user should know of how they were read."""

    strategy: Strategy
    notes: tuple[str, ...]


def read_settings(engine: Engine, settings: Mapping[str, Any]) -> Read:
    """The strategy that decodes as the engine does with these settings.

    Raises ConfigError for a field that the engine does not have, a value that none of our numbers says, and what is no
    number of a strategy.
    """
    habits = HABITS[engine.name]
    given, notes = _known(engine, habits, settings)
    notes += [text for key, text in habits.changed.items() if key not in given]
    try:
        kind = habits.kind({**engine.neutral["sampler"], **habits.fills, **given})
    except TypeError as error:
        raise ConfigError(f"--from={engine.name}: a setting is no number ({error}); allowed are numbers") from error
    neutral = engine.neutral[kind]
    filled = {**neutral, **habits.fills, **given}
    numbers = _numbers(engine, kind, neutral, filled, given)
    strategy = _built(engine, kind, numbers, filled)
    _compare(engine, strategy, kind, {key: filled[key] for key in given})
    for key, name in _WINDOWS.items():
        if filled.get(key) and getattr(strategy, name) not in (0.0, 1.0):
            notes.append(
                f"{key}={filled[key]}: the whole text is taken; there, of longer ones, so many tokens are seen"
            )
    return Read(strategy=strategy, notes=tuple(notes))


def _known(engine: Engine, habits: Habits, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings that decide about tokens, and a note for those that do not."""
    fields_ = {key for neutral in engine.neutral.values() for key in neutral}
    fields_ |= {row.target for row in engine.rows.values() if row.target} | set(habits.fills)
    notes, given = [], {}
    for key, value in settings.items():
        if key in habits.others or key in _SEEDS:
            notes.append(f"{key}: is left out, it is no rule of decoding")
        elif key not in fields_:
            raise ConfigError(f"--from={engine.name}: {key}={value!r:.60} is unknown; {allowed_names(key, fields_)}")
        else:
            given[key] = value
    return given, notes


def _numbers(
    engine: Engine,
    kind: str,
    neutral: Mapping[str, Any],
    filled: Mapping[str, Any],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Our numbers that are on: those of rows whose target is not at the value that does nothing."""
    numbers: dict[str, Any] = {}
    for name, row in engine.rows.items():
        if row.target is None or row.target not in filled or (kind == "greedy" and name in _CHAIN):
            continue
        value = filled[row.target]
        other = _target(engine, _PAIRS.get(name))
        always = name == "max_new_tokens" or (other is not None and filled.get(other))
        if value == neutral.get(row.target) and not (always and (name != "max_new_tokens" or row.target in given)):
            continue
        if any(penalty == name and filled.get(key, 1) == 0 for key, penalty in _WINDOWS.items()):
            continue  # a window of no tokens
        numbers[name] = _BACK.get(row.target, lambda same: same)(value)
    if numbers.get("max_new_tokens") in (None, -1):
        numbers.pop("max_new_tokens", None)
    return {name: value for name, value in numbers.items() if not _waits(name, numbers)}


def _target(engine: Engine, name: str | None) -> str | None:
    row: Row | None = engine.rows.get(name) if name else None
    return None if row is None else row.target


def _waits(name: str, numbers: Mapping[str, Any]) -> bool:
    """Whether a number is one of a rule that is off."""
    switch = "dry_multiplier" if name.startswith("dry_") else _PAIRS.get(name)
    return switch is not None and switch not in numbers


def _built(engine: Engine, kind: str, numbers: dict[str, Any], filled: Mapping[str, Any]) -> Strategy:
    """The strategy of these numbers, in the engine's order."""
    texts = filled.get(engine.texts_field) if engine.texts_field else None
    returned: dict[str, Any] = {} if kind == "greedy" else {"num_return_sequences": texts or 1}
    if kind == "greedy":
        return Greedy(**numbers)
    if kind == "search":
        runs_on = {} if _target(engine, "early_stopping") else {"early_stopping": False}
        if numbers.get("early_stopping") == "never" and numbers.get("length_penalty", 1.0) <= 0:
            runs_on = {"early_stopping": False}  # which is the same there
        return Beam(**{**numbers, **returned, **runs_on})
    if filled.get("mirostat"):
        return Mirostat(**{key: value for key, value in numbers.items() if key not in _CHAIN[1:]}, **returned)
    numbers = {key: value for key, value in numbers.items() if not key.startswith("mirostat")}
    order = list(engine.order)
    if engine.order_field is not None:
        ours = {theirs: name for name, theirs in engine.order_names.items()}
        order = [ours.get(name, name) for name in filled[engine.order_field]]
        for name in _CHAIN:
            if name not in order:
                numbers.pop(name, None)
    plain = Sample(**{"temperature": 1.0, "top_k": None, "top_p": None, **numbers, **returned})
    rules = [rule.name for rule in plain.rules()]
    placed = [name for name in order if name in rules]
    placed = [*(name for name in rules if name not in placed), *placed]
    return plain if placed == rules else Sample(**{**_own(plain), "order": placed})


def _own(strategy: Strategy) -> dict[str, Any]:
    return {f.name: getattr(strategy, f.name) for f in fields(strategy)}


def _compare(engine: Engine, strategy: Strategy, kind: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting that the strategy, told to the engine again, does not ask for."""
    again = translate(engine, asked(strategy, texts=1, longest=int(given.get("patience") or 1)))
    lost = {line.key: line for line in again.missing}
    rows = {row.target: name for name, row in engine.rows.items()}
    skipped = {engine.texts_field, engine.order_field, *_WINDOWS, "repetition_context_size"}
    for key, value in given.items():
        name = rows.get(key)
        if key in skipped or again.settings.get(key) == value or (kind == "greedy" and name in _CHAIN):
            continue
        off = name is not None and not is_on(strategy, name)
        unset = value is None or (name == "max_new_tokens" and value == -1)
        if off or unset or (name is None and key == "temp"):
            continue
        why = f" ({lost[name].rule})" if name in lost else ""
        raise ConfigError(
            f"--from={engine.name}: {key}={value!r:.60} is nothing that a strategy says{why}; allowed here is "
            f"{again.settings.get(key)!r:.60}"
        )
