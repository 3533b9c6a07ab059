"""What engines do by themselves, as strategies: their numbers, and what they take from the model."""

import json
from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import ConfigError
from decodebench.models import ModelConfig
from decodebench.models.said import said_by_model
from decodebench.plan.config import build_strategy
from decodebench.plan.served import settled, takes
from decodebench.strategies import Greedy, Sample, Strategy
from known_logits import CONSTANT, always, build_known
from launches import launch, manifest, node_of, without_report, write_prompts

CHAT = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1}
"""What a generation_config.json says."""


def served(name: str, said: dict[str, Any], **numbers: Any) -> Strategy:
    return build_strategy(settled(node_of(f"served_{name}", **numbers), said))


def on(strategy: Strategy) -> dict[str, Any]:
    """The numbers of a sampler that are on, and its order."""
    assert isinstance(strategy, Sample)
    rules = [rule.name for rule in strategy.rules()]
    return {name: getattr(strategy, name) for name in rules} | {"order": rules, "rep": strategy.repetition_penalty}


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        # of neither a request nor the model: llama.cpp cuts first, Ollama tempers between top_k and top_p
        ("llama_cpp", CHAT, (0.8, {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8}, 1.0)),
        ("ollama", CHAT, (0.8, {"top_k": 40, "temperature": 0.8, "top_p": 0.9}, 1.0)),
        ("vllm", {}, (1.0, {"temperature": 1.0}, 1.0)),
        ("vllm", {"top_p": 1.0, "top_k": 0, "min_p": 0.1}, (1.0, {"temperature": 1.0, "min_p": 0.1}, 1.0)),
        ("vllm", CHAT, (0.6, {"temperature": 0.6, "min_p": 0.1, "top_k": 20, "top_p": 0.9}, 1.1)),
        ("openvino_genai", CHAT, (0.6, {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1}, 1.1)),
        ("openvino_genai", {"do_sample": True}, (1.0, {"temperature": 1.0}, 1.0)),
        ("onnxruntime_genai", CHAT, (0.6, {"temperature": 0.6, "top_k": 20, "top_p": 0.9}, 1.0)),
        ("onnxruntime_genai", {"do_sample": True}, (1.0, {"temperature": 1.0, "top_k": 50}, 1.0)),
        ("transformers", CHAT, (0.6, {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1}, 1.1)),
        ("transformers", {"do_sample": True}, (1.0, {"temperature": 1.0, "top_k": 50}, 1.0)),
    ],
)
def test_an_engine_that_samples(name: str, said: dict[str, Any], expected: tuple[float, dict[str, Any], float]) -> None:
    temperature, numbers, penalty = expected
    assert on(served(name, said)) == numbers | {"order": list(numbers), "rep": penalty, "temperature": temperature}


@pytest.mark.parametrize("name", ["mlx_lm", "openvino_genai", "onnxruntime_genai", "transformers"])
def test_an_engine_that_does_not_unless_the_model_says_so(name: str) -> None:
    """The other numbers of the model do nothing then, but for the penalty where the engine reads it."""
    found = served(name, CHAT | {"do_sample": False})
    assert type(found) is Greedy
    assert found.repetition_penalty == (1.1 if name in ("openvino_genai", "transformers") else 1.0)
    assert type(served(name, {})) is Greedy


def test_what_a_user_says_wins() -> None:
    assert on(served("vllm", CHAT, temperature=1.0, top_p=None))["temperature"] == 1.0
    assert on(served("vllm", CHAT, temperature=1.0, top_p=None))["order"] == ["temperature", "min_p", "top_k"]
    assert on(served("transformers", {}, do_sample=True))["top_k"] == 50
    assert type(served("vllm", {"temperature": 0.0})) is Greedy


def test_what_would_do_nothing_is_refused() -> None:
    for number in ({"temperature": 0.5}, {"top_n_sigma": 1.0}):
        ((key, value),) = number.items()
        with pytest.raises(ConfigError) as raised:
            served("transformers", {}, **number)
        assert str(raised.value) == (
            f"strategy.{key}={value}: has no effect with strategy=served_transformers, which samples nothing here; "
            "allowed is null, or strategy.do_sample=true"
        )
    with pytest.raises(ConfigError, match="says num_beams=4: beam search; allowed is strategy=beam"):
        served("transformers", {"num_beams": 4})
    with pytest.raises(ConfigError, match=r"strategy\.temperature=-1"):
        served("transformers", {"do_sample": True, "temperature": -1.0})


def test_a_text_that_only_looks_like_it() -> None:
    node = node_of("greedy", bad_words=["model else 1"]) | {"name": "model else 1"}
    assert not takes(node)
    assert settled(node, CHAT) == node


def local(folder: Path) -> ModelConfig:
    return ModelConfig(name="local", source="local", path=str(folder))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_known(tmp_path_factory.mktemp("known"), always(CONSTANT))


def test_a_models_file(known: Path, tmp_path: Path) -> None:
    assert said_by_model(ModelConfig(name="gemma3_270m", source="packaged")) == {}
    assert said_by_model(local(known))["eos_token_id"] == 2
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in known.iterdir():
        (folder / file.name).symlink_to(file)
    said = folder / "generation_config.json"
    said.unlink()
    assert said_by_model(local(folder)) == {}
    said.write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no JSON object"):
        said_by_model(local(folder))
    said.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        said_by_model(local(folder))
    assert "\n" not in str(raised.value)


def test_a_run_keeps_the_numbers_that_the_model_said(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it goes on: the same ids, and an export has the number."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    without_report(monkeypatch)
    write_prompts(tmp_path)
    said = json.loads((known / "generation_config.json").read_text(encoding="utf-8")) | CHAT
    (known / "generation_config.json").write_text(json.dumps(said), encoding="utf-8")
    served_ = "strategy=served_llama_cpp,served_ollama,served_vllm,served_transformers"
    words = ["-m", "model=local", f"model.path={known}", "prompts=file", "prompts.path=prompts.jsonl", served_]
    words += ["strategy.max_new_tokens=2", "latency=skip", "model.device=cpu", "name=x"]
    done = launch(*words)
    assert done.code == 0, done.err
    cells = {cell["strategy"]: cell for cell in manifest()["cells"]}
    assert list(cells) == ["served_llama_cpp", "served_ollama", "served_vllm", "served_transformers"]
    assert cells["served_vllm"]["config"]["strategy"]["temperature"] == 0.6
    assert cells["served_transformers"]["generation_config"]["min_p"] == 0.1
    assert "model else" not in json.dumps(manifest())
    assert launch(*words).code == 0
    assert [cell["id"] for cell in manifest()["cells"]] == [cell["id"] for cell in cells.values()]
    assert launch("export", "results/x", "served_vllm", "--to", "vllm", "-o", "v").code == 0
    settings = json.loads(Path("v/settings.json").read_text(encoding="utf-8"))
    assert (settings["temperature"], settings["top_k"], settings["min_p"]) == (0.6, 20, 0.1)
