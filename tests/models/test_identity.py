"""What tells models of one name apart: each part of it alone, and nothing that is no part of it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import ByT5Tokenizer

from decodebench.models.config import ModelConfig
from decodebench.models.identity import Identity, identity
from decodebench.models.loading import LoadedModel, load, release
from tiny import CHAT_TEMPLATE


@pytest.fixture
def folder(tiny_dirs: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dirs["gemma3"], tmp_path / "copy"))


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Iterator[None]:
    yield
    release()


def identity_of(folder: Path, **changes: Any) -> Identity:
    """Also of a model that is in memory, from before its folder was changed."""
    config = ModelConfig(name="local", source="local", path=str(folder), device="cpu")
    return load(replace(config, **changes), announce=lambda line: None).identity


def edit(name: str, **values: Any) -> Callable[[Path], None]:
    def edited(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")

    return edited


def scaled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_a_merge(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["merges"].pop()
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def templated(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "chat_template.jinja").write_text(text, encoding="utf-8") and None


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (scaled, "fingerprint"),
        (edit("config.json", rms_norm_eps=0.5), "resolved_config"),
        (edit("config.json", query_pre_attn_scalar=3), "resolved_config"),
        (edit("config.json", final_logit_softcapping=5.0), "resolved_config"),
        (edit("config.json", what_nobody_knows=1), "resolved_config"),
        (without_a_merge, "tokenizer"),
        (edit("tokenizer.json", normalizer={"type": "NFC"}), "tokenizer"),
        (edit("tokenizer.json", post_processor=None), "tokenizer"),
        (edit("tokenizer.json", decoder=None), "tokenizer"),
        (edit("tokenizer_config.json", pad_token="<eos>"), "tokenizer"),
        (templated(CHAT_TEMPLATE + "\n"), "chat_template"),
        (edit("generation_config.json", eos_token_id=[1, 7]), "eos_ids"),
    ],
)
def test_each_part_of_a_folder_is_seen_and_named(change: Callable[[Path], None], part: str, folder: Path) -> None:
    before = asdict(identity_of(folder))
    change(folder)
    now = asdict(identity_of(folder))
    assert [key for key in before if before[key] != now[key]] == [part]


def test_what_is_no_part_of_it_changes_nothing(folder: Path, tmp_path: Path) -> None:
    before = identity_of(folder)
    edit("config.json", transformers_version="4.0.0", _name_or_path="elsewhere")(folder)
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 2}
    edit("tokenizer.json", padding=padding | {"pad_type_id": 0, "pad_token": "<pad>"})(folder)
    edit("generation_config.json", temperature=0.3, repetition_penalty=1.5)(folder)
    moved = folder.rename(tmp_path / "moved")
    assert identity_of(moved) == before


def test_asked_for_otherwise_it_is_another(folder: Path) -> None:
    before = identity_of(folder)
    half = identity_of(folder, dtype="bfloat16")
    assert (half.dtype, half.resolved_config, half.tokenizer) == ("bfloat16", before.resolved_config, before.tokenizer)
    other = identity_of(folder, tokenizer={"eos_token": "<pad>"})
    assert (other.eos_ids, before.eos_ids) == ((2,), (1,))
    assert other.tokenizer != before.tokenizer


def test_it_is_the_same_once_it_was_json(tiny: LoadedModel) -> None:
    told = asdict(tiny.identity)
    assert json.loads(json.dumps(told)) == told | {"eos_ids": list(tiny.eos_ids)}
    assert (tiny.dtype, tiny.fingerprint) == (told["dtype"], told["fingerprint"])


def test_a_tokenizer_of_plain_python(tiny_models: dict[str, LoadedModel]) -> None:
    """One without a tokenizer.json in memory."""
    model = tiny_models["llama"].model
    some, same, other = (identity(model, ByT5Tokenizer(extra_ids=n), (1,)) for n in (5, 5, 6))
    assert some == same
    assert some.tokenizer != other.tokenizer
