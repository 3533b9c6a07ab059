"""Whether an accepted answer is the answer, or stands in it."""

import re

from decodebench.tasks.units import HANGUL, UNSPACED

_KINDS = (re.compile(f"[{HANGUL}]"), re.compile(f"[{UNSPACED}]"), re.compile(r"\d"), re.compile(r"[^\W_]"))
_HANGUL, _UNSPACED = 0, 1


def occurs(wanted: str, text: str) -> bool:
    """Whether `wanted` stands in the text, and not as a piece of a longer word or number.

    A letter is not cut off from letters, a digit not from digits: "5" is not in "15", "art" not in "party". Of Hangul
    this holds for the start alone, since particles follow a noun in the same word ("서울" is in "서울은", "산" not in
    "부산"); scripts without white space between words may be cut anywhere. Nothing does not occur.
    """
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        if _is_whole(text, at, at + len(wanted)):
            return True
        at = text.find(wanted, at + 1)
    return False


def _is_whole(text: str, start: int, end: int) -> bool:
    first, last = _kind(text[start]), _kind(text[end - 1])
    before = _kind(text[start - 1]) if start else None
    after = _kind(text[end]) if end < len(text) else None
    cut_before = first is not None and first == before and first != _UNSPACED
    cut_after = last is not None and last == after and last not in (_UNSPACED, _HANGUL)
    return not (cut_before or cut_after)


def _kind(sign: str) -> int | None:
    """Which kind of letter or digit it is; None: neither."""
    return next((at for at, kind in enumerate(_KINDS) if kind.match(sign)), None)
