"""From a text to its answer: the thinking is left out, then one of `EXTRACTORS` takes the answer from what is left."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from decodebench.tasks.numbers import last_number

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A text without its thinking: `answer` is what follows it, `thinking` how many characters were left out."""

    answer: str
    thinking: int
    unclosed: bool


def without_thinking(text: str, *, opened: bool = False) -> Spoken:
    """The text without `<think>...</think>`.

    `opened`: the prompt's template has opened the thinking, so that a text begins inside of it. All that stands before
    a `</think>` that nothing opened is thinking as well. Thinking that is not closed leaves an empty answer.
    """
    if opened:
        text = _OPEN + text
    head, close, tail = text.rpartition(_CLOSE)
    if _OPEN in tail or (not close and opened):
        return Spoken(answer="", thinking=_length(text), unclosed=True)
    if not close:
        return Spoken(answer=text, thinking=0, unclosed=False)
    if _OPEN not in head or head.index(_OPEN) > head.find(_CLOSE) > -1:
        return Spoken(answer=tail.lstrip(), thinking=_length(head), unclosed=False)
    kept = re.sub(f"{_OPEN}.*?{_CLOSE}", "", text, flags=re.S)
    return Spoken(answer=kept.lstrip(), thinking=_length(text) - len(kept), unclosed=False)


def _length(text: str) -> int:
    return len(text.replace(_OPEN, "").replace(_CLOSE, ""))


def first_line(text: str) -> str | None:
    """The first line that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def first_match(pattern: str, text: str) -> str | None:
    """The group of the first match of a regular expression with one group."""
    found = re.search(pattern, text)
    return found[1] if found else None


def following(marker: str, text: str) -> str | None:
    """All that follows the first occurrence of a text."""
    _, found, rest = text.partition(marker)
    return rest.strip() if found else None


def boxed(text: str) -> str | None:
    r"""What is in the last `\boxed{...}` whose braces are closed."""
    starts = [found.end() for found in re.finditer(r"\\f?boxed\s*\{", text)]
    return next((inner for start in reversed(starts) if (inner := _to_closing(text, start)) is not None), None)


def _to_closing(text: str, start: int) -> str | None:
    depth = 1
    for found in re.compile(r"\\.|[{}]", re.S).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return text[start : found.start()].strip()
    return None


def json_field(name: str, text: str) -> str | None:
    """The value of a field in the first JSON object of the text that has it; `a.b` looks into objects in objects.

    A text comes as it is, anything else as JSON writes it; null is no answer.
    """
    at = text.find("{")
    while at >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        found = _inside(value, name)
        if found is not None:
            return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        at = text.find("{", end)
    return None


def _inside(value: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


EXTRACTORS: Mapping[str, Callable[[Any, str], str | None]] = {
    "none": lambda config, text: text,
    "first_line": lambda config, text: first_line(text),
    "last_number": lambda config, text: last_number(text),
    "regex": lambda config, text: first_match(config.pattern, text),
    "after": lambda config, text: following(config.after, text),
    "boxed": lambda config, text: boxed(text),
    "json_field": lambda config, text: json_field(config.field, text),
}
"""`task.extract` -> the answer of a text, None where it has none; each is given the `TaskConfig` for its own key."""
