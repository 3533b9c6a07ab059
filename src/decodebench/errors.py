"""What the user is told when something cannot be done: one line naming key, value and what is allowed."""

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

log = logging.getLogger(__name__)
K = TypeVar("K")

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
    """Control characters as their pictures (NUL is ␀); newlines and tabs stay."""
    return text.translate(_CONTROLS)


def one_line(text: object, most: int | None = None) -> str:
    """A label, a message, or what another library's error says, on one line, cut to `most` characters where that is
    given.
    """
    return visible(" ".join(str(text).split()))[:most]


def allowed_names(wrong: str, allowed: Iterable[str]) -> str:
    """The tail of an error message: every allowed name, then the nearest one where there is one.

    >>> allowed_names("topp", ["top_k", "top_p"])
    'allowed: top_k, top_p; did you mean top_p?'
    """
    names = sorted(allowed)
    near = get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"allowed: {', '.join(names) or 'none'}{hint}"
