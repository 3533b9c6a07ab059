"""What each token of a vocabulary adds to a text, in bytes: what stop strings are looked for in."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from decodebench.errors import ConfigError, ModelError, one_line
from decodebench.strategies.step import StopStrings

_ANCHORS = ("a", "##a")
"""Tokens of one letter that go on with a word, as vocabularies write them."""
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")
_LOST = "\ufffd"
"""What is shown of bytes that are no character."""
_PROBE = '1 + 1 = 2, 물은 H2O.\n\nQ: It\'s  "two" <b> (3)\n'
_known: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()
"""For as long as a tokenizer is there: its tokens' bytes, by the size of the vocabulary, and automata, by texts too."""


def stop_strings(texts: Sequence[str], tokenizer: Any, vocabulary: int) -> StopStrings | None:
    """The automaton of these texts for this tokenizer, made once; None without texts.

    Raises ConfigError where there is no tokenizer, or none of its tokens has some byte of a text, and ModelError for a
    tokenizer whose texts are not what its tokens add up to.
    """
    if not texts:
        return None
    if tokenizer is None:
        raise ConfigError(f"strategy.stop={list(texts)}: this model has no tokenizer; allowed is null")
    known = _known.setdefault(tokenizer, {})
    if vocabulary not in known:
        known[vocabulary] = token_bytes(tokenizer, vocabulary)
    if (vocabulary, *texts) not in known:
        spelled = set(b"".join(known[vocabulary]))
        for text in texts:
            if not set(text.encode()) <= spelled:
                raise ConfigError(
                    f"strategy.stop={list(texts)}: no tokens of {_name(tokenizer)} spell {text!r}; allowed are texts "
                    "that it can write"
                )
        known[vocabulary, *texts] = StopStrings(texts, known[vocabulary])
    automaton: StopStrings = known[vocabulary, *texts]
    return automaton


def token_bytes(tokenizer: Any, vocabulary: int) -> tuple[bytes, ...]:
    """The bytes of each token between others, special tokens written out; none for ids that the tokenizer lacks.

    A decoder of `tokenizers` that writes each token by itself is known by its parts. Of others they are what is decoded
    between two tokens of known text, so that no leading space is lost, and no trailing one. Raises ModelError where
    texts are not what tokens add up to, which is tried on texts and on tokens from all over the vocabulary.
    """
    found = [b""] * vocabulary
    try:
        between = _between(tokenizer)
        of_token = _decoder(tokenizer)
        for token, token_id in tokenizer.get_vocab().items():
            if token_id < vocabulary:
                found[token_id] = of_token(token) if of_token else _bytes_of(between([token_id]), token)
        for ids in _probes(tokenizer, found):
            added = b"".join(found[token_id] for token_id in ids).decode(errors="replace")
            if (text := between(ids)) != added:
                raise ValueError(f"{added!r} becomes {text!r}")
    except Exception as error:  # one that comes with its model is any program
        raise ModelError(
            f"strategy.stop: the texts of {_name(tokenizer)} are not what its tokens add up to "
            f"({one_line(error, 200)}); allowed is null"
        ) from error
    return tuple(found)


def _decoder(tokenizer: Any) -> Callable[[str], bytes] | None:
    """What a decoder makes of the name of a token, where it looks at nothing else; None for decoders not known here."""
    decoder: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    try:
        state = json.loads(decoder.__getstate__())
    except (AttributeError, TypeError, ValueError):
        return None
    parts = state["decoders"] if state["type"] == "Sequence" else [state]
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"]:
        return lambda token: _level_bytes(token) or token.encode()
    if kinds[:3] != ["Replace", "ByteFallback", "Fuse"] or "String" not in parts[0]["pattern"]:
        return None
    if any(part["type"] != "Strip" or part["stop"] for part in parts[3:]):  # what is cut off in front is no token's
        return None
    mark, content = parts[0]["pattern"]["String"], parts[0]["content"]

    def of_token(token: str) -> bytes:
        named = _BYTE.fullmatch(token)
        return bytes.fromhex(named[1]) if named else token.replace(mark, content).encode()

    return of_token


def _between(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """What is decoded of tokens between two others, whose text is known to stay as it is."""
    left, right = _anchors(tokenizer)
    before = _shown(tokenizer, [left])
    after = _shown(tokenizer, [left, right]).removeprefix(before)

    def between(ids: Sequence[int]) -> str:
        text = _shown(tokenizer, [left, *ids, right])
        if not (text.startswith(before) and text.endswith(after) and len(text) >= len(before + after)):
            raise ValueError(f"{text!r} lacks {before!r} or {after!r} at an end")
        return text[len(before) : len(text) - len(after)]

    return between


def _anchors(tokenizer: Any) -> tuple[int, int]:
    """Two tokens of known text: what is behind both of them does not change it, nor what is between."""
    known = tokenizer.get_vocab()
    inside = [*(known[name] for name in _ANCHORS if name in known), *tokenizer("a", add_special_tokens=False).input_ids]
    for left in inside:
        for right in inside:
            one, two, three = (_shown(tokenizer, [left, *[right] * count]) for count in range(3))
            if one and len(two) > len(one) and three == two + two.removeprefix(one) and two.startswith(one):
                return left, right
    raise ValueError("it has no letter that goes on with a word")


def _probes(tokenizer: Any, found: Sequence[bytes]) -> Iterator[list[int]]:
    """Sequences that are to be what their tokens add up to: a text, and whole tokens from all over the vocabulary."""
    yield list(tokenizer(_PROBE, add_special_tokens=False).input_ids)
    whole = [token_id for token_id, own in enumerate(found) if own and _is_text(own) and len(own) > 1]
    for start in range(4):
        yield whole[start :: max(1, len(whole) // 64)]


def _is_text(own: bytes) -> bool:
    try:
        own.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _bytes_of(text: str, token: str) -> bytes:
    """The bytes of a token that is shown so; where they are a part of a character, its name says which."""
    if _LOST not in text or _LOST in token:
        return text.encode()
    named = _BYTE.fullmatch(token)
    own = bytes.fromhex(named[1]) if named else _level_bytes(token)
    if own is None or own.decode(errors="replace") != text:
        raise ValueError(f"the token {token!r} is shown as {text!r}")
    return own


def _level_bytes(token: str) -> bytes | None:
    """The bytes that a byte-level vocabulary writes so; None for a name that has other letters."""
    known = _byte_of()
    own = [known.get(letter, -1) for letter in token]
    return None if -1 in own else bytes(own)


@cache
def _byte_of() -> dict[str, int]:
    """The letters that byte-level vocabularies write bytes with (Radford et al. 2019)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _name(tokenizer: Any) -> str:
    return f"the tokenizer of {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__}"
