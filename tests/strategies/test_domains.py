"""Numbers that turn a rule off, as other engines and people's files have them: they are accepted, and keep every token.

transformers has top_k 0, typical_p 1, epsilon_cutoff and eta_cutoff 0; vLLM top_k -1 and min_p 0; llama.cpp all of
these, top_n_sigma -1, tfs_z 1, xtc_probability 0, xtc_threshold 1 and dynatemp_range 0.
"""

from typing import Any

import pytest

from decodebench.errors import ConfigError
from decodebench.plan.config import build_strategy
from decodebench.strategies import BeamSample, BestOfN, Sample, Temperature
from decodebench.strategies.chain import TRANSFORMERS_ORDER
from decodebench.strategies.sampling import Sampler
from launches import node_of

OFF: list[tuple[str, str, float]] = [
    ("top_k", "top_k", 0),
    ("top_k", "top_k", -1),
    ("top_p", "top_p", 1),
    ("min_p", "min_p", 0),
    ("typical", "typical_p", 1),
    ("epsilon", "epsilon_cutoff", 0),
    ("eta", "eta_cutoff", 0),
    ("top_n_sigma", "top_n_sigma", -1),
    ("top_n_sigma", "top_n_sigma", 0),
    ("tfs", "tfs_z", 1),
    ("xtc", "xtc_probability", 0),
    ("xtc", "xtc_threshold", 1),
    ("dynamic_temperature", "dynatemp_range", 0),
]
"""The strategy that has one rule, its number, and a value at which that is off."""


@pytest.mark.parametrize(("name", "key", "value"), OFF)
def test_off_is_sampling_at_the_temperature(name: str, key: str, value: float) -> None:
    strategy = build_strategy(node_of(name, **{key: value}))
    assert isinstance(strategy, Sampler)
    plain = Temperature(temperature=strategy.temperature)
    assert strategy.rules() == plain.rules()
    assert strategy.in_transformers
    assert strategy.generation_config() == plain.generation_config()


def sample(**numbers: Any) -> Any:
    return build_strategy(node_of("sample", **{"top_k": None, "top_p": None} | numbers))


@pytest.mark.parametrize(("key", "value"), [(key, value) for _, key, value in OFF if key != "xtc_threshold"])
def test_off_in_a_chain_is_null(key: str, value: float) -> None:
    off = sample(**{key: value})
    assert isinstance(off, Sample)
    assert off.rules() == sample().rules()
    assert sample(**{key: value, "order": ["temperature"]}).rules() == sample().rules()
    with pytest.raises(ConfigError, match=r"a list that has each rule that is on once: temperature$"):
        sample(**{key: value, "order": ["temperature", key]})


def test_a_file_of_another_engine_names_every_number_and_turns_most_off() -> None:
    numbers = {key: value for _, key, value in OFF} | {"xtc_threshold": 0.1, "dynatemp_exponent": 1.0, "min_p": 0.05}
    assert [rule.name for rule in sample(**numbers).rules()] == ["temperature", "min_p"]
    assert sample(xtc_probability=0.5, xtc_threshold=1).rules() == sample().rules()


@pytest.mark.parametrize(
    ("switch", "other"), [("xtc_probability", "xtc_threshold"), ("dynatemp_range", "dynatemp_exponent")]
)
def test_numbers_that_go_together_may_be_there_where_both_are_off(switch: str, other: str) -> None:
    assert sample(**{switch: 0, other: None}).rules() == sample(**{switch: 0, other: 0.1}).rules() == sample().rules()
    for numbers in ({switch: None, other: 0.1}, {switch: 0.1, other: None}, {switch: 0, other: -1.0}):
        with pytest.raises(ConfigError, match=f"^strategy.{other}=.*: allowed is above 0.* is on, else null$"):
            sample(**numbers)


@pytest.mark.parametrize("off", [0, -1, None])
def test_off_where_samples_are_drawn_for_something_else(off: int | None) -> None:
    assert BestOfN(top_k=off, top_p=1.0).rule.rules() == Temperature(temperature=0.75).rules()
    beam = BeamSample(top_k=off, top_p=1.0)
    assert beam.generation_config() == BeamSample(top_k=None, top_p=None).generation_config()
    assert beam.generation_config()["top_k"] == 0


def test_a_rule_that_is_off_does_not_take_a_chain_out_of_transformers() -> None:
    """transformers has no tfs_z: at 1 there is nothing that it would lack."""
    assert sample(tfs_z=1, top_n_sigma=0, xtc_probability=0, xtc_threshold=0.1, top_k=5).in_transformers
    assert not sample(tfs_z=0.9).in_transformers
    assert "tfs_z" not in TRANSFORMERS_ORDER
