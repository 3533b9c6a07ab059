"""What differs between two records of how something was made, key by key: of a run and of a baseline, of a model in a
folder then and now."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_PARTS = {
    "fingerprint": "weights",
    "dtype": "dtype",
    "resolved_config": "config",
    "tokenizer": "tokenizer",
    "chat_template": "chat template",
    "eos_ids": "end tokens",
}
"""The parts of a model's identity (`models.Identity`), in words."""
_SAID = 5
"""How many differences an error lists."""


class OtherModel(NamedTuple):
    """Which parts of a model are others than before, in words, and from what to what."""

    parts: str
    changes: str


def other_model(then: Mapping[str, Any], now: Mapping[str, Any]) -> OtherModel | None:
    """What differs between two identities of one model; None where nothing does.

    A part that one side lacks (it was written before there was this part) is not known to differ.
    """
    shared = [part for part in _PARTS if part in then and part in now]
    changed = {part: [*differences(flat(then[part], part), flat(now[part], part))] for part in shared}
    lines = [line for of in changed.values() for line in of]
    if not lines:
        return None
    more = f"; and {len(lines) - _SAID} more" if len(lines) > _SAID else ""
    return OtherModel(", ".join(_PARTS[part] for part in shared if changed[part]), "; ".join(lines[:_SAID]) + more)


def both_known(then: Any, now: Any) -> tuple[Any, Any]:
    """What is said of a model on two sides, without the parts of its identity that only one of them has; what an edited
    file has in place of an object is left as it is."""
    if not (isinstance(then, Mapping) and isinstance(now, Mapping)):
        return then, now
    first, second = (
        {key: value for key, value in side.items() if key not in _PARTS or key in other}
        for side, other in ((then, now), (now, then))
    )
    return first, second


def flat(node: Any, prefix: str = "") -> dict[str, str]:
    """Nested containers as dotted keys with their values as text."""
    if not isinstance(node, Mapping):
        value = list(node) if isinstance(node, tuple) else node
        return {} if node is None and not prefix else {prefix: "null" if node is None else str(value)}
    found: dict[str, str] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """A line for each key whose text differs; a key that is null on one side may as well be absent on the other."""
    for key in dict.fromkeys((*before, *now)):
        a, b = before.get(key, "none"), now.get(key, "none")
        if a != b and {a, b} != {"none", "null"}:
            yield f"{key} {_short(a)} -> {_short(b)}"


def _short(text: str) -> str:
    text = repr(text) if text != " ".join(text.split()) else text
    return text if len(text) <= 80 else text[:79] + "…"
