"""Modules of evaluate: of each text where they can, else of the whole set, and what cannot be had."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import ConfigError
from decodebench.records import Prompt
from decodebench.tasks import Item, TaskConfig, check_task, direction, judge, judge_set
from decodebench.tasks.foreign import _loaded

MODULE = """
import datasets
import evaluate


class Mine(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features({features}))

    def _compute(self, {arguments}):
{body}
"""
PAIRS = '{"predictions": text, "references": text}'


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where evaluate copies modules to and imports them from: one place, since Python remembers the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield


@pytest.fixture(autouse=True)
def folder(modules: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _loaded.cache_clear()


def module(name: str, body: str, features: str = PAIRS, arguments: str = "predictions, references", **more: Any) -> Any:
    """A task that asks a module in a folder of its name."""
    Path(name).mkdir()
    text = MODULE.format(features=features, arguments=arguments, body=f"        {body}")
    Path(name, f"{name}.py").write_text(text, encoding="utf-8")
    return TaskConfig(name="evaluate", id=f"./{name}", **more)


def items(*texts: str, references: tuple[str, ...] = ("ab",)) -> list[Item]:
    return [
        Item(prompt=Prompt(id=f"p{at}", text="Q", references=references), sample=0, text=text)
        for at, text in enumerate(texts)
    ]


def test_a_module_that_says_something_of_each_text() -> None:
    body = "return {'first': sum(a == b for a, b in zip(predictions, references)) / len(predictions)}"
    config = module("first_local", body, normalize=["case"])
    check_task(config, [item.prompt for item in items("x")])
    asked = items("AB", "x", references=("ab", "cd"))
    judged = judge(config, asked)
    assert [(each.answer, each.value, each.reason) for each in judged] == [("ab", 1, None), ("x", 0, None)]
    assert judge_set(config, asked, judged) is None


def test_several_references_are_the_modules_own_affair_where_it_takes_a_list() -> None:
    features = '{"predictions": text, "references": datasets.Sequence(text)}'
    config = module("counts", "return {'counts': len(references[0])}", features)
    assert [each.value for each in judge(config, items("x", references=("a", "b", "c")))] == [3]


def test_the_best_reference_is_the_lowest_where_lower_is_better() -> None:
    body = "return {'apart': abs(len(predictions[0]) - len(references[0]))}"
    config = module("apart", body, higher_is_better=False)
    assert direction(config) == "lower"
    assert [each.value for each in judge(config, items("abcd", references=("a", "abc")))] == [1]


def test_a_module_of_sets_has_one_value_and_reasons() -> None:
    body = "return {'spread': len(set(predictions))} if len(predictions) > 1 else {'spread': float('nan')}"
    config = module("spread", body)
    asked = items("a", "b", "b")
    judged = judge(config, asked)
    assert [each.value for each in judged] == [None] * 3
    nan = "task=evaluate: prompt 'p0', sample 0: gave nan; allowed is a finite number, true or false, or None"
    assert judged[0].reason == nan
    whole = judge_set(config, asked, judged)
    assert whole is not None
    assert (whole.value, whole.reason) == (2, None)


def test_a_module_that_always_raises_says_so_of_texts_and_of_the_set() -> None:
    config = module("raises", "raise ValueError('never')")
    judged = judge(config, items("a"))
    assert judged[0].reason == "task=evaluate: prompt 'p0', sample 0: ValueError: never"
    whole = judge_set(config, items("a"), judged)
    assert whole is not None
    assert (whole.value, whole.reason) == (None, "ValueError: never")


def test_which_of_several_numbers() -> None:
    body = "return {'precision': 0.5, 'recall': 0.25 * weight}"
    arguments = "predictions, references, weight=1"
    config = module("several", body, arguments=arguments)
    assert str(judge(config, items("a"))[0].reason).endswith("gives precision, recall; task.result names one of them")
    for result, value in (("recall", 0.5), ("recal", None)):
        named = TaskConfig(name="evaluate", id="./several", result=result, options={"weight": 2})
        assert judge(named, items("a"))[0].value == value
    assert "did you mean recall?" in str(judge(named, items("a"))[0].reason)


def test_a_measurement_takes_texts_alone() -> None:
    config = module("letters", "return {'letters': len(data[0])}", '{"data": text}', "data")
    assert [each.value for each in judge(config, items("abc"))] == [3]


def test_what_a_text_is_not_cannot_be_asked_for() -> None:
    config = module("sources", "return {}", '{"sources": text, "predictions": text}', "predictions, sources")
    with pytest.raises(
        ConfigError, match=r"task.id=./sources: takes sources, predictions; allowed is a module that takes"
    ):
        check_task(config, [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "task.id=null: must be given the folder of a module of evaluate, or its name on the hub"),
        (
            "exact_match",
            "task.id=exact_match: no folder here has a file exact_match.py, and the hub has no such module or",
        ),
        ("./nowhere", "task.id=./nowhere: no folder here has a file nowhere.py, and the hub has no such module or"),
        ("code_eval", "task.id=code_eval: executes what a model wrote; allowed is a module that reads it"),
    ],
)
def test_what_cannot_be_had_gets_one_line_before_anything_is_decoded(
    name: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hub(*_: object, **__: object) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr("evaluate.loading.HubEvaluationModuleFactory.get_module", no_hub)
    with pytest.raises(ConfigError) as raised:
        check_task(TaskConfig(name="evaluate", id=name), [])
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_broken_module_gets_one_line() -> None:
    config = module("broken", "return {}")
    Path("broken/broken.py").write_text("import no_such_package\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"task.id=./broken: cannot be loaded \(ImportError: "):
        check_task(config, [])
