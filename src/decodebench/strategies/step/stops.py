"""Stop strings: whether a token completes one of some texts, whichever tokens spell it (Aho and Corasick 1975).

The automaton reads bytes: a state is how much of the texts lies behind. What a whole token does to each state is
computed once, so that a step looks one number up, without a wait, for candidates of any number of rows.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decodebench.strategies.step.waits import handed_over

_ENTRIES = 2**22
"""States x tokens that are computed at once."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a text has its first stop string: `last` is the token that completes it, `first` the one it begins in,
    behind `offset` bytes of that. A negative offset is that of a string that begins in the prompt."""

    stop: str
    first: int
    offset: int
    last: int


class StopStrings:
    """The automaton of some texts for the tokens of a vocabulary; `token_bytes` has what each token adds to a text.

    The first string to be complete is the one that counts, of those that are complete at one byte the longest: so it
    does not matter how the text is cut into tokens.
    """

    def __init__(self, texts: Sequence[str], token_bytes: Sequence[bytes]) -> None:
        self.token_bytes = token_bytes
        self._longest = max(len(text.encode()) for text in texts)
        self._next_SX, self._complete = _automaton(texts)
        self._class_V, self._code_SK = self._of_tokens()
        self._on: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def after_prompt(self, ids: Sequence[int]) -> int:
        """The state behind a prompt; a string that is in it whole does not count."""
        tail = b""
        for token in reversed(ids):
            tail = self.token_bytes[token] + tail
            if len(tail) >= self._longest:
                break
        state = 0
        for byte in tail:
            state = int(self._next_SX[state, byte])
        return state

    def step(self, state: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """The states behind the tokens (EMPTY changes none), and whether these complete a stop string."""
        if state.device not in self._on:
            tables = (torch.from_numpy(table) for table in (self._class_V, self._code_SK))
            self._on[state.device] = tuple(handed_over(table, state.device) for table in tables)  # type: ignore[assignment]
        class_V, code_SK = self._on[state.device]
        code = code_SK[state, class_V[token]]
        return torch.where(code < 0, ~code, code), code < 0

    def walk(self, state: int, ids: Sequence[int]) -> tuple[int, int | None]:
        """The state behind some tokens, and which of them is the first to complete a stop string (then: in front)."""
        for place, token in enumerate(ids):
            code = int(self._code_SK[state, self._class_V[token]])
            if code < 0:
                return state, place
            state = code
        return state, None

    def find(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Match | None:
        """The first stop string of a text behind a prompt."""
        state, last = self.walk(self.after_prompt(prompt_ids), ids)
        if last is None:
            return None
        own, end = self.token_bytes[ids[last]], 0
        while not (stop := self._complete[state]) or not end:  # a string that ended in the prompt is not this one
            state = int(self._next_SX[state, own[end]])
            end += 1
        first, offset = last, end - len(stop.encode())
        while offset < 0 < first:
            first -= 1
            offset += len(self.token_bytes[ids[first]])
        return Match(stop, first, offset, last)

    def _of_tokens(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each token's class, and what a token of a class does to each state: the next one, ~next with a string.

        Of most tokens no byte is in a stop string: first all such bytes become one, then tokens that do the same to
        all states one class. The last place (EMPTY, -1) is that of no bytes.
        """
        used = {byte for byte in range(256) if (self._next_SX[:, byte] != 0).any()}
        other = next((bytes([byte]) for byte in range(256) if byte not in used), None)
        as_other = bytes(byte if byte in used or other is None else other[0] for byte in range(256))
        run = re.compile(re.escape(other or b"") + b"{2,}") if other else None
        kinds: dict[bytes, int] = {}
        kind_V = []
        for own in (*self.token_bytes, b""):
            seen = own.translate(as_other)
            kind_V.append(kinds.setdefault(run.sub(other or b"", seen) if run else seen, len(kinds)))
        classes: dict[bytes, int] = {}
        class_of_kind: list[int] = []
        every = sorted(kinds, key=len)
        at_once = max(1, _ENTRIES // len(self._complete))
        for first in range(0, len(every), at_once):
            columns = self._codes(every[first : first + at_once]).T
            class_of_kind += [classes.setdefault(column.tobytes(), len(classes)) for column in columns]
        class_by_kind = np.zeros(len(kinds), dtype=np.int64)
        class_by_kind[[kinds[kind] for kind in every]] = class_of_kind
        code_SK = np.array([np.frombuffer(column, dtype=np.int64) for column in classes]).T
        return class_by_kind[np.array(kind_V)], np.ascontiguousarray(code_SK)

    def _codes(self, tokens: Sequence[bytes]) -> NDArray[np.int64]:
        """What each token, which come by length, does to each state, [S, tokens]."""
        states = len(self._complete)
        complete_S = np.array([stop is not None for stop in self._complete])
        state_SN = np.repeat(np.arange(states, dtype=np.int64)[:, None], len(tokens), axis=1)
        hit_SN = np.zeros(state_SN.shape, dtype=bool)
        longest = max(map(len, tokens))
        byte_NL = np.frombuffer(b"".join(token.ljust(longest, b"\0") for token in tokens), dtype=np.uint8)
        byte_NL = byte_NL.reshape(len(tokens), longest)
        length_N = np.array([len(token) for token in tokens])
        for at in range(longest):
            begin = int(np.searchsorted(length_N, at, side="right"))  # the shorter ones are at their end
            state_SN[:, begin:] = self._next_SX[state_SN[:, begin:], byte_NL[begin:, at]]
            hit_SN[:, begin:] |= complete_S[state_SN[:, begin:]]
        return np.where(hit_SN, ~state_SN, state_SN)


def _automaton(texts: Sequence[str]) -> tuple[NDArray[np.int64], list[str | None]]:
    """The state behind each state and byte, [S, 256], and the longest text that a state ends with; 0 is the start."""
    children: list[dict[int, int]] = [{}]
    complete: list[str | None] = [None]
    for text in texts:
        state = 0
        for byte in text.encode():
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                complete.append(None)
            state = children[state][byte]
        complete[state] = text
    next_SX = np.zeros((len(children), 256), dtype=np.int64)
    shorter = [0] * len(children)  # the state of the longest proper suffix
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        if state:
            next_SX[state] = next_SX[shorter[state]]
            complete[state] = complete[state] or complete[shorter[state]]
        for byte, child in children[state].items():
            shorter[child] = int(next_SX[state, byte]) if state else 0
            next_SX[state, byte] = child
            waiting.append(child)
    return next_SX, complete
