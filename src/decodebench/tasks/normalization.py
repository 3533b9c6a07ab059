"""Two spellings of an answer made the same: the steps of `task.normalize`, in the order of `NORMALIZERS`."""

import re
import string
import unicodedata
from collections.abc import Callable, Collection, Mapping

_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.I)


def _without_punctuation(text: str) -> str:
    return "".join(one for one in text if one not in string.punctuation and unicodedata.category(one)[0] != "P")


def without_particles(text: str) -> str:
    """The text with the particle at the end of each Korean word left out, the copula (입니다) counted among them.

    It is told by its form alone: of the forms for a noun that ends in a consonant or in a vowel only the fitting one is
    taken (책이 is 책, 아이 stays), and a word keeps at least one sign. A noun that ends like one with a particle is cut
    as well (종이 is 종), in both texts alike.
    """
    return re.sub(r"\S+", lambda word: _without_particle(word[0]), text)


def _without_particle(word: str) -> str:
    for length in range(min(_LONGEST, len(word) - 1), 0, -1):
        stem, end = word[:-length], word[-length:]
        if end in _PARTICLES and _PARTICLES[end](stem[-1]):
            return stem
    return word


def _final(syllable: str) -> int | None:
    """The number of the consonant that a Hangul syllable ends in, 0: none, 8: ㄹ; None for any other sign."""
    code = ord(syllable) - 0xAC00
    return code % 28 if 0 <= code < 11172 else None


_AFTER: Mapping[str, Callable[[str], bool]] = {
    "any": lambda sign: sign.isalnum(),
    "consonant": lambda sign: sign.isalnum() and _final(sign) != 0,
    "vowel": lambda sign: sign.isalnum() and _final(sign) in (0, None),
    "consonant but ㄹ": lambda sign: sign.isalnum() and _final(sign) not in (0, 8),
    "vowel or ㄹ": lambda sign: sign.isalnum() and _final(sign) in (0, 8, None),
}
"""What the stem must end in; of a letter or digit that is no Hangul syllable nobody knows how it is spoken."""
_OF_STEMS = {
    "any": (
        "의 에 에는 에도 에서 에서는 에서도 에게 에게서 께 께서 한테 도 만 까지 부터 보다 처럼 마다 입니다 이다 이에요"
    ),
    "consonant": "은 이 을 과 이라고 이었다 이야",
    "vowel": "는 가 를 와 예요 였다 야",
    "consonant but ㄹ": "으로 으로는 으로서 으로써",
    "vowel or ㄹ": "로 로는 로서 로써",
}
_PARTICLES = {end: _AFTER[stem] for stem, ends in _OF_STEMS.items() for end in ends.split()}
_LONGEST = max(map(len, _PARTICLES))

NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "case": str.lower,
    "punctuation": _without_punctuation,
    "articles": lambda text: _ARTICLES.sub(" ", text),
    "korean_particles": without_particles,
    "whitespace": lambda text: " ".join(text.split()),
}


def normalized(text: str, steps: Collection[str]) -> str:
    """The text after these steps, taken in the order of `NORMALIZERS` until none changes it any more.

    A step that would leave nothing of a text is not taken: the answer "A" is no article.
    """
    for _ in range(len(text) + 10):
        before = text
        for step, apply in NORMALIZERS.items():
            if step in steps:
                shorter = apply(text)
                text = shorter if shorter.strip() or not text.strip() else text
        if text == before:
            break
    return text
