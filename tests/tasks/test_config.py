"""The configuration of a task: every yaml, and one line for what is not allowed."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from decodebench.errors import ConfigError
from decodebench.plan import conf_dir, typed
from decodebench.records import Prompt
from decodebench.tasks import TaskConfig, check_task, direction, unit
from decodebench.tasks.config import KEYS_OF
from decodebench.tasks.judges import OURS

FILES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (conf_dir() / "task").glob("*.yaml")}
KEYS = {field.name for field in fields(TaskConfig)}


def test_every_task_has_a_yaml_with_the_keys_that_have_an_effect() -> None:
    assert {name: {*node} for name, node in FILES.items()} == {name: {"name", *keys} for name, keys in KEYS_OF.items()}
    assert {*OURS} == {*KEYS_OF} - {"none", "evaluate", "python"}


@pytest.mark.parametrize("name", FILES)
def test_every_yaml_is_typed(name: str) -> None:
    config = typed(TaskConfig, FILES[name], "task")
    assert config.name == name
    assert (direction(config), unit(config)) == ("higher", "1")


def test_without_a_group_there_is_no_task() -> None:
    """A manifest of an older decodebench has none."""
    assert typed(TaskConfig, {}, "task") == TaskConfig(name="none")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"name": "exact"}, "task=exact: unknown; allowed: bleu, chrf, contains, evaluate, exact_match,"),
        ({"extract": "first"}, "task.extract=first: unknown; allowed: after,"),
        ({"thinking": "drop"}, "task.thinking=drop: unknown; allowed: keep, opened, strip"),
        ({"normalize": ["lower"]}, "task.normalize=lower: unknown; allowed: articles, case,"),
        ({"normalize": "case"}, "task.normalize=case: must be a list of different texts"),
        ({"normalize": ["case", "case"]}, "task.normalize=['case', 'case']: must be a list of different texts"),
        (
            {"name": "token_f1", "unit": "word"},
            "task.unit=word: unknown; allowed: characters, words; did you mean words?",
        ),
        ({"unit": "words"}, "task.unit=words: has no effect with task=exact_match; allowed: after,"),
        ({"name": "none", "k": [1]}, "task.k=[1]: has no effect with task=none; allowed: none"),
        ({"name": "numeric", "normalize": ["case"]}, "task.normalize=['case']: has no effect with task=numeric;"),
        ({"name": "numeric", "tolerance": -1.0}, "task.tolerance=-1.0: allowed is a number, 0 or more"),
        (
            {"name": "numeric", "relative_tolerance": float("nan")},
            "task.relative_tolerance=nan: allowed is a number, 0 or more",
        ),
        (
            {"name": "multiple_choice", "choices": ["A"]},
            "task.choices=['A']: must be a list of 2 or more different texts",
        ),
        ({"k": [0]}, "task.k=[0]: must be a list of different whole numbers, 1 or more, or null"),
        ({"k": 3}, "task.k=3: must be a list"),
        ({"k": [True]}, "task.k=[True]: must be a list"),
        (
            {"pattern": "(a)"},
            "task.pattern=(a): has no effect with task.extract=none; it belongs to task.extract=regex",
        ),
        ({"extract": "regex"}, "task.pattern=null: must be given with task.extract=regex"),
        ({"extract": "after", "after": ""}, "task.after=null: must be given with task.extract=after"),
        ({"extract": "regex", "pattern": "("}, "task.pattern=(: missing ), unterminated subpattern at position 0;"),
        (
            {"extract": "regex", "pattern": "a"},
            "task.pattern=a: has no group; allowed is a regular expression with one group, which holds the answer",
        ),
        ({"extract": "regex", "pattern": "(a)(b)"}, "task.pattern=(a)(b): has 2 groups; allowed is"),
        ({"name": "evaluate", "options": ["a"]}, "task.options=['a']: must be keywords with their values, or null"),
    ],
)
def test_what_is_not_allowed_gets_one_line(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TaskConfig(**{"name": "exact_match", **numbers})
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_group_that_captures_nothing_is_none() -> None:
    assert TaskConfig(name="exact_match", extract="regex", pattern="(?:a|b)(c)").pattern == "(?:a|b)(c)"


def prompts(**references: tuple[str, ...]) -> list[Prompt]:
    return [Prompt(id=id_, text="Q\nA. x\nB. y", references=given) for id_, given in references.items()]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            TaskConfig(name="exact_match"),
            "task=exact_match: 1 of 3 prompts have no reference ('c'); "
            "allowed is one for each (prompts.reference_column)",
        ),
        (TaskConfig(name="numeric"), "task=numeric: 1 of 3 prompts have no reference ('c');"),
        (TaskConfig(name="multiple_choice"), "task=multiple_choice: 1 of 3 prompts have no reference ('c');"),
    ],
)
def test_prompts_without_references_are_named(config: TaskConfig, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_task(config, prompts(a=("1", "x"), b=("two 2", "B"), c=()))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            TaskConfig(name="numeric"),
            "task=numeric: 1 of 2 prompts have no number as reference ('b'); allowed is a number",
        ),
        (
            TaskConfig(name="multiple_choice"),
            "task=multiple_choice: 1 of 2 prompts have none of their choices as reference ('a'); allowed is the letter",
        ),
    ],
)
def test_references_that_say_nothing_to_the_judge_are_named(config: TaskConfig, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_task(config, prompts(a=("1",), b=("x",)))
    assert str(raised.value).startswith(message)


def test_without_a_task_prompts_need_no_reference() -> None:
    check_task(TaskConfig(), prompts(a=()))


def test_the_page_of_tasks_names_every_task_key_extractor_and_normaliser() -> None:
    from decodebench.tasks.extraction import EXTRACTORS
    from decodebench.tasks.normalization import NORMALIZERS

    page = (Path(__file__).parents[2] / "docs/tasks.md").read_text(encoding="utf-8")
    names = {f"`{name}`" for name in (*KEYS_OF, *EXTRACTORS, *NORMALIZERS)}
    words = names | {f"`task.{key}" for keys in KEYS_OF.values() for key in keys}
    assert {word for word in words if word not in page} == set()
