"""The files of conf/strategy and what their numbers may be. That each can be composed: test_config.py."""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from decodebench.config import build_strategy, conf_dir
from decodebench.errors import ConfigError
from decodebench.strategies import Strategy
from engine_runs import EVERY_STRATEGY
from launches import compose

NAMES = sorted(path.stem for path in (conf_dir() / "strategy").glob("*.yaml"))
RULES = [f.name for f in fields(Strategy)]
INF, NAN = float("inf"), float("nan")

BAD: dict[str, dict[str, Sequence[Any]]] = {
    "every": {
        "max_new_tokens": (0, -1),
        "max_total_tokens": (1, 0, -5),
        "min_new_tokens": (-1,),
        "repetition_penalty": (0.0, -1.2),
        "no_repeat_ngram_size": (-1,),
        "eos": ("stop", "", None, 5, [], [-1], [1.5], ["model"]),
    },
    "beam": {
        "num_beams": (1, 0, -5),
        "num_return_sequences": (0, 6, -1),
        "early_stopping": ("always", None, 2, 1),
    },
    "sample": {
        "temperature": (0.0, -1.0),
        "num_return_sequences": (0, -3),
        "top_k": (0, -1),
        "top_p": (0.0, -0.1, 1.0001),
    },
    "top_k": {"temperature": (0.0,), "num_return_sequences": (0,), "top_k": (0, -1)},
    "top_p": {"temperature": (0.0,), "num_return_sequences": (0,), "top_p": (0.0, -1.0, 1.5)},
    "min_p": {"temperature": (0.0,), "num_return_sequences": (0,), "min_p": (0.0, -0.1, 1.1)},
    "typical": {"temperature": (0.0,), "num_return_sequences": (0,), "typical_p": (0.0, 1.0, 2.0)},
    "temperature": {"temperature": (0.0, -1.0), "num_return_sequences": (0,)},
}
"""Values outside each number's domain."""

NEVER_BAD = {"length_penalty"}
"""Numbers whose domain is every finite number."""


def node_of(name: str, **numbers: Any) -> dict[str, Any]:
    """The strategy of a yaml as it is composed, with other numbers."""
    node: Any = OmegaConf.to_container(compose(f"strategy={name}").strategy, resolve=True)
    return node | numbers


def refusal(name: str, **numbers: Any) -> str:
    """The error of these numbers: one line."""
    with pytest.raises(ConfigError) as raised:
        build_strategy(node_of(name, **numbers))
    message = str(raised.value)
    assert "\n" not in message
    return message


def allowed_in_the_docs() -> dict[tuple[str, str], str]:
    """(strategy, key) -> what docs/strategies.md allows; "every" for the keys that all have."""
    page = (Path(__file__).parents[1] / "docs/strategies.md").read_text(encoding="utf-8")
    table = page.split("## What numbers are allowed")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", table, re.M)
    return {(name, key): allowed for key, names, allowed in rows for name in re.findall(r"\w+", names)}


CASES = [
    (name, key, value)
    for owner, keys in BAD.items()
    for key, values in keys.items()
    for value in values
    for name in (("greedy", "beam", "top_p") if owner == "every" else (owner,))
]


@pytest.mark.parametrize(("name", "key", "value"), CASES, ids=[f"{n}.{k}={v}" for n, k, v in CASES])
def test_bad_numbers(name, key, value):
    """The error names key and value, and what it allows is what the docs allow."""
    allowed = allowed_in_the_docs()
    owner = name if (name, key) in allowed else "every"
    assert refusal(name, **{key: value}) == f"strategy.{key}={value}: allowed is {allowed[owner, key]}"


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_its_domain_in_the_docs_and_its_bad_values(name):
    kind = type(build_strategy(node_of(name)))
    own = {f.name for f in fields(kind)} - set(RULES)
    allowed = allowed_in_the_docs()
    assert {key for owner, key in allowed if owner == name} == own
    assert {key for owner, key in allowed if owner == "every"} == set(RULES) == set(BAD["every"])
    assert set(BAD.get(name, {})) == own - NEVER_BAD


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [INF, -INF, NAN])
def test_no_number_is_infinite_or_nan(name, value):
    for key in (f.name for f in fields(build_strategy(node_of(name))) if f.type in (float, "float")):
        assert refusal(name, **{key: value}).startswith(f"strategy.{key}={value}: allowed is ")


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        (
            "greedy",
            {"max_new_tokens": None},
            "strategy.max_new_tokens=None: allowed is a number where strategy.max_total_tokens is null",
        ),
        (
            "sample",
            {"max_new_tokens": 5, "min_new_tokens": 6},
            "strategy.min_new_tokens=6: allowed is at most strategy.max_new_tokens=5",
        ),
        (
            "top_p",
            {"min_new_tokens": 3, "eos": "none"},
            "strategy.min_new_tokens=3: allowed is 0 with strategy.eos=none (it would have no effect)",
        ),
        (
            "beam",
            {"num_beams": 3, "num_return_sequences": 4},
            "strategy.num_return_sequences=4: allowed is 1 to strategy.num_beams=3",
        ),
    ],
)
def test_numbers_that_contradict_each_other(name, numbers, message):
    assert refusal(name, **numbers) == message


@pytest.mark.parametrize(
    ("name", "key", "value", "near"),
    [
        ("greedy", "temperature", 0.5, ""),
        ("greedy", "num_return_sequences", 3, ""),
        ("beam", "temperature", 0.5, ""),
        ("top_p", "top_k", 50, "; did you mean top_p?"),
        ("top_p", "topp", 0.9, "; did you mean top_p?"),
        ("sample", "min_p", 0.1, ""),
        ("beam", "num_beam", 4, "; did you mean num_beams?"),
        ("typical", "mass", 0.9, ""),
    ],
)
def test_a_number_that_can_have_no_effect(name, key, value, near):
    """A knob of another strategy, or a mistyped one."""
    message = refusal(name, **{key: value})
    assert message.startswith(f"strategy.{key}={value}: has no effect with strategy={name}; allowed: ")
    assert message.endswith(near)


@pytest.mark.parametrize("name", NAMES)
def test_the_boundaries_are_allowed(name):
    edges = {
        "max_new_tokens": 1,
        "max_total_tokens": 2,
        "repetition_penalty": 0.5,
        "no_repeat_ngram_size": 1,
        "num_beams": 2,
        "num_return_sequences": 1,
        "early_stopping": "never",
        "length_penalty": -1.0,
        "temperature": 0.01,
        "top_k": 1,
        "top_p": 1.0,
        "min_p": 1.0,
        "typical_p": 0.999,
        "eos": [0],
        "min_new_tokens": 1,
    }
    node = node_of(name)
    strategy = build_strategy(node | {key: value for key, value in edges.items() if key in node})
    assert {key: getattr(strategy, key) for key in edges if key in node} == {
        k: v for k, v in edges.items() if k in node
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_every_number_of_its_class_and_their_defaults(name):
    """What is not the class's default is chosen on purpose: it is written here."""
    chosen = {"beam": {"no_repeat_ngram_size"}, "sample": {"temperature"}}
    strategy = build_strategy(node_of(name))
    default = type(strategy)()
    differs = {f.name for f in fields(strategy) if getattr(strategy, f.name) != getattr(default, f.name)}
    assert differs == chosen.get(name, set())
    assert node_of(name)["name"] == name


def test_every_strategy_is_covered():
    """The engine's tests walk one of each kind."""
    assert sorted(EVERY_STRATEGY) == NAMES
    assert [type(EVERY_STRATEGY[name]) for name in NAMES] == [type(build_strategy(node_of(name))) for name in NAMES]


@pytest.mark.parametrize("path", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_cell_of_an_experiment_is_a_strategy(path):
    """Each grid's first values; that the whole grid is planned: test_run.py."""
    compose(f"experiment={path.stem}")
    for grid in yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["sweeper"]["grids"]:
        for name in grid["strategy"].split(","):
            numbers = {k.removeprefix("strategy."): v for k, v in grid.items() if k.startswith("strategy.")}
            first = {k: yaml.safe_load(v.split(",")[0]) if isinstance(v, str) else v for k, v in numbers.items()}
            strategy = build_strategy(node_of(name, **first))
            assert {key: getattr(strategy, key) for key in first} == first
