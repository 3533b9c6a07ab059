"""The words of a launch as Hydra can read them: a text needs no quotes, and what would be lost in silence is an error.

Hydra's grammar knows letters of ASCII alone, and takes 1e3 for a number wherever it stands. What it can read is left as
it is, but for numbers where a text belongs; of what it cannot read, first each word is put into quotes, then the whole.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException

from decodebench.errors import ConfigError, allowed_names, one_line
from decodebench.plan import GROUPS, KEYS, TEXT_KEYS

_NAMED = (*GROUPS, "experiment")
"""The keys whose value is the name of a yaml."""
_GRIDS = "hydra.sweeper.grids"
_LINES = {
    *("prompts.template", "task.after"),
    *(f"strategy.{name}" for name in ("negative_prompt", "stop", "bad_words", "force_words", "dry_sequence_breakers")),
}
"""Texts in which a line break may stand: on a command line as \\n."""
_ONE_TEXT = ("task.pattern", "task.after")
"""Keys with one text for the whole run: all signs are its own, those of lists and sweeps too."""
_PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[,\[\]{}():=]|[^,\[\]{}():='"]+|.""", re.S)
"""A quoted text, a sign of the grammar, or what lies between such signs."""
_UNREADABLE = re.compile(r"[^\w/\-\\+.$%*@?| \t]|[^\x00-\x7f]")
_NO_TEXT = re.compile(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d[\d_]*)?|[+-]?(inf|nan)|true|false", re.I)


def readable(words: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The words for Hydra; `folders` are those of the configuration. Raises ConfigError, one line, naming the word."""
    _refuse_twice(words)
    return [_readable(word, folders) for word in words]


def quoted(text: str) -> str:
    """A text as Hydra's grammar quotes it."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def with_quotes(word: str) -> str:
    """The end of an error: how a shell is given the word's value as one text."""
    key, _, value = word.partition("=")
    return f"a text with such signs in it is quoted, in a shell twice: '{key}=\"{value}\"'"


def _split(word: str) -> tuple[str, str, str | None]:
    """Sign, key and value; None: there is none."""
    sign, key, value = re.fullmatch(r"(~|\+{0,2})([^=]*)(?:=(.*))?", word, re.S).groups()  # type: ignore[union-attr]
    return sign, _GRIDS if key == "grids" else key, value


def _refuse_twice(words: Sequence[str]) -> None:
    """Of two values for a key the last one would win."""
    given: dict[str, str] = {}
    for word in words:
        _, key, _ = _split(word)
        if key in given:
            values = [_split(one)[2] for one in (given[key], word)]
            several = f", several values with commas: -m {key}={','.join(map(str, values))}"
            swept = None not in values and key not in ("name", "results") and not key.startswith("hydra")
            raise ConfigError(f"{given[key]} {word}: {key} is given twice; allowed is once{several if swept else ''}")
        given[key] = word
    for keys in _keys_of_grids(_split(given.get(_GRIDS, ""))[2] or ""):
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(f"grids: {key} is given twice in a grid; allowed is once, several values in a list")
            if key in given:
                raise ConfigError(f"{given[key]}: {key} is given in grids=, too; allowed is one of the two")


def _keys_of_grids(value: str) -> list[list[str]]:
    """The keys of each grid, as often as they are there: once it is read, of two that are the same one is lost."""
    keys: list[list[str]] = []
    inside, is_key = "", False
    for piece in filter(None, map(str.strip, _PIECE.findall(value))):
        if piece in "[{(":
            inside += piece
            is_key = inside == "[{"
            keys += [[]] if is_key else []
        elif piece in "]})":
            inside = inside[:-1]
        elif inside == "[{":
            if is_key:
                keys[-1].append(piece.strip("'\""))
            is_key = piece == ","
    return keys


def _readable(word: str, folders: Sequence[Path]) -> str:
    sign, key, value = _split(word)
    if value is None:
        return word
    if not key:
        raise ConfigError(f"{word}: has no key; allowed are key=value and the flags that --help names")
    if not key.isascii():
        raise ConfigError(f"{word}: unknown key; {allowed_names(key, (*KEYS, 'experiment', 'grids'))}")
    if sign != "~" and key in (*KEYS, "experiment"):
        sign = ""
    elif sign != "~" and "." in key and not key.startswith("hydra."):
        # Hydra then takes any key, and `job_config` says what is wrong with it: it knows the strategy of each job.
        sign = "++"
    start = f"{sign}{key}="
    parsed = _parsed(start, value if key not in _LINES else _with_line_breaks(value), word, key)
    if sign != "~" and (key in _NAMED or "/" in key or key == "hydra"):
        return _named(parsed, key, value, folders)
    return str(parsed.input_line)


def _parsed(start: str, value: str, word: str, key: str) -> Override:
    """The first of several ways to write it that Hydra can read."""

    def is_text(bare: str) -> bool:
        return key in TEXT_KEYS and _NO_TEXT.fullmatch(bare) is not None

    if key in _ONE_TEXT and value != "null" and value[:1] not in ("'", '"'):
        return _PARSER.parse_override(start + quoted(value))
    pieces = _PIECE.findall(value)
    numbers = "".join(_quoted_word(piece, is_text) for piece in pieces)
    words = "".join(_quoted_word(piece, lambda bare: is_text(bare) or _UNREADABLE.search(bare)) for piece in pieces)
    whole = [quoted(value)] if value.count("[") == value.count("]") and value.count("(") == value.count(")") else []
    if "," in value and key in TEXT_KEYS and _is_there(value):
        return _PARSER.parse_override(start + quoted(value))  # a path with a comma in it, not a sweep
    why = ""
    for written in (numbers, words, *whole):
        try:
            return _PARSER.parse_override(start + written)
        except HydraException as error:
            why = why or one_line(error)
    why = "cannot be read" if why.startswith("LexerNoViable") or not why else why
    raise ConfigError(f"{word}: {why}; allowed is key=value; {with_quotes(word)}")


_PARSER = OverridesParser.create()


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # a text that no path can be
        return False


def _quoted_word(piece: str, needs: Callable[[str], object]) -> str:
    """A piece in quotes, where it needs them; white space around it is not its own."""
    bare = piece.strip()
    if piece[0] in "'\"" or bare in ",[]{}():=" or not needs(bare):
        return piece
    return piece.replace(bare, quoted(bare))


def _with_line_breaks(value: str) -> str:
    r"""\n and \t as a line break and a tab; \\n and \\t are a backslash and a letter."""
    signs = {"n": "\n", "t": "\t"}
    return re.sub(r"(\\?)\\([nt])", lambda found: "\\" + found[2] if found[1] else signs[found[2]], value)


def _named(parsed: Override, group: str, value: str, folders: Sequence[Path]) -> str:
    """The override of a group, whose values must be names: Hydra fails on a number, true or null."""
    names = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    if value in names:
        return f"{group}={quoted(value)}"  # one that is called null, or 1
    found: Any = parsed.value()
    values = found.list if isinstance(found, ChoiceSweep) else [found]
    if not all(isinstance(one, str | QuotedString | Glob) for one in values):
        raise ConfigError(f"{group}={value}: must be a name{f'; {allowed_names(value, names)}' if names else ''}")
    return str(parsed.input_line)
