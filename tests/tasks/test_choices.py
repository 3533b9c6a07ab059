"""Multiple choice: lists in prompts, and answers that name a choice."""

from functools import partial

import pytest

from decodebench.tasks.choices import chosen, listed_choices, right_letters
from decodebench.tasks.normalization import normalized

SAME = partial(normalized, steps=["nfkc", "case", "punctuation", "articles", "whitespace"])
CITIES = {"A": "Paris", "B": "New York", "C": "York", "D": "A small town"}


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("Which?\nA. Paris\nB. New York\nAnswer:", {"A": "Paris", "B": "New York"}),
        ("Which? (A) Paris (B) New York\nA:", {"A": "Paris", "B": "New York"}),
        ("Q\na) x\nb) y\nc) z", {"a": "x", "b": "y", "c": "z"}),
        ("다음 중?\n① 서울 ② 부산\n③ 대구\n정답:", {"1": "서울", "2": "부산", "3": "대구"}),
        ("1. 첫 문제\n가. 서울\n나. 부산", {"가": "서울", "나": "부산"}),
        ("1) x\n2) y", {"1": "x", "2": "y"}),
        ("A. old\nB. older\nAnswer: A\n\nA. new\nB. newer\nC. newest", {"A": "new", "B": "newer", "C": "newest"}),
        ("A. one only", {}),
        ("A. x\nC. y", {}),
        ("no list", {}),
    ],
)
def test_the_last_list_of_a_prompt(text: str, choices: dict[str, str]) -> None:
    assert listed_choices(text) == choices


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" b", "B"),
        ("(B)", "B"),
        ("B. New York", "B"),
        ("B) because of C", "B"),
        ("The answer is B.", "B"),
        ("The answer is (B), not (C).", "B"),
        ("Answer: A? No. The answer is **C**", "C"),
        ("정답은 B입니다.", "B"),
        ("답: B번", "B"),
        ("Ｂ", "B"),
        ("It is New York", "B"),  # the words, and not York, which is a part of them
        ("york", "C"),
        ("Paris or New York", None),
        ("I think (D) is right", "D"),
        ("I would take C here", "C"),
        ("A dog", None),  # an article
        ("The answer is a dog", None),
        ("B and C", None),
        ("E", None),
        ("", None),
    ],
)
def test_the_choice_that_an_answer_names(answer: str, letter: str | None) -> None:
    assert chosen(answer, CITIES, SAME) == letter


def test_numbers_and_circles_are_letters_too() -> None:
    choices = {"1": "서울", "2": "부산", "3": "10"}
    answers = ("②", "2번", "정답은 ②", "부산입니다", "정답: 3", "4")
    assert [chosen(answer, choices, SAME) for answer in answers] == ["2", "2", "2", "2", "3", None]


@pytest.mark.parametrize(
    ("references", "letters"),
    [
        (("B",), {"B"}),
        (("(b)", "C."), {"B", "C"}),
        (("new york.",), {"B"}),
        (("small town",), {"D"}),
        (("London", "E"), set()),
    ],
)
def test_references_are_letters_or_words(references: tuple[str, ...], letters: set[str]) -> None:
    assert right_letters(references, CITIES, SAME) == letters
