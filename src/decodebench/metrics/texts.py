"""The units that a text is counted in: tokens of the model, characters, jamo, words, Korean morphemes."""

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import Any, Literal, get_args

from decodebench.errors import ConfigError, allowed_names
from decodebench.records import Generation

Unit = Literal["tokens", "characters", "jamo", "words", "morphemes"]
UNITS: tuple[Unit, ...] = get_args(Unit)

HANGUL_SYLLABLES = re.compile("[가-힣]+")


def unit_of(name: str, key: str = "metrics.unit") -> Unit:
    """The unit of that name, which may be singular (`word`); ConfigError, naming `key`, where there is none."""
    for unit in UNITS:
        if name in (unit, unit.removesuffix("s")):
            return unit
    raise ConfigError(f"{key}={name}: {allowed_names(name, UNITS)}")


def cut(generations: Sequence[Generation], unit: Unit) -> list[tuple[Hashable, ...]]:
    """The content of each generation, cut into units; the EOS that ended it is none.

    Everything but tokens is cut from the text in Unicode form NFC, however it was spelled:

    - `characters`: a Hangul syllable is one; white space counts.
    - `jamo`: characters, with every Hangul syllable decomposed (canonically) into its two or three jamo.
    - `words`: what white space separates; in Korean these are eojeol, a noun with its particles.
    - `morphemes`: see `morphemes`. ConfigError where kiwipiepy is not installed.
    """
    if unit == "tokens":
        return [generation.content_ids for generation in generations]
    split = _splitter(unit)
    return [tuple(split(unicodedata.normalize("NFC", generation.text))) for generation in generations]


def countable(generation: Generation, unit: Unit) -> bool:
    """Whether the text can be cut into `unit`: a text that was given may have come without tokens."""
    return unit != "tokens" or bool(generation.token_ids) or not generation.text


def _splitter(unit: Unit) -> Callable[[str], Iterable[Hashable]]:
    splitters: dict[str, Callable[[str], Iterable[Hashable]]] = {
        "characters": tuple,
        "jamo": jamo,
        "words": str.split,
        "morphemes": morphemes,
    }
    return splitters[unit]


def jamo(text: str) -> str:
    """NFC text with its Hangul syllables decomposed; other characters (é, ㅋ) stay as they are.

    >>> len(jamo("각é"))
    4
    """
    return HANGUL_SYLLABLES.sub(lambda syllables: unicodedata.normalize("NFD", syllables[0]), text)


def morphemes(text: str) -> list[str]:
    """The Korean morphemes of an NFC text as `form/tag`, by kiwipiepy; white space is none.

    The tag is part of the unit: 는/JX, a particle, and 는/ETM, an ending, are two morphemes. Forms are those of Kiwi's
    dictionary (았 and 었 are one past tense). It takes a run of one sign or of numbers for a single morpheme, so a text
    caught in "ㅋㅋㅋ..." or "1. 1. 1. ..." is short in morphemes; words of other scripts are split by its own rules.
    """
    return [f"{token.form}/{token.tag}" for token in _kiwi().tokenize(text)]


@cache
def _kiwi() -> Any:
    """The analyser, loaded once: about 3 s and half a gigabyte."""
    try:
        from kiwipiepy import Kiwi
    except ImportError as error:
        raise ConfigError(
            "metrics.unit=morphemes: needs the package kiwipiepy: pip install 'decodebench[korean]'"
        ) from error
    return Kiwi(num_workers=1)
