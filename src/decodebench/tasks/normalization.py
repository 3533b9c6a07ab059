"""Two spellings of an answer made the same: the steps of `task.normalize`, in the order of `NORMALIZERS`."""

import re
import string
import unicodedata
from collections.abc import Callable, Collection, Mapping

_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.I)


def _without_punctuation(text: str) -> str:
    return "".join(one for one in text if one not in string.punctuation and unicodedata.category(one)[0] != "P")


NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "case": str.lower,
    "punctuation": _without_punctuation,
    "articles": lambda text: _ARTICLES.sub(" ", text),
    "korean_particles": lambda text: text,
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
