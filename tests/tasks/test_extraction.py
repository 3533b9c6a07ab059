"""What is taken from a text: thinking left out, then the answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.tasks.extraction import (
    EXTRACTORS,
    Spoken,
    boxed,
    first_line,
    first_match,
    following,
    json_field,
    without_thinking,
)


@pytest.mark.parametrize(
    ("text", "answer", "thinking", "unclosed"),
    [
        ("Paris", "Paris", 0, False),
        (" Paris", " Paris", 0, False),
        ("<think>hm</think>\n\nParis", "Paris", 2, False),
        ("<think>hm</think>Paris <think>or</think>Rome", "Paris Rome", 4, False),
        ("<think>a <think> b</think>c", "c", 5 - 1, False),
        ("<think>hm", "", 2, True),
        ("<think>hm</think>Paris<think>or", "", 9, True),
        ("hm</think>Paris", "Paris", 2, False),  # the template opened it
        ("", "", 0, False),
    ],
)
def test_thinking_is_left_out(text: str, answer: str, thinking: int, unclosed: bool) -> None:
    assert without_thinking(text) == Spoken(answer=answer, thinking=thinking, unclosed=unclosed)


def test_a_template_that_opens_the_thinking() -> None:
    assert without_thinking("hm", opened=True) == Spoken(answer="", thinking=2, unclosed=True)
    assert without_thinking("hm</think>Paris", opened=True) == Spoken(answer="Paris", thinking=2, unclosed=False)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n"])).map("".join), st.booleans())
def test_no_mark_of_thinking_is_left(text: str, opened: bool) -> None:
    spoken = without_thinking(text, opened=opened)
    assert "<think>" not in spoken.answer
    assert "</think>" not in spoken.answer
    assert spoken.answer == "" or not spoken.unclosed
    assert len(spoken.answer) + spoken.thinking <= len(text)


def test_first_line() -> None:
    assert [first_line(text) for text in ("\n  Paris \nQ: x", "Paris", " \n", "")] == ["Paris", "Paris", None, None]


def test_regex_gives_its_group() -> None:
    assert first_match(r"answer is (\w+)", "the answer is b, the answer is c") == "b"
    assert first_match(r"(?i)ANSWER: (.+)", "Answer: 서울\nno") == "서울"
    assert first_match(r"x(y)?", "x") is None
    assert first_match(r"(z)", "x") is None


def test_after_gives_all_that_follows_the_first() -> None:
    assert following("####", "2 + 2\n#### 4\n#### 5") == "4\n#### 5"
    assert following("####", "4") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1} and \boxed{\frac{3}{4}}", r"\frac{3}{4}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{5} or \boxed{6", "5"),  # cut by the limit
        (r"\boxed 5", None),
        ("5", None),
    ],
)
def test_boxed(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("answer", '```json\n{"answer": "서울"}\n```', "서울"),
        ("answer", 'I {think} it is {"x": 1} {"answer": 42} {"answer": 43}', "42"),
        ("a.b", '{"a": {"b": [1, "둘"]}}', '[1, "둘"]'),
        ("answer", '{"answer": true}', "true"),
        ("answer", '{"answer": null}', None),
        ("answer", '{"answer": "cut', None),
        ("answer", "[1]", None),
        ("a.b", '{"a": 1}', None),
        ("answer", '{"a":' * 2000, None),
    ],
)
def test_json_field(name: str, text: str, answer: str | None) -> None:
    assert json_field(name, text) == answer


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_a_text_as_json_comes_back(text: str) -> None:
    assert json_field("x", "so: " + json.dumps({"x": text})) == text


def test_every_extractor_is_named() -> None:
    assert [*EXTRACTORS] == ["none", "first_line", "last_number", "regex", "after", "boxed", "json_field"]
