"""What the user is told when something cannot be done: one line naming key, value and what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches

_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}


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
    """Control characters as their pictures (NUL is ␀); newlines and tabs stay."""
    return text.translate(_CONTROLS)


def one_line(text: object, most: int | None = None) -> str:
    """A label, a message, or what another library's error says, on one line, cut to `most` characters where that is
    given.
    """
    return visible(" ".join(str(text).split()))[:most]


def some(names: Iterable[str], most: int = 5) -> str:
    """Names in quotes, the first few of many.

    >>> some("abcd", most=2)
    "'a', 'b' and 2 more"
    """
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + more


def allowed_names(wrong: str, allowed: Iterable[str]) -> str:
    """The tail of an error message: every allowed name, then the nearest one where there is one.

    >>> allowed_names("topp", ["top_k", "top_p"])
    'allowed: top_k, top_p; did you mean top_p?'
    """
    names = sorted(allowed)
    near = get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"allowed: {', '.join(names) or 'none'}{hint}"
