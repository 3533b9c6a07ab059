"""Our strategies in the terms of engines outside, without an engine: what is written, by hand from what was measured of
each; tests/engines hold the same tables against the engines."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.deploy.engines import ENGINES, Translation, translate
from decodebench.errors import ConfigError
from decodebench.plan.catalogue import catalogue
from decodebench.strategies import MBR, Beam, BestOfN, Greedy, Sampler, SelfConsistency, Strategy, is_on
from told_engines import EXPECTED, HOT, NUCLEUS_FIRST, asks, plain, translated


def told(translation: Translation, kind: str) -> dict[str, Any]:
    """The settings that are not neutral."""
    neutral = translation.engine.neutral[kind]
    return {key: value for key, value in translation.settings.items() if key not in neutral or neutral[key] != value}


def kinds(translation: Translation) -> dict[str, str]:
    """What became of each number, in one letter: exact, rewritten, not translatable."""
    return {line.key: line.kind[0] for line in translation.lines}


@pytest.mark.parametrize(("engine", "strategy", "said", "became"), EXPECTED)
def test_what_an_engine_is_told(
    engine: str, strategy: Strategy, said: Mapping[str, Any], became: Mapping[str, str]
) -> None:
    found = translated(engine, strategy)
    assert told(found, asks(strategy).kind) == said
    assert became.items() <= kinds(found).items()
    others = set(kinds(found)) - set(became)
    assert others <= {"max_new_tokens", "eos", "temperature"}, others
    assert all(kinds(found)[key] == "e" for key in others)


@pytest.mark.parametrize("engine", ["ollama", "openvino_genai", "ctranslate2", "onnxruntime_genai", "openai", "vllm"])
def test_a_nucleus_before_the_temperature_needs_an_order(engine: str) -> None:
    found = {line.key: line for line in translated(engine, NUCLEUS_FIRST).lines}
    assert found["temperature"].kind == "not translatable"
    assert found["temperature"].rule == "the engine applies temperature before top_p, and its order cannot be set"
    cold = plain(top_p=0.8, order=["top_p", "temperature"])  # at 1.0 a temperature does nothing, wherever it comes
    assert not translated(engine, cold).missing


def test_min_p_before_a_temperature_keeps_what_its_power_keeps_after() -> None:
    """By enumeration: 2,000 rows of 40 tokens, at temperatures from 0.3 to 3."""
    drawn = torch.Generator().manual_seed(0)
    for _ in range(2000):
        logit_V = 3 * torch.randn(40, generator=drawn, dtype=torch.float64)
        temperature = 0.3 * 10 ** float(torch.rand((), generator=drawn))
        min_p = float(torch.rand((), generator=drawn)) * 0.9 + 0.01
        strategy = plain(temperature=temperature, min_p=min_p, order=["min_p", "temperature"])
        after = translated("vllm", strategy).settings["min_p"]
        p_V, hot_V = torch.softmax(logit_V, -1), torch.softmax(logit_V / temperature, -1)
        assert torch.equal(p_V >= min_p * p_V.max(), hot_V >= after * hot_V.max())


FILLED = {
    "llama_cpp": (
        *("temperature", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold"),
        *("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty", "dry_multiplier", "dry_base"),
        *("dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "mirostat", "dynatemp_range"),
        *("samplers", "n_predict", "stop", "ignore_eos", "logit_bias", "n_cmpl", "seed", "min_keep", "grammar"),
    ),
    "ollama": (
        *("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "num_predict"),
        *("presence_penalty", "frequency_penalty", "stop", "seed"),
    ),
    "vllm": (
        *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"),
        *("max_tokens", "min_tokens", "n", "seed", "stop", "stop_token_ids", "ignore_eos"),
    ),
    "mlx_lm": ("temp", "top_k", "top_p", "min_p", "repetition_penalty", "xtc_probability", "max_tokens"),
    "ctranslate2": (
        *("sampling_topk", "sampling_topp", "sampling_temperature", "beam_size", "max_length", "min_length"),
        *("repetition_penalty", "no_repeat_ngram_size", "include_prompt_in_result", "max_batch_size", "end_token"),
    ),
    "openvino_genai": (
        *("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"),
        *("frequency_penalty", "max_new_tokens", "num_beams", "num_return_sequences", "rng_seed"),
        *("apply_chat_template", "ignore_eos"),
    ),
    "onnxruntime_genai": (
        *("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams"),
        *("max_length", "min_length", "random_seed", "num_return_sequences"),
    ),
    "openai": ("temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "n", "stop"),
}
"""What each engine fills by itself where a request leaves it out (row 13 of what was measured, and its interface)."""


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_nothing_is_left_for_the_engine_to_fill(engine: str) -> None:
    for strategy in (Greedy(), plain(), HOT):
        assert set(FILLED[engine]) <= set(translated(engine, strategy).settings)


def test_greedy_search_is_asked_for_and_samplers_sample() -> None:
    """Where do_sample is left false, or top_k 1, a temperature says nothing."""
    for name, field, value in (
        ("llama_cpp", "temperature", 0.0),
        ("vllm", "temperature", 0.0),
        ("mlx_lm", "temp", 0.0),
    ):
        assert translated(name, Greedy()).settings[field] == value
    for name in ("openvino_genai", "onnxruntime_genai"):
        assert translated(name, Greedy()).settings["do_sample"] is False
        assert translated(name, plain()).settings["do_sample"] is True
    assert translated("ctranslate2", Greedy()).settings["sampling_topk"] == 1
    assert translated("ctranslate2", plain()).settings["sampling_topk"] == 0


def test_bounds_and_ends() -> None:
    kept = plain(stop=["\n\n"], stop_keep=True, eos="none")
    assert {"stop": ["\n\n"], "include_stop_str_in_output": True, "ignore_eos": True}.items() <= translated(
        "vllm", kept
    ).settings.items()
    found = translated("llama_cpp", kept)
    assert [line.key for line in found.missing] == ["eos", "stop_keep"]  # ignore_eos forbids them there
    assert found.settings["ignore_eos"] is False
    late = plain(min_new_tokens=5, stop=["x"])
    assert [line.key for line in translated("vllm", late).missing] == ["min_new_tokens"]  # strings wait, too
    assert [line.key for line in translated("openai", plain(stop=list("abcde"))).missing] == ["stop"]
    assert [line.key for line in translated("openvino_genai", plain(eos=[5])).missing] == ["eos"]


def test_several_texts() -> None:
    for name, engine in ENGINES.items():
        if engine.texts_field is None:
            with pytest.raises(ConfigError, match=f"--texts=3: {name} gives one text for each prompt; allowed is 1"):
                translate(engine, asks(plain(), texts=3))
        else:
            assert translate(engine, asks(plain(), texts=3)).settings[engine.texts_field] == 3
    with pytest.raises(ConfigError, match="--texts=2: greedy search gives one text"):
        translate(ENGINES["vllm"], asks(Greedy(), texts=2))
    with pytest.raises(ConfigError, match="--texts=2: vllm gives one text"):  # its BeamSearchParams have no n
        translate(ENGINES["vllm"], asks(Beam(), texts=2))
    assert translate(ENGINES["ctranslate2"], asks(Beam(), texts=2)).settings["num_hypotheses"] == 2


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_every_strategy_is_translated_or_refused(engine: str) -> None:
    """By a line for each number, or in one line for all of it."""
    whole = 0
    for entry in catalogue().values():
        if not_outside(entry.strategy):
            with pytest.raises(ConfigError, match=f"strategy={type(entry.strategy).__name__}: no engine outside has"):
                asks(entry.strategy)
            continue
        asks_ = asks(entry.strategy)
        found = translate(ENGINES[engine], asks_)
        if kinds(found).keys() == {"strategy"}:
            assert asks_.kind not in ENGINES[engine].neutral
            continue
        _nothing_is_lost(entry.strategy, found)
        whole += not found.missing
    assert whole >= 3  # greedy, temperature, top_p


def not_outside(strategy: Strategy) -> bool:
    """Whether no engine has this rule: they have greedy search, beam search, and chains of samplers."""
    choices = isinstance(strategy, BestOfN | MBR | SelfConsistency)
    return choices or not (type(strategy) in (Greedy, Beam) or isinstance(strategy, Sampler))


def _nothing_is_lost(strategy: Strategy, found: Translation) -> None:
    lines = {line.key: line for line in found.lines}
    assert len(lines) == len(found.lines)
    for field in fields(strategy):
        value = getattr(strategy, field.name)
        rule = field.name in RULES and value not in (None, 0, -1) and is_on(strategy, field.name)
        if rule or (field.name in PENALTIES and value != field.default):
            assert lines[field.name].value == value, field.name
    for line in found.lines:
        assert line.rule or line.kind == "exact", line
        assert line.target in found.settings or line.target is None or line.kind == "not translatable", line


RULES = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_n_sigma")
RULES = (*RULES, "tfs_z", "p_less", "mirostat_tau", "mirostat_eta", "dynatemp_range", "xtc_probability")
PENALTIES = ("repetition_penalty", "no_repeat_ngram_size", "presence_penalty", "frequency_penalty", "dry_multiplier")
PENALTIES = (*PENALTIES, "min_new_tokens", "sequence_bias", "bad_words", "guidance_scale")
RANDOM = {
    "temperature": st.sampled_from([0.5, 1.0, 2.0]),
    "top_k": st.sampled_from([None, 0, -1, 5, 50]),
    "top_p": st.sampled_from([None, 0.7, 1.0]),
    "min_p": st.sampled_from([None, 0.0, 0.1]),
    "typical_p": st.sampled_from([None, 0.9, 1.0]),
    "epsilon_cutoff": st.sampled_from([None, 0.0, 0.01]),
    "eta_cutoff": st.sampled_from([None, 0.01]),
    "top_n_sigma": st.sampled_from([None, -1, 1.5]),
    "tfs_z": st.sampled_from([None, 0.9, 1.0]),
    "top_h": st.sampled_from([None, 0.4]),
    "p_less": st.sampled_from([None, "plain"]),
    "repetition_penalty": st.sampled_from([1.0, 1.3]),
    "presence_penalty": st.sampled_from([0.0, 0.5]),
    "frequency_penalty": st.sampled_from([0.0, -0.5]),
    "no_repeat_ngram_size": st.sampled_from([0, 3]),
    "dry_multiplier": st.sampled_from([0.0, 0.8]),
    "min_new_tokens": st.sampled_from([0, 4]),
    "guidance_scale": st.sampled_from([1.0, 1.5]),
    "bad_words": st.sampled_from([None, ["x"]]),
}


@settings(deadline=None, max_examples=200)
@given(
    numbers=st.fixed_dictionaries(RANDOM), order=st.randoms(use_true_random=False), engine=st.sampled_from([*ENGINES])
)
def test_no_number_is_lost_without_a_line(numbers: dict[str, Any], order: Any, engine: str) -> None:
    strategy = plain(**numbers)
    names = [rule.name for rule in strategy.rules()]
    order.shuffle(names)
    strategy = plain(**numbers, order=names)
    found = translated(engine, strategy)
    _nothing_is_lost(strategy, found)
    target = found.engine.order_field
    if target is not None and len(names) > 1:
        said = [found.engine.order_names[name] for name in names if name in found.engine.order_names]
        assert found.settings[target][-len(said) :] == said


@pytest.mark.parametrize("number", [0, None])
def test_two_numbers_of_one_rule_are_off_together(number: int | None) -> None:
    """dynatemp_range 0 or xtc_probability 0 turn the other number off: engines without the rule take it."""
    strategy = plain(dynatemp_range=number, xtc_probability=number)
    assert set(asks(strategy).numbers) == {"temperature", "max_new_tokens", "eos"}
    strategy = plain(dynatemp_range=0, dynatemp_exponent=1.0, xtc_probability=0, xtc_threshold=0.2)
    assert not translated("vllm", strategy).missing
