"""The prompts that moved most, the texts of both sides beside each other."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from wcwidth import wcswidth, wcwidth

from decodebench.errors import no_command, one_line, visible
from decodebench.regression.baseline import BaselineText
from decodebench.regression.explaining import Explanation, Moved
from decodebench.report import number

PROMPTS, TEXTS, LINES = 5, 3, 12
"""How many prompts are shown, texts of each, and lines of each text."""
COLUMN = 52
_EDGE, _GAP = "│ ", " │ "
"""The mark before the left column: a line that began with a text could be a command to a CI system."""


def explanation_text(found: Explanation, *, prompts: int = PROMPTS) -> str:
    """In two columns, 109 wide."""
    return "\n".join(_lines(found, prompts))


def _lines(found: Explanation, prompts: int) -> Iterator[str]:
    worse = len(found.moved)
    what = "changed" if found.both else "got worse"
    yield no_command(f"{one_line(found.strategy)}, {one_line(found.metric)}: {worse} of {found.prompts} prompts {what}")
    for each in found.moved[:prompts]:
        yield ""
        yield _title(each, found.both)
        yield _beside("baseline", "run")
        for a, b in list(zip_longest(each.texts, each.run_texts))[:TEXTS]:
            yield f"├─{'─' * COLUMN}─┼─{'─' * COLUMN}"
            left, right = (_wrapped(text) for text in (a, b))
            yield from (_beside(one or "", other or "") for one, other in zip_longest(left, right))
    if worse > prompts:
        yield ""
        yield f"and {worse - prompts} more"


def _title(each: Moved, both: bool) -> str:
    if each.baseline is None or each.value is None:
        return f"prompt {each.prompt_id!r}: {each.worsening:g} tokens from where they part"
    word = "changed by" if both else "worse by"
    values = f"{number(each.baseline)} -> {number(each.value)}"
    return f"prompt {each.prompt_id!r}: {word} {number(each.worsening)} ({values})"


def _beside(left: str, right: str) -> str:
    return f"{_EDGE}{left}{' ' * (COLUMN - max(0, wcswidth(left)))}{_GAP}{right}".rstrip()


def _wrapped(text: BaselineText | None) -> Sequence[str]:
    """The lines of a text in a column; of a long text the first ones."""
    if text is None:
        return ["(no such text)"]
    lines = [part for line in visible(text.text).expandtabs(4).split("\n") for part in _parts(no_command(line))]
    shown = lines if len(lines) <= LINES else [*lines[: LINES - 1], f"… {len(lines) - LINES + 1} more lines"]
    tokens = len(text.token_ids)
    return [*shown, f"({tokens} token{'' if tokens == 1 else 's'}, {text.finish_reason})"]


def _parts(line: str) -> Iterator[str]:
    """A line cut where the column ends, by what its letters take in a terminal (Hangul takes two)."""
    start = used = 0
    for at, letter in enumerate(line):
        width = max(0, wcwidth(letter))
        if used + width > COLUMN:
            yield line[start:at]
            start, used = at, 0
        used += width
    yield line[start:]
