"""What is benchmarked is what is deployed: a strategy's fields mean the same whatever a checkpoint's own settings."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from decodebench.deploy import generation_config, generation_config_fields
from decodebench.model_config import ModelConfig
from decodebench.models import LoadedModel, load
from decodebench.strategies import Beam, Greedy, Sample, Strategy
from tiny import EOS_ID, build_tiny

PROMPT = torch.tensor([[5, 6, 7, 8]])
SETTINGS = {"do_sample": True, "temperature": 0.3, "top_k": 3, "repetition_penalty": 5.0, "no_repeat_ngram_size": 1}
STRATEGIES = [Greedy(), Beam(no_repeat_ngram_size=0), Sample(top_k=None, top_p=None, num_return_sequences=2)]


@pytest.fixture(scope="module")
def opinionated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose generation_config.json would change every text; some of it a caller cannot turn off."""
    folder = build_tiny("gpt2", tmp_path_factory.mktemp("opinionated"))
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | SETTINGS | {"bad_words_ids": [[n] for n in range(9, 200)]}
    file.write_text(json.dumps(settings), encoding="utf-8")
    return folder


def fields_of(strategy: Strategy, eos_ids: tuple[int, ...] = ()) -> dict[str, Any]:
    return generation_config_fields(strategy, eos_ids=eos_ids, pad_id=0, limit=12)


def tokens(model: Any, fields: dict[str, Any]) -> list[list[int]]:
    torch.manual_seed(0)
    config = generation_config(fields)
    ids: torch.Tensor = model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), generation_config=config)
    return ids.tolist()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_nothing_of_a_checkpoint_leaks(
    strategy: Strategy, opinionated: Path, tiny_models: dict[str, LoadedModel]
) -> None:
    plain = tokens(tiny_models["gpt2"].model, fields_of(strategy))
    loaded = load(ModelConfig(name="opinionated", source="local", path=str(opinionated), device="cpu"))
    assert tokens(loaded.model, fields_of(strategy)) == plain
    unarmed: Any = AutoModelForCausalLM.from_pretrained(opinionated)
    assert tokens(unarmed, {"max_new_tokens": 12, "pad_token_id": 0}) != plain, "the settings must be ones that matter"


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_the_fields_hold_on_a_model_that_others_loaded(
    strategy: Strategy, opinionated: Path, tiny_models: dict[str, LoadedModel]
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(opinionated)
    model.generation_config.bad_words_ids = None  # off is None, which `generate` takes for unset; so it does for EOS
    fields = fields_of(strategy, eos_ids=(EOS_ID,))
    assert tokens(model, fields) == tokens(tiny_models["gpt2"].model, fields)


def test_a_strategys_numbers_are_in_its_fields() -> None:
    fields = fields_of(Sample(temperature=0.5, top_k=7, top_p=0.8, repetition_penalty=1.3, min_new_tokens=2))
    named = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "min_new_tokens", "max_new_tokens")
    assert [fields[name] for name in named] == [True, 0.5, 7, 0.8, 1.3, 2, 12]
    assert fields_of(Greedy())["top_k"] == 0, "transformers' default of 50 must not stay"
