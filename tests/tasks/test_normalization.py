"""Normalisation: tables, and properties that hold for any text."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.tasks.normalization import NORMALIZERS, normalized

EVERY = tuple(NORMALIZERS)
STEPS = st.sets(st.sampled_from(EVERY))
TEXTS = st.text(max_size=30) | st.text(
    st.sampled_from("aAnthe ,.-'É서울은이가를에서입니다İſﬀ①\u0301\u1100\u1161\t"), max_size=30
)


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        (["case"], "PARIS Ä", "paris ä"),
        (["nfkc"], "ＡＢＣ ①½", "ABC 11⁄2"),
        (["nfkc"], unicodedata.normalize("NFD", "서울"), "서울"),
        (["punctuation"], "“U.S.” — it's (1,234)!", "US  its 1234"),
        (["punctuation"], "《서울》, '부산'…", "서울 부산"),
        (["punctuation"], "3€ + 2₩", "3€  2₩"),  # of symbols only those of ASCII, as SQuAD has them
        (["articles"], "The cat an a theory", "  cat     theory"),
        (["whitespace"], "  a \n b\t", "a b"),
        (["articles", "punctuation", "case", "whitespace"], "The A-Team!", "ateam"),  # punctuation before articles
        ([], " As it is. ", " As it is. "),
        # a step that would leave nothing is not taken
        (["case", "articles", "whitespace"], "A", "a"),
        (["punctuation"], "?!", "?!"),
        (["whitespace"], "  ", ""),
        (["punctuation"], "", ""),
    ],
)
def test_steps_by_hand(steps: list[str], text: str, expected: str) -> None:
    assert normalized(text, steps) == expected


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("서울은", "서울"),
        ("서울에서는", "서울"),
        ("서울입니다", "서울"),
        ("학교는", "학교"),
        ("책이", "책"),
        ("물로", "물"),  # after ㄹ as after a vowel
        ("산으로", "산"),
        ("BTS는", "BTS"),
        ("3은", "3"),
        ("아이", "아이"),  # 이 follows a consonant
        ("사과", "사과"),  # 과 as well
        ("종로", "종로"),  # after ㅇ it would be 으로
        ("은", "은"),
        ("종이", "종"),  # paper: the price of telling a particle by its form
        ("run", "run"),
    ],
)
def test_korean_particles(word: str, stem: str) -> None:
    assert normalized(word, ["korean_particles"]) == stem
    assert normalized(f"{word} {word}", ["korean_particles"]) == f"{stem} {stem}"


@settings(deadline=None, max_examples=60)
@given(TEXTS, STEPS)
def test_normalising_again_changes_nothing(text: str, steps: set[str]) -> None:
    once = normalized(text, steps)
    assert normalized(once, steps) == once


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.permutations(EVERY))
def test_the_order_in_which_steps_are_named_changes_nothing(text: str, order: list[str]) -> None:
    assert normalized(text, order) == normalized(text, EVERY)


@settings(deadline=None, max_examples=60)
@given(TEXTS, STEPS)
def test_something_stays_something(text: str, steps: set[str]) -> None:
    assert bool(normalized(text, steps).strip()) == bool(text.strip())
