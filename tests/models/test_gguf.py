"""What transformers' GGUF reader leaves out is used, or the load is refused with its name (once: other logits, exit 0).

llama.cpp is the source of what each key and tensor means: linear scaling divides each rotary frequency by a factor,
rope_freqs.weight divides each by its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decodebench.errors import ModelError
from decodebench.models import LoadedModel, ModelConfig, load
from decodebench.models.loading import release
from tiny_gguf import write_gguf

IDS = torch.tensor([[5, 60, 70, 200, 9, 33, 150, 77]])


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Any:
    yield
    release()


def loaded_with(folder: Path, llama: LoadedModel, add: Callable[[Any], object]) -> LoadedModel:
    write_gguf(folder / "tiny.gguf", llama, add)
    return load(ModelConfig(name="local", source="local", path=str(folder / "tiny.gguf"), device="cpu"))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def with_frequencies(llama: LoadedModel, divisor: Any) -> torch.Tensor:
    """The logits of the model with each rotary frequency divided."""
    rotary = llama.model.model.rotary_emb
    before = rotary.inv_freq
    rotary.inv_freq = before / divisor
    try:
        return logits(llama.model)
    finally:
        rotary.inv_freq = before


@pytest.mark.parametrize(
    "add",
    [
        lambda w: (w.add_rope_scaling_type(scaling_type("linear")), w.add_rope_scaling_factor(4.0)),
        lambda w: w.add_float32("llama.rope.scale_linear", 4.0),  # how older files say it
    ],
    ids=["scaling", "scale_linear"],
)
def test_linear_scaling_is_applied(add: Any, tiny_models: dict[str, LoadedModel], tmp_path: Path) -> None:
    llama = tiny_models["llama"]
    found = logits(loaded_with(tmp_path, llama, add).model)
    torch.testing.assert_close(found, with_frequencies(llama, 4.0))
    assert (found - logits(llama.model)).abs().max() > 0.1  # what was lost


def test_the_frequencies_of_a_tensor_are_applied(tiny_models: dict[str, LoadedModel], tmp_path: Path) -> None:
    llama = tiny_models["llama"]
    factors = np.array([1.0, 1.0, 2.0, 4.0, 8.0, 8.0], dtype=np.float32)  # head size 12: 6 frequencies
    found = logits(loaded_with(tmp_path, llama, lambda w: w.add_tensor("rope_freqs.weight", factors)).model)
    torch.testing.assert_close(found, with_frequencies(llama, torch.from_numpy(factors)))
    assert (found - logits(llama.model)).abs().max() > 0.1


def test_another_base_frequency_is_read(tiny_models: dict[str, LoadedModel], tmp_path: Path) -> None:
    loaded = loaded_with(tmp_path, tiny_models["llama"], lambda w: w.add_rope_freq_base(500.0))
    expected = 1 / 500.0 ** (torch.arange(0, 12, 2) / 12)
    torch.testing.assert_close(loaded.model.model.rotary_emb.inv_freq, expected)


@pytest.mark.parametrize(
    "add",
    [
        lambda w: (w.add_rope_scaling_type(scaling_type("none")), w.add_rope_scaling_factor(4.0)),
        lambda w: (w.add_rope_scaling_type(scaling_type("linear")), w.add_rope_scaling_factor(1.0)),
        lambda w: (w.add_expert_count(0), w.add_key_length(12), w.add_value_length(12), w.add_rope_dimension_count(12)),
        lambda w: w.add_tensor("rope_freqs.weight", np.ones(6, dtype=np.float32)),
    ],
)
def test_what_changes_nothing_is_no_reason_to_refuse(
    add: Any, tiny_models: dict[str, LoadedModel], tmp_path: Path
) -> None:
    llama = tiny_models["llama"]
    torch.testing.assert_close(logits(loaded_with(tmp_path, llama, add).model), logits(llama.model))


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (lambda w: (w.add_rope_scaling_type(scaling_type("yarn")), w.add_rope_scaling_factor(4.0)), "type=yarn"),
        (lambda w: w.add_float32("llama.rope.scaling.attn_factor", 0.7), "llama.rope.scaling.attn_factor=0.7"),
        (lambda w: w.add_logit_scale(0.125), "llama.logit_scale=0.125"),
        (lambda w: w.add_final_logit_softcapping(30.0), "llama.final_logit_softcapping=30"),
        (lambda w: w.add_sliding_window(8), "llama.attention.sliding_window=8"),
        (lambda w: w.add_residual_scale(0.5), "llama.residual_scale=0.5"),
        (lambda w: w.add_tensor("blk.0.attn_q.bias", np.ones(48, dtype=np.float32)), "tensor blk.0.attn_q.bias"),
        (lambda w: w.add_tensor("output.bias", np.ones(400, dtype=np.float32)), "tensor output.bias"),
        (lambda w: w.add_tensor("blk.1.attn_q_norm.weight", np.ones(12, dtype=np.float32)), "blk.1.attn_q_norm.weight"),
        (lambda w: w.add_tensor("rope_freqs.weight", np.ones(5, dtype=np.float32)), "tensor rope_freqs.weight"),
    ],
)
def test_what_would_change_the_logits_and_cannot_be_used_is_refused_with_its_name(
    add: Any, named: str, tiny_models: dict[str, LoadedModel], tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        loaded_with(tmp_path, tiny_models["llama"], add)
    message = str(caught.value)
    assert message.startswith("model.path=")
    assert named in message
    assert "\n" not in message


def test_a_rule_for_cutting_text_that_the_reader_does_not_know_is_said(
    tiny_models: dict[str, LoadedModel], tmp_path: Path
) -> None:
    llama = tiny_models["llama"]
    (warning,) = loaded_with(tmp_path, llama, lambda w: w.add_tokenizer_pre("exaone")).warnings
    assert "tokenizer.ggml.pre=exaone" in warning
    release()
    assert loaded_with(tmp_path, llama, lambda w: w.add_tokenizer_pre("gpt-2")).warnings == ()


def scaling_type(name: str) -> Any:
    import gguf

    return gguf.RopeScalingType(name)
