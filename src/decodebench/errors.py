"""What the user is told when something cannot be done: one line naming key, value and what is allowed."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "␡", 0x85: "␤"}
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls of both sets (0x9b alone begins a sequence that a terminal obeys)
    "\u2028\u2029"  # ends of lines and paragraphs
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # what turns the direction of a text
    "\ud800-\udfff]"  # halves of a surrogate pair, which no file can hold
)
_COMMAND = re.compile(r"^\s*(?=::)|##(?=[\w.-]*\[)")
"""Where GitHub Actions (`::error::`, `##[error]`), Azure Pipelines (`##vso[...]`) and TeamCity read a command in a log:
the first after any white space, the others anywhere in a line."""


class DecodebenchError(Exception):
    """Base of every error with a message made for the user; `__main__` prints it on one line and exits with 3."""

    exit_code = 3


class ConfigError(DecodebenchError):
    """A key or value of the configuration that is not allowed."""


class PromptError(DecodebenchError):
    """A prompt set that cannot be read, or a prompt that cannot be used."""


class ModelError(DecodebenchError):
    """A model that cannot be found, loaded or trusted (no weights, NaN logits, no such device)."""


class StoreError(DecodebenchError):
    """A run folder that cannot be read, written or continued."""


def visible(text: str) -> str:
    """A text that neither moves the cursor of a terminal nor turns the direction of what follows: control characters
    as their pictures (NUL is ␀), what has none as its number (`\\u202e`). Newlines and tabs stay."""
    return _UNSEEN.sub(lambda found: _PICTURES.get(ord(found[0]), f"\\u{ord(found[0]):04x}"), text)


def one_line(text: object, most: int | None = None) -> str:
    """A label, a message, or what another library's error says, on one line, cut to `most` characters where that is
    given.
    """
    return visible(" ".join(str(text).split()))[:most]


def no_command(line: str) -> str:
    """A line for a terminal in which no CI system reads a command: a mark stands where one would begin.

    >>> no_command("::error::a text")
    '·::error::a text'
    """
    return _COMMAND.sub(lambda found: f"{found[0]}·", line)


def allowed_names(wrong: str, allowed: Iterable[str]) -> str:
    """The tail of an error message: every allowed name, then the nearest one where there is one.

    >>> allowed_names("topp", ["top_k", "top_p"])
    'allowed: top_k, top_p; did you mean top_p?'
    """
    names = sorted(allowed)
    near = get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"allowed: {', '.join(names) or 'none'}{hint}"
