"""What overlaps are counted in: words, or characters where words are not what white space separates."""

import re
from collections.abc import Iterable
from typing import Literal, get_args

TextUnit = Literal["words", "characters"]
UNITS: tuple[TextUnit, ...] = get_args(TextUnit)

HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that put no white space between words: Thai, Lao, Burmese, Khmer, Kana, Han."""
_OF_CHARACTERS = re.compile(f"[{HANGUL}{UNSPACED}]")
_LETTER = re.compile(r"[^\W\d_]")


def natural_unit(references: Iterable[str]) -> TextUnit:
    """Characters where at least half of the letters of the references are Hangul, Han, Kana or Thai; else words.

    KorQuAD 1.0 counts F1 in characters: a Korean noun and its particle are one word, so that hardly two words are the
    same. It is the references that decide: all texts of a prompt are counted alike.
    """
    letters = [letter for reference in references for letter in _LETTER.findall(reference)]
    of_characters = sum(_OF_CHARACTERS.match(letter) is not None for letter in letters)
    return "characters" if letters and 2 * of_characters >= len(letters) else "words"


def in_units(text: str, unit: TextUnit) -> list[str]:
    """Words are what white space separates; characters are all that are no white space."""
    return text.split() if unit == "words" else [one for one in text if not one.isspace()]
