"""The files of conf/strategy and what their numbers may be. That each can be composed: test_config.py."""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from decodebench.errors import ConfigError
from decodebench.plan.config import build_strategy, conf_dir
from decodebench.plan.search import families
from decodebench.strategies import Strategy
from engine_runs import EVERY_STRATEGY, UNPACKED
from launches import compose, node_of

NAMES = sorted(path.stem for path in (conf_dir() / "strategy").glob("*.yaml"))
OWN = [name for name in NAMES if not name.startswith("served_")]
"""Those with numbers of their own: `served_*` are `sample` or `greedy` with the numbers of an engine."""
RULES = [f.name for f in fields(Strategy)]
INF, NAN = float("inf"), float("nan")

BAD: dict[str, dict[str, Sequence[Any]]] = {
    "every": {
        "max_new_tokens": (0, -1),
        "max_total_tokens": (1, 0, -5),
        "min_new_tokens": (-1,),
        "repetition_penalty": (0.0, -1.2),
        "no_repeat_ngram_size": (-1,),
        "guidance_scale": (-0.1,),
        "negative_prompt": ("a", ""),
        "presence_penalty": (2.1, -2.1),
        "frequency_penalty": (2.1, -2.1),
        "dry_multiplier": (-0.1,),
        "dry_base": (0.9, 0.0),
        "dry_allowed_length": (0, 51),
        "dry_sequence_breakers": (":", None, 5, [""], [5]),
        "exponential_decay_length_penalty": ([5], [-1, 1.1], [0, 0.0], [0, 1], [0.5, 1.2], "slow", 3),
        "sequence_bias": ({}, {"a": 0.0}, {"": 1.0}, {5: 1.0}, {"a": "b"}, {"a": INF}, ["a"], 2.0),
        "bad_words": ([], "rain", [""], [5], {"a": 1.0}),
        "eos": ("stop", "", None, 5, [], [-1], [1.5], ["model"], [True], [5, 5]),
        "stop": ("a", "", 5, [""], [7], ["a", "a"], {"a": 1.0}),
        "stop_keep": (True,),
    },
    "beam": {
        "num_beams": (1, 0, -5),
        "num_return_sequences": (0, 6, -1),
        "early_stopping": ("always", None, 2, 1),
    },
    "sample": {
        "temperature": (0.0, -1.0),
        "num_return_sequences": (0, -3),
        "dynatemp_range": (-0.1, 0.75),
        "dynatemp_exponent": (0.0, 1.0),
        "top_h": (0.0, 1.1),
        "top_k": (-2, -50),
        "top_p": (0.0, -0.1, 1.0001),
        "min_p": (-0.1, 1.1),
        "typical_p": (0.0, 1.1),
        "epsilon_cutoff": (-0.1, 1.0),
        "eta_cutoff": (-0.1, 1.0),
        "top_n_sigma": (-0.5, -2.0),
        "tfs_z": (0.0, 1.1),
        "p_less": ("", "normal"),
        "xtc_probability": (-0.1, 1.1),
        "xtc_threshold": (0.0, 0.1, 0.6, 1.0),
        "order": ([], ["top_k"], ["temperature", "top_k", "top_p", "top_p"], "top_k", 3),
    },
    "top_k": {"temperature": (0.0,), "num_return_sequences": (0,), "top_k": (-2, -50)},
    "top_p": {"temperature": (0.0,), "num_return_sequences": (0,), "top_p": (0.0, -1.0, 1.5)},
    "min_p": {"temperature": (0.0,), "num_return_sequences": (0,), "min_p": (-0.1, 1.1)},
    "typical": {"temperature": (0.0,), "num_return_sequences": (0,), "typical_p": (0.0, -1.0, 2.0)},
    "temperature": {"temperature": (0.0, -1.0), "num_return_sequences": (0,)},
    "dynamic_temperature": {
        "temperature": (0.0,),
        "num_return_sequences": (0,),
        "dynatemp_range": (-0.5, 1.0),
        "dynatemp_exponent": (0.0, -1.0),
    },
    "top_h": {"temperature": (0.0,), "num_return_sequences": (0,), "top_h": (0.0, 1.1)},
    "epsilon": {"temperature": (0.0,), "num_return_sequences": (0,), "epsilon_cutoff": (-0.1, 1.0)},
    "eta": {"temperature": (0.0,), "num_return_sequences": (0,), "eta_cutoff": (-0.1, 1.0)},
    "top_n_sigma": {"temperature": (0.0,), "num_return_sequences": (0,), "top_n_sigma": (-0.5, -2.0)},
    "tfs": {"temperature": (0.0,), "num_return_sequences": (0,), "tfs_z": (0.0, 1.1)},
    "p_less": {"temperature": (0.0,), "num_return_sequences": (0,), "p_less": ("", "normal")},
    "xtc": {
        "temperature": (0.0,),
        "num_return_sequences": (0,),
        "xtc_probability": (-0.1, 1.1),
        "xtc_threshold": (0.0, 0.51, 1.1),
    },
    "mirostat": {
        "temperature": (0.0,),
        "num_return_sequences": (0,),
        "mirostat_tau": (0.0, -1.0),
        "mirostat_eta": (0.0, -0.1),
    },
    "presence_penalty": {"temperature": (0.0,), "num_return_sequences": (0,)},
    "frequency_penalty": {"temperature": (0.0,), "num_return_sequences": (0,)},
    "dry": {"temperature": (0.0,), "num_return_sequences": (0,)},
    "exponential_decay": {"temperature": (0.0,), "num_return_sequences": (0,)},
    "contrastive_search": {"penalty_alpha": (-0.1, 1.1), "top_k": (0, -1)},
    "adaptive_contrastive": {"q": (0.0, -1.0), "min_k": (0, -1, 16), "max_k": (1, 0)},
    "contrastive_decoding": {
        "temperature": (0.0, -1.0),
        "num_return_sequences": (0,),
        "alpha": (0.0, 1.1),
        "beta": (-0.1,),
        "amateur": ("",),
        "amateur_layer": (-1,),
        "amateur_temperature": (0.0,),
    },
    "dola": {
        "temperature": (0.0,),
        "num_return_sequences": (0, -1),
        "dola_layers": ("lower", "", 3, [-1], [1, 1], [1.5], ["low"]),
        "relative_top": (0.0, 1.1),
        "variant": ("", "authors"),
    },
    "best_of_n": {"n": (0, -1), "temperature": (0.0,), "top_k": (-2,), "top_p": (0.0, 1.1)},
    "mbr": {
        "n": (2, 0),
        "temperature": (0.0,),
        "top_k": (-2,),
        "top_p": (0.0, 1.1),
        "utility": ("bleu", ""),
        "ngram": (0, -1, 2),
    },
    "self_consistency": {
        "n": (0,),
        "temperature": (0.0,),
        "top_k": (-2,),
        "top_p": (0.0, 1.1),
        "answer_pattern": ("", "(", "[a", "*"),
    },
    "beam_sample": {
        "num_beams": (1, 0, -5),
        "num_return_sequences": (0, 6, -1),
        "early_stopping": ("always", None, 2, 1),
        "temperature": (0.0, -1.0),
        "top_k": (-2, -50),
        "top_p": (0.0, 1.1),
    },
    "diverse_beam": {
        "num_beams": (1, 0, -5),
        "num_return_sequences": (0, 6, -1),
        "early_stopping": ("always", None, 2, 1),
        "num_beam_groups": (0, -1, 2, 6),
        "diversity_penalty": (0.0, -0.5),
    },
    "constrained_beam": {
        "num_beams": (1, 0, -5),
        "num_return_sequences": (0, 6, -1),
        "early_stopping": ("always", None, 2, 1),
        "force_words": ("", ".", None, 5, [], [""], [7], ["a", "a"]),
    },
    "stochastic_beam": {"num_beams": (0, -2), "temperature": (0.0, -1.0)},
    "assisted": {
        "temperature": (0.0, -1.0),
        "num_return_sequences": (0, -3),
        "draft": ("",),
        "assistant_early_exit": (0, -1),
        "num_assistant_tokens": (0, -1),
        "num_assistant_tokens_schedule": ("heuristic", ""),
        "assistant_confidence_threshold": (-0.1, 1.0),
    },
    "prompt_lookup": {
        "temperature": (0.0, -1.0),
        "num_return_sequences": (0, -3),
        "prompt_lookup_num_tokens": (0, -1),
        "max_matching_ngram_size": (0, -1),
    },
}
"""Values outside each number's domain."""

NEVER_BAD = {"do_sample", "length_penalty"}
"""Numbers whose domain is every finite number, or true and false."""


def refusal(name: str, **numbers: Any) -> str:
    """The error of these numbers: one line."""
    with pytest.raises(ConfigError) as raised:
        build_strategy(node_of(name, **numbers))
    message = str(raised.value)
    assert "\n" not in message
    return message


def allowed_in_the_docs() -> dict[tuple[str, str], str]:
    """(strategy, key) -> what docs/strategies.md allows; "every" for the keys that all have."""
    page = (Path(__file__).parents[2] / "docs/strategies.md").read_text(encoding="utf-8")
    table = page.split("## What numbers are allowed")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", table, re.M)
    return {(name, key): allowed for key, names, allowed in rows for name in re.findall(r"\w+", names)}


LISTS_OF_TEXTS = ("stop", "bad_words", "force_words", "sequence_bias", "dry_sequence_breakers")

CASES = [
    (name, key, value)
    for owner, keys in BAD.items()
    for key, values in keys.items()
    for value in values
    for name in (("greedy", "beam", "top_p") if owner == "every" else (owner,))
]


@pytest.mark.parametrize(("name", "key", "value"), CASES, ids=[f"{n}.{k}={v}" for n, k, v in CASES])
def test_bad_numbers(name, key, value):
    """The error names key and value, and what it allows is what the docs allow; of texts it names the wrong entry."""
    allowed = allowed_in_the_docs()
    if key in LISTS_OF_TEXTS and value in ([""], [5], [7], {"": 1.0}, {5: 1.0}):
        (entry,) = value
        assert refusal(name, **{key: value}) == (
            f"strategy.{key}: entry 1 of 1 is {entry!r}; allowed are texts that are not empty"
        )
        return
    owner = name if (name, key) in allowed else "every"
    assert refusal(name, **{key: value}) == f"strategy.{key}={value}: allowed is {allowed[owner, key]}"


@pytest.mark.parametrize("name", OWN)
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
            "dry",
            {"dry_multiplier": 0.0, "dry_base": 2.0},
            "strategy.dry_base=2.0: allowed is 1.75 with strategy.dry_multiplier=0 (it would have no effect)",
        ),
        (
            "beam",
            {"dry_allowed_length": 3},
            "strategy.dry_allowed_length=3: allowed is 2 with strategy.dry_multiplier=0 (it would have no effect)",
        ),
        (
            "greedy",
            {"dry_sequence_breakers": ["."]},
            r"""strategy.dry_sequence_breakers=['.']: allowed is ('\n', ':', '"', '*') with strategy.dry_multiplier=0"""
            " (it would have no effect)",
        ),
        (
            "greedy",
            {"exponential_decay_length_penalty": [0, 1.1], "eos": "none"},
            "strategy.exponential_decay_length_penalty=(0, 1.1): allowed is null with strategy.eos=none "
            "(it would have no effect)",
        ),
        (
            "exponential_decay",
            {"exponential_decay_length_penalty": [7, 1.1], "max_new_tokens": 8},
            "strategy.exponential_decay_length_penalty=(7, 1.1): allowed is a start before the last of "
            "strategy.max_new_tokens=8 (it would have no effect)",
        ),
        (
            "contrastive_decoding",
            {"temperature": 0.5},
            "strategy.temperature=0.5: allowed is 1.0 with strategy.do_sample=false (it would have no effect)",
        ),
        (
            "contrastive_decoding",
            {"beta": 0.0, "amateur_temperature": 0.5},
            "strategy.beta=0.0: allowed is above 0 beside numbers of the amateur, which would have no effect",
        ),
        (
            "dola",
            {"dola_layers": [], "relative_top": 0.2},
            "strategy.relative_top=0.2: allowed is 0.1 without strategy.dola_layers",
        ),
        (
            "dola",
            {"dola_layers": None, "variant": "transformers"},
            "strategy.variant=transformers: allowed is paper without strategy.dola_layers",
        ),
        (
            "contrastive_decoding",
            {"amateur": "a/b", "amateur_layer": 2},
            "strategy.amateur_layer=2: allowed is 0 or more, or null; null with strategy.amateur",
        ),
        (
            "dola",
            {"num_return_sequences": 2},
            "strategy.num_return_sequences=2: allowed is 1 with strategy.do_sample=false (it would have no effect)",
        ),
        (
            "dola",
            {"guidance_scale": 1.5},
            "strategy.guidance_scale=1.5: allowed is 1.0 with a strategy that reads more of the model than its scores",
        ),
        (
            "assisted",
            {"temperature": 0.5},
            "strategy.temperature=0.5: allowed is 1.0 with strategy.do_sample=false (it would have no effect)",
        ),
        (
            "prompt_lookup",
            {"num_return_sequences": 2},
            "strategy.num_return_sequences=2: allowed is 1 with strategy.do_sample=false (it would have no effect)",
        ),
        (
            "assisted",
            {"draft": "small", "assistant_early_exit": 4},
            "strategy.assistant_early_exit=4: allowed is null beside strategy.draft",
        ),
        (
            "prompt_lookup",
            {"presence_penalty": 0.5},
            "strategy.presence_penalty=0.5: allowed is 0.0 where several tokens are taken at a time",
        ),
        (
            "assisted",
            {"guidance_scale": 1.5},
            "strategy.guidance_scale=1.5: allowed is 1.0 where several tokens are taken at a time",
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
        ("typical", "min_p", 0.1, ""),
        ("beam", "num_beam", 4, "; did you mean num_beams?"),
        ("typical", "mass", 0.9, ""),
    ],
)
def test_a_number_that_can_have_no_effect(name, key, value, near):
    """A knob of another strategy, or a mistyped one."""
    message = refusal(name, **{key: value})
    assert message.startswith(f"strategy.{key}={value}: has no effect with strategy={name}; allowed: ")
    assert message.endswith(near)


@pytest.mark.parametrize("name", OWN)
def test_the_boundaries_are_allowed(name):
    edges = {
        "max_new_tokens": 1,
        "max_total_tokens": 2,
        "repetition_penalty": 0.5,
        "no_repeat_ngram_size": 1,
        "guidance_scale": 1.0,
        "alpha": 1.0,
        "beta": 0.5,
        "amateur_layer": 0,
        "amateur_temperature": 0.01,
        "dola_layers": [0],
        "relative_top": 1.0,
        "variant": "transformers",
        "presence_penalty": -2.0,
        "frequency_penalty": 2.0,
        "dry_multiplier": 0.1,
        "dry_base": 1.0,
        "dry_allowed_length": 50,
        "dry_sequence_breakers": [],
        "exponential_decay_length_penalty": None,
        "sequence_bias": {" a": -0.1},
        "bad_words": ["a"],
        "num_beams": 2,
        "n": 3,
        "num_beam_groups": 2,
        "diversity_penalty": 0.01,
        "force_words": ["a"],
        "num_return_sequences": 1,
        "early_stopping": "never",
        "length_penalty": -1.0,
        "temperature": 0.01,
        "top_k": 1,
        "top_p": 1.0,
        "min_p": 1.0,
        "typical_p": 0.999,
        "dynatemp_range": 0.005,
        "dynatemp_exponent": 0.01,
        "top_h": 1.0,
        "tfs_z": 0.999,
        "xtc_probability": 1.0,
        "xtc_threshold": 0.5,
        "eos": [0],
        "min_new_tokens": 1,
        "do_sample": True,
        "assistant_early_exit": 1,
        "num_assistant_tokens": 1,
        "num_assistant_tokens_schedule": "heuristic_transient",
        "assistant_confidence_threshold": 0.0,
        "prompt_lookup_num_tokens": 1,
        "max_matching_ngram_size": 1,
    }
    node = node_of(name)
    if name in UNPACKED:  # they take fewer penalties
        edges = {key: value for key, value in edges.items() if not key.startswith(("presence", "frequency", "dry"))}
    strategy = build_strategy(node | {key: value for key, value in edges.items() if key in node})
    built = {key: getattr(strategy, key) for key in edges if key in node}
    built = {key: list(value) if isinstance(value, tuple) else value for key, value in built.items()}
    assert built == {key: value for key, value in edges.items() if key in node}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_every_number_of_its_class_and_their_defaults(name):
    """What is not the class's default is chosen on purpose: it is written here."""
    chosen = {
        "beam": {"no_repeat_ngram_size"},
        "beam_sample": {"no_repeat_ngram_size"},
        "diverse_beam": {"no_repeat_ngram_size"},
        "constrained_beam": {"no_repeat_ngram_size"},
        "sample": {"temperature"},
        "repetition_penalty": {"repetition_penalty"},
        "no_repeat_ngram": {"no_repeat_ngram_size"},
        "presence_penalty": {"presence_penalty"},
        "frequency_penalty": {"frequency_penalty"},
        "dry": {"dry_multiplier"},
        "exponential_decay": {"exponential_decay_length_penalty"},
        "dola": {"repetition_penalty"},
        "guidance": {"guidance_scale"},
        "served_llama_cpp": {"temperature", "top_k", "min_p", "order"},
        "served_ollama": {"temperature", "top_k", "top_p", "order"},
        "served_vllm": {"top_k", "top_p", "order"},
    }
    strategy = build_strategy(node_of(name))
    default = type(strategy)()
    differs = {f.name for f in fields(strategy) if getattr(strategy, f.name) != getattr(default, f.name)}
    assert differs == chosen.get(name, set())
    assert node_of(name)["name"] == name


def test_every_strategy_is_covered():
    """The engine's tests walk one of each kind."""
    every = {**EVERY_STRATEGY, **UNPACKED}
    assert sorted(every) == NAMES
    assert [type(every[name]) for name in NAMES] == [type(build_strategy(node_of(name))) for name in NAMES]


@pytest.mark.parametrize("path", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_cell_of_an_experiment_is_a_strategy(path):
    """Each grid's first values; that the whole grid is planned: test_run.py."""
    compose(f"experiment={path.stem}")
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "choose" in node:  # it has families in place of grids
        assert set(node["choose"]["families"]) <= set(families())
        return
    for grid in node["hydra"]["sweeper"]["grids"]:
        for name in grid["strategy"].split(","):
            numbers = {k.removeprefix("strategy."): v for k, v in grid.items() if k.startswith("strategy.")}
            first = {k: yaml.safe_load(v.split(",")[0]) if isinstance(v, str) else v for k, v in numbers.items()}
            strategy = build_strategy(node_of(name, **first))
            assert {key: getattr(strategy, key) for key in first} == first
