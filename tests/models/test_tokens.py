"""Tokenizers and chat templates that fail, or leave the prompt out: one line each."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import ConfigError, ModelError
from decodebench.models import ModelConfig, decode, encode, load, model_facts
from decodebench.models.loading import LoadedModel, release
from tiny import build_tiny


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Iterator[None]:
    yield
    release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Gemma 3 that a test may damage."""
    return build_tiny("gemma3", tmp_path / "gemma3")


def read(folder: Path) -> LoadedModel:
    return load(ModelConfig(name="local", source="local", path=str(folder), device="cpu"))


def with_template(folder: Path, template: str) -> LoadedModel:
    (folder / "chat_template.jinja").write_text(template)
    return read(folder)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('roles must\nalternate') }}", "TemplateError: roles must alternate"),
        ("{% if %}", "TemplateSyntaxError: "),
        ("{{ messages[0].content + 1 }}", "TypeError: "),
        ("{{ messages[7].content }}", "UndefinedError: "),
        ("{{ 1 / 0 }}", "ZeroDivisionError: "),
        ("{{ nothing_such() }}", "UndefinedError: "),
    ],
)
def test_a_chat_template_that_raises_is_one_line(template: str, reason: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as caught:
        encode(with_template(folder, template), "안녕?", "chat")
    assert str(caught.value).startswith(f"prompts.template=chat: the chat template of local fails ({reason}")
    assert "allowed: null, or a format string around {text}" in str(caught.value)


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0]['content'] }}", "<{{ messages[0].content | upper }}>", "{{ messages[-1].content | tojson }}"],
)
def test_a_template_that_changes_the_message_uses_it(template: str, folder: Path) -> None:
    loaded = with_template(folder, template)
    assert encode(loaded, "one é", "chat") != encode(loaded, "two é", "chat")


def test_a_tokenizer_that_raises_is_one_line_at_loading(folder: Path) -> None:
    """A list of words without one for what it does not know: tokenizers raises a bare Exception."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"] = {"type": "WordLevel", "vocab": {"<bos>": 0, "<eos>": 1, "<pad>": 2, "a": 3}, "unk_token": "no"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"^model\.path=\S+: could not be loaded \(Exception: WordLevel[^\n]+\)$"):
        read(folder)


class Failing:
    """A tokenizer of a model's own that raises where it is asked."""

    name_or_path = "someone/own"
    chat_template = None

    def __call__(self, text: str, **options: Any) -> Any:
        raise RuntimeError("no\nmerges")

    def decode(self, ids: list[int], **options: Any) -> str:
        raise KeyError(7)


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (lambda loaded: encode(loaded, "a"), "RuntimeError: no merges"),
        (lambda loaded: encode(loaded, "a", "<{text}>"), "RuntimeError: no merges"),
        (lambda loaded: decode(loaded, [7]), "KeyError: 7"),
        (lambda loaded: model_facts(loaded, ()).encode("a"), "RuntimeError: no merges"),
        (lambda loaded: model_facts(loaded, ()).encode_prompt("a"), "RuntimeError: no merges"),
        (lambda loaded: model_facts(loaded, ()).decode((7,)), "KeyError: 7"),
    ],
)
def test_a_tokenizer_that_raises_later_is_one_line(
    use: Callable[[LoadedModel], object], reason: str, folder: Path
) -> None:
    loaded = replace(read(folder), tokenizer=Failing())
    with pytest.raises(ModelError) as caught:
        use(loaded)
    assert str(caught.value) == f"the tokenizer of someone/own fails ({reason})"


@pytest.mark.parametrize("value", ["x", "1", ["x"], [1, None], 1.5, {"a": 1}, [[1]], True])
@pytest.mark.parametrize(
    ("file", "key"),
    # A pad_token_id of generation_config.json is refused by transformers, which does not name it.
    [("generation_config.json", "eos_token_id"), ("config.json", "eos_token_id"), ("config.json", "pad_token_id")],
)
def test_a_token_id_that_is_none_is_one_line(file: str, key: str, value: object, folder: Path) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | {key: value}))
    with pytest.raises(ModelError, match=rf"^[^\n]*{key}[^\n]*$"):
        read(folder)
