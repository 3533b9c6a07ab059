"""Multiple choice: the choices that a prompt lists, and the one that an answer names by its letter or its words."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

from decodebench.tasks.matching import occurs

_ALPHABETS = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "가나다라마바사아자차카타파하")
_NUMBERS = tuple(str(number) for number in range(1, 21))
DEFAULT_LETTERS = tuple("ABCDEFGHIJ")
"""The letters of a prompt that lists no choices."""
_MARK = re.compile(
    r"(?:^|(?<=\s))(?:[(\[](?P<inside>[A-Za-z가-하]|\d\d?)[)\]]|(?P<before>[A-Za-z가-하]|\d\d?)[.)\]](?=\s)"
    r"|(?P<circled>[①-⑳]))",
    re.M,
)
_CUE = r"(?:\banswer|\bchoice|\boption|정답|답)(?:\s+is|은|는|[\s:=*\"'(\[]|\boption|\bchoice|번호는)*"


def listed_choices(text: str) -> dict[str, str]:
    """Letter -> words of the last list of choices in a text: A. B. C., (a) (b), 1) 2) or ① ②, 가. 나. and their like.

    They stand on lines of their own or behind each other. A list has two or more; empty where there is none.
    """
    found: dict[str, str] = {}
    run: list[tuple[str, re.Match[str]]] = []
    for mark in _MARK.finditer(text):
        letter = unicodedata.normalize("NFKC", next(part for part in mark.groups() if part))
        if letter in ("A", "a", "가", "1"):
            run = [(letter, mark)]
        elif run and letter == _next(run[-1][0]):
            run.append((letter, mark))
            ends = [mark.start() for _, mark in run[1:]] + [len(text)]
            found = {
                one: text[mark.end() : end].strip().partition("\n")[0].strip()
                for (one, mark), end in zip(run, ends, strict=True)
            }
    return found


def _next(letter: str) -> str | None:
    for alphabet in (*_ALPHABETS, _NUMBERS):
        if letter in alphabet:
            at = alphabet.index(letter) + 1
            return alphabet[at] if at < len(alphabet) else None
    return None


def chosen(answer: str, choices: Mapping[str, str], same: Callable[[str], str]) -> str | None:
    """The letter of the choice that an answer names; None where it names none, or several.

    In this order: the letter after the last "answer is", "정답은" and their like; the letter at the start; the only
    choice whose words occur (`same` normalises both); the last letter in brackets; the only letter that stands alone.
    `choices` are letters with their words, which may be empty.
    """
    answer = unicodedata.normalize("NFKC", answer).strip()
    letters = "|".join(sorted(map(re.escape, choices), key=len, reverse=True))
    alone = rf"(?<![^\W_])({letters})(?![A-Za-z0-9])(?!(?<=[AIa]) [a-z])"  # "A dog" names no choice
    start = rf"\W*({letters})(?:[.):\]]|번|\s*\n|\W*$)"
    whole = {letter.lower(): letter for letter in choices}.get(re.sub(r"[\W_]", "", answer).lower())
    readings: Iterator[list[str]] = iter(
        one()
        for one in (
            lambda: [whole] if whole else [],
            lambda: re.findall(rf"(?i:{_CUE}){alone}", answer)[-1:],
            lambda: re.findall(rf"\A{start}", answer),
            lambda: _by_words(same(answer), {letter: same(words) for letter, words in choices.items()}),
            lambda: re.findall(rf"[(\[]({letters})[)\]]", answer)[-1:],
            lambda: [*dict.fromkeys(re.findall(alone, answer))],
        )
    )
    found = next((letters_ for letters_ in readings if letters_), [])
    return found[0] if len(found) == 1 else None


def _by_words(answer: str, words: Mapping[str, str]) -> list[str]:
    """The choices whose words occur in the answer, without those that are part of another one's that does."""
    there = {letter: text for letter, text in words.items() if text and occurs(text, answer)}
    return [
        letter
        for letter, text in there.items()
        if not any(text != other and occurs(text, other) for other in there.values())
    ]


def right_letters(references: Sequence[str], choices: Mapping[str, str], same: Callable[[str], str]) -> set[str]:
    """The letters that accepted answers stand for: each is a letter, or the words of a choice."""
    by_letter = {letter.lower(): letter for letter in choices}
    by_words = {same(words): letter for letter, words in choices.items() if words}
    found = set()
    for reference in references:
        bare = re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", reference)).lower()
        letter = by_letter.get(bare) or by_words.get(same(reference))
        if letter is not None:
            found.add(letter)
    return found
