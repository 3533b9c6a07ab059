"""The bytes of tokens: of tokenizers of every kind, and one line for those whose tokens do not add up."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from decodebench.errors import ConfigError, ModelError
from decodebench.models import token_bytes
from decodebench.models.loading import LoadedModel

WORDS = ["a", "b", "ab", "c", ".", "각", "\n", "the", "x"]


def fast(vocabulary: Sequence[str], decoder: Any) -> Any:
    kind: Any = PreTrainedTokenizerFast
    backend = Tokenizer(models.WordLevel({token: at for at, token in enumerate(vocabulary)}, unk_token="a"))
    backend.decoder = decoder
    return kind(tokenizer_object=backend)


def llama(*more: Any) -> Any:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more])


PIECES = [*WORDS, "▁the", "▁", "<0xEA>", "<0x0A>", "<s>"]
SPELLED = [*(word.encode() for word in WORDS), b" the", b" ", b"\xea", b"\n", b"<s>"]
LEVELS = ["a", "Ġthe", "ê°", "ģ", "Ċ", "日"]


@pytest.mark.parametrize(
    ("vocabulary", "decoder", "wanted"),
    [
        (PIECES, llama(), SPELLED),
        (PIECES, llama(decoders.Strip(" ", 1, 0)), SPELLED),
        (["a", "##a", "the", "##b", "."], decoders.WordPiece(cleanup=False), [b" a", b"a", b" the", b"b", b" ."]),
        (["a", "b", "a</w>", "the</w>"], decoders.BPEDecoder(), [b"a", b"b", b"a ", b"the "]),
        (LEVELS, decoders.ByteLevel(), [b"a", b" the", b"\xea\xb0", b"\x81", b"\n", "日".encode()]),
        (["a", "▁the", "b"], decoders.Metaspace(), [b"a", b" the", b"b"]),
    ],
)  # fmt: skip
def test_tokenizers_of_every_kind(
    vocabulary: list[str], decoder: Any, wanted: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parts of the decoder, and by what it decodes; ids that it lacks have no bytes."""
    tokenizer = fast(vocabulary, decoder)
    assert token_bytes.token_bytes(tokenizer, len(wanted) + 2) == (*wanted, b"", b"")
    monkeypatch.setattr(token_bytes, "_decoder", lambda tokenizer: None)
    assert token_bytes.token_bytes(tokenizer, len(wanted)) == tuple(wanted)


def test_tokens_add_up_to_texts(tiny: LoadedModel) -> None:
    found = token_bytes.token_bytes(tiny.tokenizer, 400)
    for text in ("오늘은 비가\n\n와서 😀", "  The old boat, it's \t<eos>here "):
        ids = tiny.tokenizer(text, add_special_tokens=False).input_ids
        assert b"".join(found[token_id] for token_id in ids).decode() == text


@pytest.mark.packaged
def test_the_packaged_tokenizer(packaged: LoadedModel) -> None:
    """262,144 tokens by the parts of its decoder: some of them against what it decodes."""
    tokenizer = packaged.tokenizer
    found = token_bytes.token_bytes(tokenizer, 262_144)
    left = tokenizer.get_vocab()["a"]
    for token_id in range(0, 262_144, 997):
        text = tokenizer.decode([left, token_id, left], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert text == f"a{found[token_id].decode(errors='replace')}a"
    assert found[tokenizer.get_vocab()["<0xEA>"]] == b"\xea"


class Plain:
    """A tokenizer in plain Python, as some come with their model."""

    name_or_path = "plain"

    def __init__(self, merged: str = " .") -> None:
        self.merged = merged

    def get_vocab(self) -> dict[str, int]:
        return {word: at for at, word in enumerate(WORDS)}

    def __call__(self, text: str, **options: bool) -> Any:
        return SimpleNamespace(input_ids=[WORDS.index(letter) for letter in text if letter in WORDS])

    def decode(self, ids: Sequence[int], **options: bool) -> str:
        return "".join(WORDS[at] for at in ids).replace(self.merged, ".")


def test_a_tokenizer_in_plain_python() -> None:
    assert token_bytes.token_bytes(Plain(), 9) == tuple(word.encode() for word in WORDS)


@pytest.mark.parametrize(
    ("tokenizer", "error"),
    [
        (Plain("ab각"), "strategy.stop: the texts of the tokenizer of plain are not what its tokens add up to "),
        (fast(["b", "c"], decoders.CTC()), "strategy.stop: the texts of the tokenizer of .* are not what "),
        (None, r"strategy.stop=\['a'\]: this model has no tokenizer; allowed is null$"),
    ],
)
def test_what_does_not_add_up_is_refused(tokenizer: Any, error: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=f"^{error}") as raised:
        token_bytes.stop_strings(["a"], tokenizer, 9)
    assert "\n" not in str(raised.value)


def test_a_text_that_no_token_can_write_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^strategy.stop=\['a', 'é'\]: no tokens of the tokenizer of plain spell 'é'; "
    ):
        token_bytes.stop_strings(["a", "é"], Plain(), 9)


def test_the_automaton_is_made_once() -> None:
    tokenizer = Plain()
    first = token_bytes.stop_strings(["a"], tokenizer, 9)
    assert token_bytes.stop_strings(["a"], tokenizer, 9) is first
    assert token_bytes.stop_strings([], tokenizer, 9) is None
