"""What is benchmarked is what is deployed: a strategy's fields mean the same whatever a checkpoint's own settings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.generation import MaxTimeCriteria

from decodebench.deploy.generate import custom_generate, exports, generation_config, generation_config_fields
from decodebench.engine import Forward, choose_rows
from decodebench.errors import ConfigError, DecodebenchError
from decodebench.models.config import ModelConfig
from decodebench.models.loading import LoadedModel, load
from decodebench.models.tokens import encode, facts_of
from decodebench.strategies import Beam, ContrastiveSearch, Greedy, Sample, Strategy, TopP
from engine_runs import EVERY_STRATEGY, PROMPTS, requests_of, run
from own_strategies import Broken, EveryThirdSecond
from tiny import EOS_ID, PAD_ID, build_tiny

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


# --- custom_generate ------------------------------------------------------------------------------------------------

LIMIT, SEED = 12, 3
OWN = {name: one for name, one in EVERY_STRATEGY.items() if one.packs and one.second_model is None}


def left_padded(prompts: Sequence[tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The prompts as a batch that callers of `generate` make."""
    longest = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[PAD_ID] * (longest - len(ids)) + list(ids) for ids in prompts]),
        "attention_mask": torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]),
    }


def in_our_engine(loaded: LoadedModel, strategy: Strategy, prompts: dict[str, tuple[int, ...]]) -> list[list[int]]:
    """The benchmark's texts in `generate`'s order."""
    facts = facts_of(loaded.model, loaded.tokenizer, (EOS_ID,))
    done = run(
        loaded.model,
        requests_of({"c": strategy}, prompts, limit=LIMIT, eos_ids=(EOS_ID,), seed=SEED, facts=facts),
        forward=choose_rows(loaded.model, loaded.device, facts.vocabulary),
        layers=strategy.hidden_layers(facts),
    )
    assert done.failures == {}
    numbers = [(p, s, rank) for p in prompts for s in range(strategy.samples) for rank in range(strategy.returns)]
    return [list(done.tokens["c", *number]) for number in numbers]


@pytest.mark.parametrize("arch", ["gpt1", "gemma3"])  # one without a cache, one with sliding windows
@pytest.mark.parametrize("name", OWN)
def test_custom_generate_gives_the_texts_of_the_benchmark(
    name: str, arch: str, tiny_models: dict[str, LoadedModel]
) -> None:
    """Samplers too: a request's draws depend on seed, prompt and sample, not on the program that asks."""
    loaded = tiny_models[arch]
    prompts = {key: encode(loaded, PROMPTS[key]) for key in ("ko", "short", "en")}
    strategy = replace(OWN[name], max_new_tokens=LIMIT, eos=[EOS_ID])
    inputs = left_padded([*prompts.values()])
    rule = custom_generate(strategy, loaded.tokenizer, SEED)
    out = loaded.model.generate(**inputs, custom_generate=rule)
    count = strategy.samples * strategy.returns
    width = inputs["input_ids"].shape[1]
    assert torch.equal(out[:, :width], inputs["input_ids"].repeat_interleave(count, 0))
    expected = in_our_engine(loaded, strategy, prompts)
    longest = max(map(len, expected))
    assert out[:, width:].tolist() == [text + [loaded.pad_id] * (longest - len(text)) for text in expected]


def test_rows_that_generate_repeats_are_decoded_once(tiny_models: dict[str, LoadedModel]) -> None:
    """A GenerationConfig that asks for beams or samples of its own; and the same prompt twice stays two."""
    loaded = tiny_models["llama"]
    inputs = left_padded([(5, 6, 7), (5, 6, 7), (9, 8)])
    rule = custom_generate(TopP(num_return_sequences=2, max_new_tokens=LIMIT, eos="none"))
    plain = loaded.model.generate(**inputs, custom_generate=rule)
    assert plain.shape == (6, 3 + LIMIT)
    assert torch.equal(plain[0:2], plain[2:4])
    for numbers in ({"num_beams": 4}, {"num_return_sequences": 2, "do_sample": True}):
        assert torch.equal(loaded.model.generate(**inputs, **numbers, custom_generate=rule), plain)


def test_lengths_and_ends_are_the_strategys(tiny_models: dict[str, LoadedModel]) -> None:
    """Without a mask nothing is padding; a total counts the unpadded prompt."""
    loaded = tiny_models["gpt2"]
    prompts = torch.tensor([[5, 6, 7, 8]])
    total = Greedy(max_new_tokens=None, max_total_tokens=9, eos="none")
    assert loaded.model.generate(prompts, custom_generate=custom_generate(total)).shape == (1, 9)
    by_total = loaded.model.generate(**left_padded([(5, 6, 7, 8), (5, 6)]), custom_generate=custom_generate(total))
    assert by_total.shape == (2, 4 + 7), "the second has 7 new tokens"
    assert by_total[0, 9:].tolist() == [loaded.pad_id] * 2
    exact = custom_generate(Greedy(eos=[7]), new_tokens=5)
    assert loaded.model.generate(prompts, custom_generate=exact).shape == (1, 9)


@pytest.mark.parametrize("owner", ["generation_config", "config", "tokenizer"])
def test_the_models_own_end_tokens_are_found(owner: str, tiny_dirs: dict[str, Path]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_dirs["llama"])
    first = int(model.generate(PROMPT, max_new_tokens=1, do_sample=False, eos_token_id=None)[0, -1])
    owners = {"generation_config": model.generation_config, "config": model.config, "tokenizer": SimpleNamespace()}
    for one in owners.values():
        one.eos_token_id = None
    owners[owner].eos_token_id = first
    tokenizer: Any = SimpleNamespace(eos_token_id=getattr(owners["tokenizer"], "eos_token_id", None))
    out = model.generate(PROMPT, custom_generate=custom_generate(Greedy(), tokenizer))
    assert out.shape == (1, PROMPT.shape[1] + 1)


def test_what_custom_generate_refuses(tiny_models: dict[str, LoadedModel]) -> None:
    loaded = tiny_models["llama"]

    def refusal(strategy: Strategy, **options: Any) -> str:
        with pytest.raises(ConfigError) as raised:
            loaded.model.generate(PROMPT, custom_generate=custom_generate(strategy), **options)
        return str(raised.value)

    criteria = [MaxTimeCriteria(60.0)]
    assert refusal(Greedy(), stopping_criteria=criteria).startswith("stopping_criteria=MaxTimeCriteria: has no effect")
    long = "strategy.max_new_tokens=500: a prompt has 4 tokens, the context of the model 192; allowed is up to 188"
    assert refusal(Greedy(max_new_tokens=500)) == long
    short = "strategy.max_total_tokens=4: a prompt has 4 tokens; allowed is 5 or more"
    assert refusal(Greedy(max_total_tokens=4)) == short
    assert refusal(Beam(num_beams=300)).startswith("strategy.num_beams=300: needs 600 candidates of a vocabulary of ")
    with pytest.raises(DecodebenchError, match="ValueError: broken on purpose"):
        loaded.model.generate(PROMPT, custom_generate=custom_generate(Broken()))


def test_a_model_is_probed_once(tiny_models: dict[str, LoadedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model, probed = tiny_models["llama"].model, []

    def probe(*arguments: Any) -> Forward:
        probed.append(arguments)
        return choose_rows(*arguments)

    monkeypatch.setattr("decodebench.deploy.generate.choose_rows", probe)
    monkeypatch.setattr("decodebench.deploy.generate._probed", WeakKeyDictionary())
    for _ in range(3):
        model.generate(PROMPT, custom_generate=custom_generate(Greedy(max_new_tokens=2)))
    assert len(probed) == 1


@pytest.mark.parametrize(("strategy", "forward_passes"), [(TopP(), 1), (Beam(), 1), (ContrastiveSearch(), 2)], ids=str)
def test_the_first_token_is_told_when_it_is_chosen(
    strategy: Strategy, forward_passes: int, tiny_models: dict[str, LoadedModel]
) -> None:
    """After the prefill and before it is fed; contrastive search must first look at its candidates."""
    model, passes, told = tiny_models["llama"].model, [], []
    rule = custom_generate(strategy, new_tokens=4, first_token=lambda: told.append(len(passes)))
    model.generate(PROMPT, custom_generate=rule)  # which probes the model
    told.clear()
    rule = custom_generate(strategy, new_tokens=4, first_token=lambda: told.append(len(passes)))
    hook = model.base_model.register_forward_hook(lambda *_: passes.append(None))  # the engine may run the head apart
    model.generate(PROMPT, custom_generate=rule)
    hook.remove()
    assert told == [forward_passes]


@dataclass(frozen=True, kw_only=True)
class WithPenalties(TopP):
    """A sampler with rules that transformers lacks."""

    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Greedy(), True),
        (Beam(), True),
        (TopP(repetition_penalty=1.2, no_repeat_ngram_size=2), True),
        (EveryThirdSecond(), False),
        (WithPenalties(), True),
        (WithPenalties(presence_penalty=0.5), False),
        (WithPenalties(frequency_penalty=-0.5), False),
        (WithPenalties(dry_multiplier=0.8), False),
    ],
    ids=str,
)
def test_what_a_generation_config_can_say(strategy: Strategy, expected: bool) -> None:
    assert exports(strategy) is expected
