"""A model folder with an adapter beside its base: used and named, or refused; never the bare base without a word."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import import_utils

from decodebench.errors import ModelError
from decodebench.models import ModelConfig, load
from decodebench.models.loading import release
from launches import launch
from tiny import build_tiny

TARGET = "model.layers.0.self_attn.q_proj"
LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": [TARGET], "task_type": "CAUSAL_LM"}
LORA |= {"base_model_name_or_path": "someone/tiny"}


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Iterator[None]:
    yield
    release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny Llama with a LoRA adapter beside it, its files written by hand."""
    folder = build_tiny("llama", tmp_path / "llama")
    (folder / "adapter_config.json").write_text(json.dumps(LORA))
    save_file(
        {f"base_model.model.{TARGET}.lora_{part}.weight": each for part, each in zip("AB", lora(folder), strict=True)},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def lora(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A (r by inputs) and B (outputs by r) of the adapted matrix."""
    outputs, inputs = load_file(folder / "model.safetensors")[f"{TARGET}.weight"].shape
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, inputs, generator=random), torch.randn(outputs, 2, generator=random)


def local(folder: Path) -> ModelConfig:
    return ModelConfig(name="local", source="local", path=str(folder), device="cpu")


def without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_utils, "is_peft_available", lambda: False)


def test_without_peft_an_adapter_is_refused_naming_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_peft(monkeypatch)
    with pytest.raises(ModelError, match=r"^[^\n]+$") as caught:
        load(local(folder))
    assert str(caught.value) == (
        f"model=local: {folder} has an adapter (adapter_config.json, LORA), which needs peft; run pip install "
        "'decodebench[peft]', or take that file away to decode the bare base"
    )


@pytest.mark.parametrize("key", ["model.path", "scorer.id", "strategy.draft"])
def test_models_of_every_use_are_refused(
    key: str, folder: Path, tiny_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter of a draft or of a scorer is left out as silently as one of the model itself."""
    without_peft(monkeypatch)
    monkeypatch.chdir(tmp_path)
    strategy = "assisted" if key.startswith("strategy") else "greedy"
    words = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", f"strategy={strategy}", "name=one"]
    done = launch("-m", *[word for word in words if not word.startswith(f"{key}=")], f"{key}={folder}", "latency=skip")
    assert done.code != 0
    assert "has an adapter (adapter_config.json, LORA), which needs peft" in done.out + done.err
    assert "Traceback" not in done.out + done.err


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '"x"'])
def test_an_adapter_config_that_is_none_is_one_line(content: str, folder: Path) -> None:
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"^model=local: adapter_config.json of [^\n]+ is not that of an adapter \("):
        load(local(folder))


def test_an_adapter_alone_is_refused_for_its_adapter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its base a folder has no config.json; to say that this is what it lacks sends people the wrong way."""
    without_peft(monkeypatch)
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"has an adapter \(adapter_config.json, LORA\), which needs peft"):
        load(local(folder))


def test_with_peft_the_adapter_is_used_and_named(folder: Path, tmp_path: Path) -> None:
    """The logits are those of the base with (alpha / r) B A added to its matrix by hand."""
    pytest.importorskip("peft", reason="the extra decodebench[peft] is not installed")
    merged = build_tiny("llama", tmp_path / "merged")
    weights = load_file(merged / "model.safetensors")
    low, high = lora(folder)
    weights[f"{TARGET}.weight"] += LORA["lora_alpha"] / LORA["r"] * high @ low  # type: ignore[operator]
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    found, fingerprints = [], []
    for place in (folder, merged, build_tiny("llama", tmp_path / "bare")):
        loaded = load(local(place))
        found.append(logits(loaded.model))
        fingerprints.append(loaded.fingerprint)
        named = " with adapter LORA of someone/tiny" if place == folder else ""
        assert loaded.source == f"local:{place}{named}"
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-2)
    assert len(set(fingerprints)) == 3


def test_with_peft_an_adapter_that_lacks_weights_is_refused(folder: Path) -> None:
    """transformers would go on with random values."""
    pytest.importorskip("peft", reason="the extra decodebench[peft] is not installed")
    (folder / "adapter_config.json").write_text(json.dumps(LORA | {"target_modules": ["q_proj"]}))
    with pytest.raises(ModelError, match=r"lacks 2 of its weights, first [^\n]*layers.1.self_attn.q_proj.lora_A"):
        load(local(folder))


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(torch.tensor([[0, 5, 6, 7]])).logits)
