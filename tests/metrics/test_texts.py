"""Units of counting: tables by hand, Unicode's own arithmetic of Hangul, and what happens without kiwipiepy."""

import subprocess
import sys
import unicodedata
from functools import cache
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodebench.errors import ConfigError
from decodebench.metrics import texts
from decodebench.metrics.texts import UNITS, countable, cut, jamo, unit_of
from metrics_data import EOS, generation

HANGUL = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3))
MIXED = st.text(st.one_of(st.sampled_from("각é가ㅋ \n\u1100\u1161\u11a8a"), st.characters(exclude_categories=["Cs"])))


def units(text, unit):
    (found,) = cut([generation(text=text)], unit)
    return found


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("나는 a\n", "characters", ("나", "는", " ", "a", "\n")),
        ("나는 a\n", "words", ("나는", "a")),
        # 나 = ㄴ ㅏ, 는 = ㄴ ㅡ ㄴ: first sounds U+1102, vowels U+1161 and U+1173, last sound U+11AB
        ("나는 a\n", "jamo", ("\u1102", "\u1161", "\u1102", "\u1173", "\u11ab", " ", "a", "\n")),
        ("é", "jamo", ("é",)),  # only Hangul is decomposed
        ("e\u0301", "jamo", ("é",)),
        ("ㅋㅋ", "jamo", ("ㅋ", "ㅋ")),  # letters of their own: no syllable to decompose
        ("\u1100", "jamo", ("\u1100",)),
        (" \n\t", "words", ()),
        (" \n", "characters", (" ", "\n")),
        *[("", unit, ()) for unit in ("characters", "words", "jamo", "morphemes")],
        (" \n", "morphemes", ()),
    ],
)
def test_units_by_hand(text, unit, expected):
    assert units(text, unit) == expected


def test_tokens_are_those_of_the_model_without_the_eos():
    stopped, cut_off = generation([5, 6, EOS], finish_reason="eos"), generation([7])
    assert cut([stopped, cut_off], "tokens") == [(5, 6), (7,)]
    assert cut([], "words") == []


@given(HANGUL)
def test_jamo_of_syllables_are_unicodes_arithmetic(text):
    # The Unicode Standard 3.12: 19 first sounds x 21 vowels x 28 last sounds (the first of them is none).
    slow = []
    for syllable in text:
        place = ord(syllable) - 0xAC00
        last = place % 28
        slow += [chr(0x1100 + place // 588), chr(0x1161 + place % 588 // 28)] + [chr(0x11A7 + last)] * (last > 0)
    assert list(jamo(text)) == slow


@given(MIXED)
def test_the_spelling_of_a_text_does_not_matter(text):
    for unit in ("characters", "jamo", "words"):
        composed, decomposed = (units(unicodedata.normalize(form, text), unit) for form in ("NFC", "NFD"))
        assert composed == decomposed == units(text, unit)
    assert unicodedata.normalize("NFC", "".join(units(text, "jamo"))) == unicodedata.normalize("NFC", text)
    assert len(units(text, "jamo")) >= len(units(text, "characters")) >= len(units(text, "words"))


def test_morphemes_by_hand():
    # I + topic, school + to, go + past + plain ending; then "the park that I went to": 는 is another morpheme there.
    expected = ("나/NP", "는/JX", "학교/NNG", "에/JKB", "가/VV", "었/EP", "다/EF", "./SF")
    spelled = unicodedata.normalize("NFD", "나는 학교에 갔다.")
    assert units("나는 학교에 갔다.", "morphemes") == units(spelled, "morphemes") == expected
    assert "는/ETM" in units("내가 가는 공원", "morphemes")


def test_morphemes_do_not_depend_on_the_texts_before():
    sentences = ["나는 학교에 갔다.", "인간은 태어날 때부터 자유롭다.", "ㅋㅋㅋ 그래서 뭐?", "Hello 서울 123"]
    many = [generation(text=text) for text in sentences]
    assert cut(many, "morphemes") == cut(many[::-1], "morphemes")[::-1] == [units(t, "morphemes") for t in sentences]


def test_a_run_of_one_sign_is_one_morpheme():
    # Kiwi's own rule, which hides such a loop: the docstring warns of it.
    assert len(units("ㅋ" * 40, "morphemes")) == 1
    assert len(units("1. " * 40, "morphemes")) == 1


def test_the_analyser_is_loaded_once_with_one_thread(monkeypatch):
    made = []

    class Fake(ModuleType):
        class Kiwi:
            def __init__(self, **options):
                made.append(options)

            def tokenize(self, text):
                return [SimpleNamespace(form=text, tag="NNG")]

    monkeypatch.setitem(sys.modules, "kiwipiepy", Fake("kiwipiepy"))
    monkeypatch.setattr(texts, "_kiwi", cache(texts._kiwi.__wrapped__))
    assert cut([generation(text="가"), generation(text="나")], "morphemes") == [("가/NNG",), ("나/NNG",)]
    assert units("다", "morphemes") == ("다/NNG",)
    assert made == [{"num_workers": 1}]


def test_without_kiwipiepy(monkeypatch):
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    monkeypatch.setattr(texts, "_kiwi", texts._kiwi.__wrapped__)
    with pytest.raises(ConfigError) as raised:
        units("가", "morphemes")
    message = "metrics.unit=morphemes: needs the package kiwipiepy: pip install 'decodebench[korean]'"
    assert str(raised.value) == message
    assert units("가", "jamo") == ("\u1100", "\u1161")  # the others do without


def test_other_units_do_not_load_it():
    code = "import sys; from decodebench.metrics.texts import jamo; jamo('가'); sys.exit('kiwipiepy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *[(unit, unit) for unit in UNITS],
        ("token", "tokens"),
        ("character", "characters"),
        ("word", "words"),
        ("morpheme", "morphemes"),
    ],
)
def test_names_of_units(name, unit):
    assert unit_of(name) == unit


@pytest.mark.parametrize("name", ["wordss", "Words", "", "s", "jam", "syllables"])
def test_names_that_are_no_unit(name):
    with pytest.raises(ConfigError) as raised:
        unit_of(name, "--unit")
    assert str(raised.value).startswith(f"--unit={name}: allowed: characters, jamo, morphemes, tokens, words")
    with pytest.raises(ConfigError, match=r"^metrics\.unit="):
        unit_of(name)


def test_a_given_text_without_tokens_has_no_tokens_to_count():
    given_text = generation(text="a b", finish_reason="end")
    assert not countable(given_text, "tokens")
    assert countable(given_text, "words")
    assert countable(generation([1, 2], finish_reason="end"), "tokens")
    assert countable(generation(text="", finish_reason="end"), "tokens")  # no text: 0 tokens
