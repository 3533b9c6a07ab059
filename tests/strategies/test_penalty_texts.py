"""Penalties whose numbers are texts: their tokens, what is refused, and the same texts as `generate`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from decodebench.deploy.generate import generation_config, generation_config_fields
from decodebench.errors import ConfigError
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode, model_facts
from decodebench.plan.config import build_strategy
from decodebench.strategies import Beam, Greedy, ModelFacts, Strategy, Temperature
from decodebench.strategies.penalty_texts import breaker_ids, check_penalties, penalty_fields, penalty_tokens
from engine_runs import PROMPTS, Run, requests_of, run, without_padding
from launches import compose

EOS_IDS = (1, 40, 90, 140)
LIMIT = 14


def letters(text: str) -> tuple[int, ...]:
    """One token for each letter; a letter at the start of a text has another; "_" has none."""
    ids = [ord(letter) - ord("a") for letter in text.lower() if letter != "_"]
    return (ids[0] + 100, *ids[1:]) if ids else ()


FACTS = ModelFacts(vocabulary=200, eos_ids=(103,), encode=letters)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"sequence_bias": {"_": 1.0}}, "strategy.sequence_bias: '_' has no tokens for this model; "),
        ({"bad_words": ["a", "__"]}, "strategy.bad_words: '__' has no tokens for this model; "),
        ({"bad_words": ["ab", "AB"]}, "strategy.bad_words: 'ab' and 'AB' are the same tokens; "),
        ({"bad_words": ["a", "d"]}, "strategy.bad_words: 'd' is an end token; "),
        ({"bad_words": ["aé"]}, "strategy.bad_words: 'aé' has token 136, the model knows 120"),
        ({"dry_multiplier": 1.0, "dry_sequence_breakers": ["b", "_"]}, "strategy.dry_sequence_breakers: '_' has no "),
    ],
)
def test_texts_that_are_refused(numbers, message):
    vocabulary = 120 if "136" in message else 200
    with pytest.raises(ConfigError) as raised:
        check_penalties(Greedy(**numbers), replace(FACTS, vocabulary=vocabulary))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_texts_that_are_allowed():
    """An end token within a word; the default breakers where the tokenizer lacks them; breakers that are not used."""
    check_penalties(Greedy(bad_words=["db", "bd"], sequence_bias={"d": 2.0}), FACTS)
    check_penalties(Greedy(dry_multiplier=1.0), replace(FACTS, encode=lambda text: letters(text.strip("\n:*"))))
    check_penalties(Greedy(), ModelFacts(vocabulary=5))


def test_a_breaker_is_the_last_token_behind_an_a():
    assert breaker_ids(Greedy(dry_multiplier=1.0, dry_sequence_breakers=["b", "xc", "b"]), FACTS) == (1, 2)
    assert breaker_ids(Greedy(), FACTS) == ()


def test_texts_are_encoded_once_for_a_tokenizer():
    asked: list[str] = []

    def counting(text: str) -> tuple[int, ...]:
        asked.append(text)
        return letters(text)

    facts = replace(FACTS, encode=counting)
    strategy = Greedy(sequence_bias={"ab": 1.0}, bad_words=["c"])
    first, second = (penalty_tokens(strategy, facts, torch.device("cpu")) for _ in range(2))
    assert first is second
    assert asked == ["ab", "c"]
    other = penalty_tokens(Greedy(sequence_bias={"ab": 2.0}, bad_words=["c"]), facts, torch.device("cpu"))
    assert other.biased is not None
    assert other.biased.added_S.tolist() == [2.0]


def test_the_fields_of_transformers():
    strategy = Greedy(sequence_bias={"ab": 1.5}, bad_words=["c", "ca"], exponential_decay_length_penalty=(3, 1.1))
    fields = penalty_fields(strategy, FACTS)
    assert fields["sequence_bias"] == [[[100, 1], 1.5]]
    assert fields["bad_words_ids"] == [[102], [102, 0]]
    assert fields["exponential_decay_length_penalty"] == [3, 1.1]
    assert penalty_fields(strategy, FACTS, ends=False)["exponential_decay_length_penalty"] is None
    with pytest.raises(ValueError, match="facts"):
        penalty_fields(strategy, None)


def rules_for(text: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Penalties that meet what a model would say without them; texts are spelled as their token ids."""
    first, second, third = (str(token) for token in text[:3])
    return {
        "bias": {"sequence_bias": {first: -0.5, f"{second} {third}": -0.5, "7": 0.25}},
        "bad words": {"bad_words": [f"{first} {second}", third]},
        "decay": {"exponential_decay_length_penalty": (2, 1.4)},
        "all": {
            "sequence_bias": {f"{first} {second}": -0.25, "9": 0.1},
            "repetition_penalty": 1.3,
            "no_repeat_ngram_size": 2,
            "bad_words": [third, f"{second} {first}"],
            "min_new_tokens": 3,
            "exponential_decay_length_penalty": (0, 1.3),
        },
    }


def decoded(loaded: LoadedModel, strategies: dict[str, Strategy], facts: ModelFacts) -> Run:
    ids = {"en": encode(loaded, PROMPTS["en"]), "ko": encode(loaded, PROMPTS["ko"])}
    done = run(loaded.model, requests_of(strategies, ids, limit=LIMIT, eos_ids=EOS_IDS, facts=facts))
    assert done.failures == {}
    return done


@pytest.mark.parametrize("rule", ["bias", "bad words", "decay", "all"])
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_texts_are_those_of_generate(tiny_models: dict[str, LoadedModel], arch: str, rule: str) -> None:
    """Greedy and beam search, token for token in float32, beside each other; the penalty changes some text of both."""
    loaded = tiny_models[arch]
    facts = replace(model_facts(loaded, EOS_IDS), encode=lambda text: tuple(map(int, text.split())))
    plain: dict[str, Strategy] = {"greedy": Greedy(), "beam": Beam(num_beams=3, num_return_sequences=2)}
    without = decoded(loaded, plain, facts).tokens
    numbers = rules_for(without["greedy", "en", 0, 0])[rule]
    strategies = {cell: replace(strategy, **numbers) for cell, strategy in plain.items()}
    done = decoded(loaded, strategies, facts)
    for cell, strategy in strategies.items():
        assert any(done.tokens[key] != without[key] for key in without if key[0] == cell)
        fields = generation_config_fields(strategy, eos_ids=EOS_IDS, pad_id=0, limit=LIMIT, facts=facts)
        for prompt_id in ("en", "ko"):
            ids = torch.tensor([encode(loaded, PROMPTS[prompt_id])])
            config = generation_config(fields)
            theirs: Any = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
            for rank, row in enumerate(theirs[:, ids.shape[1] :].tolist()):
                assert list(done.tokens[cell, prompt_id, 0, rank]) == without_padding(row, EOS_IDS)


@pytest.mark.parametrize(
    "strategy", [Temperature(dry_multiplier=0.8), Greedy(presence_penalty=1.0, dry_multiplier=2.0)]
)
def test_penalties_that_transformers_lacks_decode_with_any_strategy(tiny_models, strategy):
    """Alone and beside others, in few rows and in many: the same texts."""
    loaded = tiny_models["llama"]
    facts = model_facts(loaded, EOS_IDS)
    prompts = {name: encode(loaded, PROMPTS[name]) for name in ("ko", "en", "short")}
    cells = {"it": strategy, "greedy": Greedy(), "beam": Beam(num_beams=2, num_return_sequences=1, dry_multiplier=1.0)}
    together = run(loaded.model, requests_of(cells, prompts, limit=LIMIT, facts=facts))
    alone = run(loaded.model, requests_of({"it": strategy}, prompts, limit=LIMIT, facts=facts), max_rows=1)
    assert together.failures == alone.failures == {}
    assert {key: tokens for key, tokens in together.tokens.items() if key[0] == "it"} == alone.tokens


def test_from_the_command_line() -> None:
    node: Any = compose("strategy=greedy", "strategy.sequence_bias={rain: 1.5}", "strategy.bad_words=[sun,' sun']")
    strategy = build_strategy(node.strategy)
    assert strategy.sequence_bias == {"rain": 1.5}
    assert strategy.bad_words == ("sun", " sun")
    assert strategy.exponential_decay_length_penalty is None
    decay = build_strategy(compose("strategy=exponential_decay").strategy)
    assert decay.exponential_decay_length_penalty == (0, 1.02)
