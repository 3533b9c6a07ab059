"""How single values are written: numbers, notes, and texts that may hold anything."""

import re
import unicodedata

from wcwidth import wcswidth, wcwidth

from decodebench.errors import one_line, visible
from decodebench.records import Direction

MISSING = "–"
ARROWS: dict[Direction, str] = {"higher": "↑", "lower": "↓", "none": ""}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_MARKDOWN = re.compile(r"([\\`*<>|\[\]~&#])|(?<!\w)_|_(?!\w)")


def number(value: float | None, unit: str = "") -> str:
    """A value in about three digits: `0.034`, `1.25`, `12.5`, `1,250`; bytes as `1.25 GB`; None as a dash."""
    if value is None:
        return MISSING
    if unit == "bytes":
        return _bytes(value)
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.1e}"
    decimals = 3 if size < 1 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:,.{decimals}f}"


def _bytes(value: float) -> str:
    for power, name in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if abs(value) >= 1000**power:
            return f"{value / 1000**power:.3g} {name}"
    return f"{value:.0f} B"


def interval(low: float | None, high: float | None, unit: str = "") -> str:
    """`[low, high]`, or nothing where either end is missing."""
    return "" if low is None or high is None else f"[{number(low, unit)}, {number(high, unit)}]"


def superscript(mark: int) -> str:
    """The number of a footnote as raised digits: 12 becomes `¹²`."""
    return str(mark).translate(_SUPERSCRIPTS)


def edges(text: str) -> tuple[str, str, str]:
    """The text in three: its first newlines as ↵, what is between, its last newlines as ↵.

    White space beside those newlines goes with them, since nobody would see it.
    """
    body = text.strip()
    if not body:
        return ("↵" * text.count("\n"), "", "") if "\n" in text else ("", text, "")
    start, end = text.index(body), text.index(body) + len(body)
    before, after = text[:start].rpartition("\n"), text[end:].partition("\n")
    return "↵" * text[:start].count("\n"), before[2] + body + after[0], "↵" * text[end:].count("\n")


def markdown_inline(text: str) -> str:
    """One line of plain text, so escaped that markdown shows it as it is."""
    return _MARKDOWN.sub(lambda found: "\\" + found.group(), one_line(text))


def markdown_fence(text: str) -> str:
    """A text in a code fence longer than any run of backticks in it; newlines at its ends are shown as ↵."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(''.join(edges(text)))}\n{fence}"


def language(text: str) -> str:
    """The `lang` of a text as far as its letters tell: `ko` where there is Hangul, else empty (unknown)."""
    return "ko" if any(unicodedata.name(letter, "").startswith("HANGUL") for letter in text) else ""


def clip(text: str, width: int) -> str:
    """The text in at most `width` columns of a terminal (Hangul takes two), with an ellipsis where it was cut."""
    return text if wcswidth(text) <= width else _first(text, width - 1) + "…"


def shorten(text: str, width: int) -> str:
    """As `clip`, but cut in the middle: labels of one run often differ in the numbers at their end."""
    if wcswidth(text) <= width:
        return text
    tail = (width - 1) // 2
    return _first(text, width - 1 - tail) + "…" + _first(text[::-1], tail)[::-1]


def _first(text: str, width: int) -> str:
    """As many letters from the start as fit."""
    used = 0
    for at, letter in enumerate(text):
        used += max(0, wcwidth(letter))
        if used > width:
            return text[:at]
    return text
