"""How a text ended, and what of its tokens is the text: without the end token, and up to the first stop string."""

from collections.abc import Sequence
from dataclasses import dataclass

from decodebench.records import FinishReason
from decodebench.strategies.step.stops import Match
from decodebench.strategies.step.view import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """`content` is how many of the tokens have a part in the text; `match` is the stop string that ended it."""

    reason: FinishReason
    content: int
    match: Match | None = None


def ending(facts: ModelFacts, prompt_ids: Sequence[int], ids: Sequence[int]) -> Ending:
    """How the text of these tokens ended: by an end token, a stop string, or the limit. An end token comes first."""
    match = facts.stops.find(prompt_ids, ids) if facts.stops else None
    ended = bool(ids) and ids[-1] in facts.eos_ids
    if match is None or (ended and match.last == len(ids) - 1):
        return Ending(reason="eos" if ended else "length", content=len(ids) - ended)
    content = match.last + 1 if facts.stop_keep else max(0, match.first + (match.offset > 0))
    return Ending(reason="stop", content=content, match=match)


def text_of(facts: ModelFacts, ids: Sequence[int], end: Ending) -> str:
    """The text as a user gets it: what is decoded in front of the stop string, and that where it is kept."""
    if end.match is None:
        return facts.decode(ids[: end.content])
    match = end.match
    before = "" if match.offset < 0 else _in_front(facts, ids, match)
    if not facts.stop_keep:
        return before
    return before + match.stop.encode()[max(0, -match.offset) :].decode(errors="replace")


def _in_front(facts: ModelFacts, ids: Sequence[int], match: Match) -> str:
    """The text in front of a stop string that begins in it.

    Taken from the text with the token in which the string begins: tokens alone may lack the space before the next one.
    """
    stops = facts.stops
    if (match.first == 0 and match.offset == 0) or stops is None:
        return ""
    shorter, longer = (facts.decode(ids[:end]) for end in (match.first, match.first + 1))
    behind = stops.token_bytes[ids[match.first]][match.offset :].decode(errors="replace")
    if longer == shorter:  # a special token, which is not shown
        return shorter
    if longer.endswith(behind):
        return longer.removesuffix(behind)
    return longer.removesuffix(behind.rstrip()) if longer.endswith(behind.rstrip()) else shorter
