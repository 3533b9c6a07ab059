"""The one sanitiser: what reaches a terminal is seen, stays on its line, and is no command to CI."""

import sys
import unicodedata
from pathlib import Path

import pytest
from wcwidth import wcwidth

from decodebench.__main__ import main
from decodebench.errors import no_command, one_line, visible


def test_no_character_moves_a_cursor_or_turns_a_text() -> None:
    shown = {letter: visible(letter) for letter in map(chr, range(sys.maxunicode + 1))}
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for letter, picture in shown.items():
        kind = unicodedata.category(letter)
        if (kind in ("Cc", "Zl", "Zp", "Cs") and letter not in "\n\t") or unicodedata.bidirectional(letter) in turning:
            assert picture != letter, hex(ord(letter))
            assert all(wcwidth(part) == 1 for part in picture), hex(ord(letter))
        elif kind[0] != "C":
            assert picture == letter


def test_what_is_shown_for_them() -> None:
    assert visible("\x00 \x1b[31m \x7f \x85 \x9b \u2028 \u202e") == "␀ ␛[31m ␡ ␤ \\u009b \\u2028 \\u202e"
    assert visible("a\n\tb 👩‍🚀 한글 שלום") == "a\n\tb 👩‍🚀 한글 שלום"
    assert one_line(" a\n\u2028 \u202eb\r\n") == "a \\u202eb"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("::error::x", "·::error::x"),
        (" \t::error::x", " \t·::error::x"),
        ("##[error]x", "##·[error]x"),
        ("a ##vso[task.setvariable]x", "a ##·vso[task.setvariable]x"),
        ("##teamcity[message]", "##·teamcity[message]"),
        *((plain, plain) for plain in ("", "std::vector", "# [a]", "## a [b]", "sample::length")),
    ],
)
def test_a_line_is_no_command(line: str, shown: str) -> None:
    assert no_command(line) == shown


def test_an_error_is_one_line_whatever_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of a folder may hold a newline."""
    monkeypatch.chdir(tmp_path)
    assert main(["check", "x\n::error::y\x1b[31m\u202e", "--against", "b\r::error::z"]) == 3
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("decodebench: error: ")
    assert not set("\x1b\u202e\r") & set(said)
