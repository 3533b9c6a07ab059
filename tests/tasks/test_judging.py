"""Texts against references: SQuAD's rules by hand, what each judge says, and judges that fail."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.errors import ConfigError
from decodebench.plan import conf_dir, typed
from decodebench.records import Prompt
from decodebench.tasks import Item, Judged, TaskConfig, check_task, judge, judge_set
from decodebench.tasks.judges import OURS


def task(name: str, **numbers: Any) -> TaskConfig:
    """The task of a yaml, as a launch has it."""
    node = yaml.safe_load((conf_dir() / f"task/{name}.yaml").read_text(encoding="utf-8"))
    return typed(TaskConfig, {**node, **numbers}, "task")


CONFIGS = {name: task(name) for name in OURS}


def one(config: TaskConfig, text: str, *references: str, prompt: str = "Q") -> Judged:
    [judged] = judge(config, [Item(prompt=Prompt(id="p", text=prompt, references=references), sample=0, text=text)])
    return judged


SQUAD = [
    # lower case, no punctuation, no articles, white space one space (Rajpurkar et al. 2016); EM and F1
    ("The Denver Broncos!", ("Denver Broncos",), 1, 1),
    ("Broncos", ("Denver Broncos", "The Broncos"), 1, 1),  # the best of the accepted answers
    ("in the Denver Broncos stadium", ("Denver Broncos",), 0, 2 * (2 / 4) * 1 / (2 / 4 + 1)),  # p 2/4, r 2/2
    ("1,000", ("1000",), 1, 1),
    ("Saint-Denis", ("Saint Denis",), 0, 0),  # one word is not two
    ("don't know", ("Carolina Panthers",), 0, 0),
    (
        "a an the",
        ("the",),
        0,
        2 * (1 / 3) * 1 / (1 / 3 + 1),
    ),  # ours: SQuAD has nothing left of both, and calls it right
    # KorQuAD 1.0 (Lim et al. 2019): F1 in characters
    ("서울특별시", ("서울",), 0, 2 * (2 / 5) * 1 / (2 / 5 + 1)),  # p 2/5, r 2/2
    ("서울은", ("서울",), 0, 0.8),  # p 2/3, r 1
    ("'1945년 8월 15일'", ("1945년 8월 15일",), 1, 1),
    ("8월 15일", ("1945년 8월 15일",), 0, 2 * 1 * (5 / 10) / (1 + 5 / 10)),  # 5 of the 10 characters
    ("부산", ("서울",), 0, 0),
]


@pytest.mark.parametrize(("text", "references", "exact", "f1"), SQUAD)
def test_exact_match_and_f1_by_the_published_rules(
    text: str, references: tuple[str, ...], exact: float, f1: float
) -> None:
    assert one(task("exact_match"), text, *references).value == exact
    assert one(task("token_f1"), text, *references).value == pytest.approx(f1, abs=1e-15)


def test_units_can_be_said() -> None:
    assert one(task("token_f1", unit="words"), "서울은", "서울").value == 0
    assert one(task("token_f1", unit="characters"), "abcd", "ab").value == pytest.approx(2 / 3)
    particles = ["nfkc", "korean_particles", "whitespace"]
    assert one(task("token_f1", unit="words", normalize=particles), "서울은", "서울").value == 1


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ("I would say Paris, of course", "Paris", 1),
        ("Parisians", "Paris", 0),
        ("15 of them", "5", 0),
        ("수도는 서울입니다", "서울", 1),
        ("부산은", "산", 0),
        ("수도는Paris는", "Paris", 1),
        ("15명", "15", 1),
        ("首都是北京市", "北京", 1),
        ("", "x", 0),
    ],
)
def test_contains(text: str, reference: str, value: float) -> None:
    assert one(task("contains"), text, reference).value == value


@pytest.mark.parametrize(
    ("text", "references", "answer", "value"),
    [
        ("so 1,234.50", ("1234.5",), "1234.5", 1),
        ("약 3만 5천원", ("35000", "1"), "35000", 1),
        ("2 + 2 = 5", ("4",), "5", 0),
        ("#### 18", ("9 + 9 = 18\n#### 18",), "18", 1),
        ("none", ("4",), None, 0),
    ],
)
def test_numeric(text: str, references: tuple[str, ...], answer: str | None, value: float) -> None:
    assert one(task("numeric"), text, *references) == Judged(answer=answer, value=value, reason=None)


def test_numeric_with_tolerance() -> None:
    values = [one(task("numeric", tolerance=0.1, relative_tolerance=0.01), "9.9", r).value for r in ("10", "9.99", "9")]
    assert values == [1, 1, 0]


def test_multiple_choice() -> None:
    prompt = "Capital of France?\nA. Rome\nB. Paris\nAnswer:"
    said = {text: one(task("multiple_choice"), text, "B", prompt=prompt) for text in ("B", "Paris.", "A", "?")}
    assert {text: (judged.answer, judged.value) for text, judged in said.items()} == {
        "B": ("B", 1),
        "Paris.": ("B", 1),
        "A": ("A", 0),
        "?": (None, 0),
    }
    assert one(task("multiple_choice", choices=["yes", "no"]), "The answer is no.", "no").value == 1


def test_overlaps_take_the_best_reference_and_korean_is_not_nothing() -> None:
    for name in ("chrf", "rouge_l", "bleu"):
        judged = one(task(name), "수도는 서울입니다", "부산", "서울이 수도입니다")
        assert judged.value is not None
        assert 0.2 < judged.value < 1, name
        assert one(task(name), "the cat", "a dog", "the cat").value == pytest.approx(1), name


@settings(deadline=None, max_examples=60)
@given(
    st.text(max_size=40), st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=1, max_size=2)
)
@pytest.mark.parametrize("name", OURS)
def test_values_are_shares(name: str, text: str, references: list[str]) -> None:
    value = one(CONFIGS[name], text, *references).value
    assert value is not None
    assert 0 <= value <= 1 + 1e-12


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(categories=["L", "N", "Zs", "P"]), min_size=1, max_size=20))
@pytest.mark.parametrize("name", ["exact_match", "token_f1", "chrf", "rouge_l"])
def test_the_reference_itself_is_right(name: str, text: str) -> None:
    expected = 1 if text.strip() or name == "exact_match" else 0
    assert one(CONFIGS[name], text, text).value == pytest.approx(expected)


def test_no_judgements_without_a_task() -> None:
    assert judge(TaskConfig(), [Item(prompt=Prompt(id="p", text="Q"), sample=0, text="x")]) == []


def test_thinking_is_left_out_counted_and_measured() -> None:
    strip = task("exact_match", thinking="strip")
    assert one(strip, "<think>Rome?</think> Paris", "paris") == Judged(
        answer="paris", value=1, reason=None, thinking_unclosed=False, thinking_characters=5, answer_characters=5
    )
    assert one(strip, "<think>Paris", "Paris") == Judged(
        answer="", value=0, reason=None, thinking_unclosed=True, thinking_characters=5, answer_characters=0
    )
    assert one(task("exact_match"), "<think>x</think>Paris", "Paris").thinking_characters is None


def test_what_is_not_found_is_no_answer_and_wrong() -> None:
    config = task("exact_match", extract="boxed")
    assert one(config, "Paris", "Paris") == Judged(answer=None, value=0, reason=None)
    assert one(config, r"\boxed{Paris}", "Paris") == Judged(answer="paris", value=1, reason=None)


Own = Callable[..., TaskConfig]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    """A function of a user's own: its body -> the task that asks it. Only the working directory has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])

    def write(body: str, **numbers: Any) -> TaskConfig:
        Path("judge_of_mine.py").write_text(f"def judge(text, references, prompt):\n    {body}\n", encoding="utf-8")
        sys.modules.pop("judge_of_mine", None)
        return task("python", function="judge_of_mine.judge", **numbers)

    yield write
    sys.modules.pop("judge_of_mine", None)


def test_a_function_of_ones_own_is_given_text_references_and_prompt(own: Own) -> None:
    config = own("return text == 'x' and references == ('x', 'y') and prompt.id == 'p'", normalize=["case"])
    assert one(config, "X", "X", "y") == Judged(answer="x", value=1, reason=None)
    assert one(config, "z", "x", "y") == Judged(answer="z", value=0, reason=None)
    assert "judge_of_mine" in sys.modules
    assert str(Path.cwd()) not in sys.path
    check_task(config, [Prompt(id="p", text="Q")])  # it may do without references


@pytest.mark.parametrize(
    ("body", "value", "reason"),
    [
        ("return 0.25", 0.25, None),
        ("return 3", 3.0, None),
        ("return False", 0.0, None),
        ("import numpy; return numpy.float32(0.5)", 0.5, None),
        ("import numpy; return numpy.bool_(True)", 1.0, None),
        ("return None", None, "the judge gave no value"),
        ("return 'right'", None, "gave 'right', a text; allowed is a number, true or false, or None"),
        ("return [1]", None, "gave [1], a list; allowed is a number, true or false, or None"),
        ("return float('nan')", None, "gave nan; allowed is a finite number, true or false, or None"),
        ("return float('inf')", None, "gave inf; allowed is a finite number, true or false, or None"),
        ("return 1 / 0", None, "ZeroDivisionError: division by zero"),
        ("exit(3)", None, "SystemExit: 3"),
    ],
)
def test_what_a_function_gives(own: Own, body: str, value: float | None, reason: str | None) -> None:
    told = None if reason is None else f"task=python: prompt 'p', sample 0: {reason}"
    assert one(own(body), "x", "y") == Judged(answer="x", value=value, reason=told)


def test_one_text_that_fails_fails_alone(own: Own) -> None:
    config = own("return 1 / len(text)")
    items = [
        Item(prompt=Prompt(id=id_, text="Q"), sample=1, text=text) for id_, text in (("a", "x"), ("b", ""), ("c", "xy"))
    ]
    judged = judge(config, items)
    assert [each.value for each in judged] == [1, None, 0.5]
    assert judged[1].reason == "task=python: prompt 'b', sample 1: ZeroDivisionError: division by zero"
    assert judge_set(config, items, judged) is None


def test_nothing_found_is_an_empty_text_for_a_function_of_ones_own(own: Own) -> None:
    config = own("return len(text)", extract="boxed")
    assert one(config, "no box") == Judged(answer=None, value=0, reason=None)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (None, "task.function=null: must be given a module and a function in it, as my_pkg.judge"),
        ("judge", "task.function=judge: must be given a module and a function in it, as my_pkg.judge"),
        ("no_such.judge", "task.function=no_such.judge: cannot be imported (ModuleNotFoundError: No module named"),
        ("math.nothing", "task.function=math.nothing: cannot be imported (AttributeError: module 'math' has no"),
        ("math.pi", "task.function=math.pi: is no function, but 3.14159"),
    ],
)
def test_a_function_that_cannot_be_had_is_said_before_anything_is_decoded(function: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_task(task("python", function=function), [])
    assert str(raised.value).startswith(message)


def test_a_number_of_numpy_is_one() -> None:
    from decodebench.tasks.foreign import number

    assert number(np.array(2)) == 2.0
