"""What the user is told when something cannot be done: one line naming key, value and what is allowed."""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

log = logging.getLogger(__name__)
K = TypeVar("K")

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


class DiskError(StoreError):
    """A disk that refuses to be written: whatever was to be written is not at fault."""


class NoMemoryError(ModelError):
    """Memory that ran out, after all that can be done about it was done."""


class ForeignError(DecodebenchError):
    """What code that is not ours (of a model, a tokenizer, a strategy of a user's own) raised, in words."""


@contextmanager
def guarded(fail: Callable[[DecodebenchError], object]) -> Iterator[None]:
    """Whatever the block raises fails what it was done for, a cell or a text, and nothing else: `fail` is told.

    Our own errors come as they are, others as a ForeignError. What no cell is at fault for goes through: memory that
    ran out, a disk that refuses, a user who stops the program.
    """
    try:
        yield
    except (MemoryError, DiskError, NoMemoryError):
        raise
    except (Exception, SystemExit) as error:  # a strategy is anybody's code: it may even call exit()
        if ran_out_of_memory(error):
            raise
        log.debug("failed", exc_info=True)
        if isinstance(error, DecodebenchError):
            fail(error)
        else:
            foreign = ForeignError(in_words(error))
            foreign.__cause__ = error
            fail(foreign)


@contextmanager
def worded(what: str) -> Iterator[None]:
    """Whatever the block raises that is not ours becomes a ConfigError that begins with `what`; else as `guarded`."""
    raised: list[DecodebenchError] = []
    with guarded(raised.append):
        yield
    for error in raised:
        if isinstance(error, ForeignError):
            raise ConfigError(f"{what} ({error})") from error
        raise error


def noted(reasons: MutableMapping[K, str], key: K) -> AbstractContextManager[None]:
    """`guarded`, where all that is to be done is to note the reason."""
    return guarded(lambda error: reasons.__setitem__(key, str(error)))


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of this machine or, where torch is in use, of its device."""
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def in_words(error: BaseException) -> str:
    """An error of other code on one line: its class and its text; of one without a text, where it was raised."""
    if text := one_line(error):
        return f"{type(error).__name__}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "")


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
