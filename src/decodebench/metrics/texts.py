"""What a metric sees of a generation: the units of its content, and the stored record."""

import unicodedata
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, get_args

from decodebench.records import Generation

Unit = Literal["tokens", "characters", "words"]
UNITS: tuple[str, ...] = get_args(Unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One generation beside its content cut into units (the EOS that ended it left out)."""

    generation: Generation
    units: tuple[Hashable, ...]


def cut(generation: Generation, unit: Unit) -> Text:
    """Cut the content into the model's tokens, into characters, or into words.

    Characters and words are those of the text in Unicode form NFC, so that a Hangul syllable is one character however
    it was spelled. Characters keep white space; words are what white space separates (eojeol in Korean).
    """
    if unit == "tokens":
        return Text(generation=generation, units=generation.content_ids)
    text = unicodedata.normalize("NFC", generation.text)
    return Text(generation=generation, units=tuple(text if unit == "characters" else text.split()))
