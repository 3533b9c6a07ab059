"""`import`: settings of an engine as a strategy; what was exported comes back with the same numbers."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from decodebench.deploy.engines import ENGINES, asked, translate
from decodebench.deploy.engines.reading import read_settings
from decodebench.deploy.importing import import_settings
from decodebench.errors import ConfigError
from decodebench.plan.config import build_strategy
from decodebench.plan.served import settled
from decodebench.strategies import Beam, Greedy, Mirostat, Sample, Strategy
from launches import launch, node_of


def plain(**numbers: Any) -> Sample:
    return Sample(**{"temperature": 1.0, "top_k": None, "top_p": None, **numbers})


MANY: dict[str, Strategy] = {
    "greedy": Greedy(),
    "greedy of 256": Greedy(max_new_tokens=256),
    "penalty": Greedy(repetition_penalty=1.5, max_new_tokens=16),
    "plain": plain(),
    "hot": plain(temperature=2.0, top_k=4, top_p=0.8, min_p=0.6),
    "two": plain(temperature=0.7, top_k=4, top_p=0.8, max_new_tokens=512),
    "truncated first": plain(temperature=2.0, top_k=4, top_p=0.8, order=["top_p", "top_k", "temperature"]),
    "min_p first": plain(temperature=2.0, min_p=0.25, order=["min_p", "temperature"]),
    "min_p and top_k": plain(top_k=7, min_p=0.3, repetition_penalty=1.2),
    "exotic": plain(typical_p=0.9, top_n_sigma=1.0, xtc_probability=0.5, xtc_threshold=0.1),
    "dry": plain(dry_multiplier=0.8, dry_base=2.0, dry_sequence_breakers=["\n"]),
    "dynamic": plain(dynatemp_range=0.5, dynatemp_exponent=1.0, top_k=5),
    "mirostat": Mirostat(mirostat_tau=3.0),
    "present": plain(presence_penalty=0.5, frequency_penalty=0.25, top_p=0.9),
    "ends": plain(stop=["\n\n", 'x"y'], min_new_tokens=0),
    "kept": plain(stop=["."], stop_keep=True, eos="none"),
    "late": plain(min_new_tokens=5),
    "beam": Beam(num_beams=5, early_stopping=False, length_penalty=0.0),
    "early beam": Beam(num_beams=6, early_stopping=True),
}
"""Strategies; an engine is given those that it can run."""


def numbers_of(strategy: Strategy) -> dict[str, Any]:
    """What decides about tokens. The number of texts is the user's; an order says the same where it is our own."""
    found = {
        f.name: getattr(strategy, f.name) for f in fields(strategy) if f.name not in ("num_return_sequences", "order")
    }
    rules = [rule.name for rule in strategy.rules()] if isinstance(strategy, Sample | Mirostat) else []
    return found | {
        "kind": type(strategy),
        "rules": rules,
        "dry_sequence_breakers": tuple(strategy.dry_sequence_breakers),
    }


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_what_was_exported_comes_back(engine: str, tmp_path: Path) -> None:
    """By the yaml that is written: the same numbers, or, where one was rewritten, the same settings again."""
    came_back = 0
    for name, strategy in MANY.items():
        asks = asked(strategy, texts=1, longest=512)
        if asks.kind not in ENGINES[engine].neutral or translate(ENGINES[engine], asks).missing:
            continue
        there = translate(ENGINES[engine], asks)
        file = tmp_path / "settings.json"
        file.write_text(json.dumps(there.settings), encoding="utf-8")
        found = build_strategy(yaml.safe_load(import_settings(file, engine, "mine").text.split("_self_\n")[1]))
        if any("min_p **" in line.rule for line in there.lines):
            assert translate(ENGINES[engine], asked(found, texts=1, longest=512)).settings == there.settings
        elif name in ("hot", "two", "min_p and top_k") and engine in ("ollama", "vllm"):
            commuted = numbers_of(strategy) | {"rules": numbers_of(found)["rules"]}
            assert numbers_of(found) == commuted
            assert set(numbers_of(found)["rules"]) == set(numbers_of(strategy)["rules"])
        else:
            assert numbers_of(found) == numbers_of(strategy), name
        came_back += 1
    assert came_back >= {"openai": 4, "ctranslate2": 5}.get(engine, 7)


def test_a_modelfile_comes_back(tmp_path: Path) -> None:
    for strategy in (MANY["hot"], MANY["ends"], MANY["penalty"]):
        settings = translate(ENGINES["ollama"], asked(strategy, texts=1, longest=512)).settings
        file = tmp_path / "Modelfile"
        file.write_text(ENGINES["ollama"].files(settings)["Modelfile"], encoding="utf-8")
        text = import_settings(file, "ollama", "mine").text
        found = build_strategy(yaml.safe_load(text.split("_self_\n")[1]))
        assert numbers_of(found) | {"rules": 0} == numbers_of(strategy) | {"rules": 0}


@pytest.mark.parametrize("engine", ["llama_cpp", "ollama", "vllm", "mlx_lm", "openvino_genai", "onnxruntime_genai"])
def test_an_empty_request_is_what_the_engine_does_by_itself(engine: str) -> None:
    served = build_strategy(settled(node_of(f"served_{engine}"), {}))
    assert numbers_of(read_settings(ENGINES[engine], {}).strategy) == numbers_of(served)


def test_requests_as_users_write_them() -> None:
    found = read_settings(
        ENGINES["llama_cpp"], {"prompt": "x", "temperature": 0.5, "top_k": 0, "seed": 3, "n_predict": -1}
    )
    assert isinstance(found.strategy, Sample)
    assert [rule.name for rule in found.strategy.rules()] == ["top_p", "min_p", "temperature"]
    assert (found.strategy.temperature, found.strategy.max_new_tokens) == (0.5, 64)
    assert found.notes == (
        "prompt: is left out, it is no rule of decoding",
        "seed: is left out, it is no rule of decoding",
    )
    found = read_settings(ENGINES["mlx_lm"], {"temp": 0.7, "top_p": 0.9})
    assert [rule.name for rule in found.strategy.rules()] == ["top_p", "temperature"]  # type: ignore[attr-defined]
    found = read_settings(ENGINES["llama_cpp"], {"repeat_penalty": 1.1})
    assert found.strategy.repetition_penalty == 1.1
    assert found.notes == ("repeat_last_n=64: the whole text is taken; there, of longer ones, so many tokens are seen",)
    off = {"repeat_penalty": 1.1, "repeat_last_n": 0}
    with pytest.raises(ConfigError, match=r"repeat_penalty=1\.1 is nothing that a strategy says"):
        read_settings(ENGINES["llama_cpp"], off)


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("llama_cpp", {"temprature": 0.5}, "temprature=0.5 is unknown; allowed: .*; did you mean temperature"),
        ("llama_cpp", {"repetition_penalty": 1.1}, "repetition_penalty=1.1 is unknown"),
        ("llama_cpp", {"ignore_eos": True}, "ignore_eos=True is nothing that a strategy says"),
        ("llama_cpp", {"grammar": "x"}, "grammar='x' is nothing that a strategy says; allowed here is ''"),
        ("llama_cpp", {"presence_penalty": 0.5}, r"presence_penalty=0.5 is .* says \(the prompt is counted too\)"),
        ("vllm", {"top_p": 0.0}, "strategy.top_p=0.0: allowed is above 0, at most 1"),
        ("vllm", {"logit_bias": {"5": 1}}, "logit_bias={'5': 1} is nothing that a strategy says"),
        ("vllm", {"temperature": "hot"}, "a setting is no number"),
        ("openvino_genai", {"num_beams": 4, "num_beam_groups": 2}, "num_beam_groups=2 is nothing that a strategy says"),
    ],
)
def test_what_no_strategy_says(engine: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        read_settings(ENGINES[engine], settings)
    assert "\n" not in str(raised.value)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("request.json").write_text('{"model": "m", "options": {"top_k": 20}}', encoding="utf-8")
    done = launch("import", "request.json", "--from", "ollama")
    assert (done.code, done.err) == (0, "")
    assert "# repeat_penalty was 1.1 where nothing was said until August 2026" in done.out
    assert "name: imported\n_target_: decodebench.strategies.Sample\n" in done.out
    done = launch("import", "request.json", "--from", "ollama", "-o", "my_conf/strategy/mine.yaml")
    assert "# wrote my_conf/strategy/mine.yaml: --config-dir my_conf strategy=mine" in done.out
    node = yaml.safe_load(Path("my_conf/strategy/mine.yaml").read_text(encoding="utf-8"))
    assert (node["name"], node["top_k"], node["temperature"], node["top_p"]) == ("mine", 20, 0.8, 0.9)
    assert node["order"] == ["top_k", "temperature", "top_p"]
    for name, text in (("list.json", "[1]"), ("broken.json", "{"), ("binary.json", "\x00")):
        Path(name).write_text(text, encoding="utf-8")
        done = launch("import", name, "--from", "vllm")
        assert (done.code, len(done.err.splitlines())) == (3, 1), done.err
    for words in (
        ["nowhere.json", "--from", "vllm"],
        ["request.json"],
        ["request.json", "--from", "vlm"],
        ["request.json", "--from", "vllm"],  # options are Ollama's
        ["request.json", "--from", "ollama", "-o", "mine.json"],
        ["request.json", "--from", "transformers"],
    ):
        done = launch("import", *words)
        assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1), (words, done.err)
