"""The rows of CTranslate2's table, each held against the engine itself on a model of known probabilities."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from decodebench.deploy.engines import ENGINES
from decodebench.errors import ConfigError
from decodebench.strategies import Beam, Greedy, Sample, Strategy
from held_engines import Held, held, penalized, wrong
from known_law import Rules, law, probabilities
from known_logits import CONSTANT, ID, TIE

pytestmark = pytest.mark.engine("ctranslate2")
ENGINE = ENGINES["ctranslate2"]
DRAWS = 3000
P = probabilities(CONSTANT)
PROMPTS = ["A", "B", "FC", "GABD", "HHHHHHHHE"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return held("ctranslate2", tmp_path_factory.mktemp("ctranslate2"))


def sample(**numbers: Any) -> Sample:
    return Sample(**{"top_k": None, "top_p": None, "max_new_tokens": 1, **numbers})


def beam(**numbers: Any) -> Beam:
    return Beam(**{"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 12, **numbers})


RULES: list[Rules] = [
    [],
    [("temperature", 2.0)],
    [("temperature", 0.5)],
    [("top_k", 3)],
    [("top_p", 0.75)],
    [("top_p", 0.3)],
    [("temperature", 2.0), ("top_p", 0.68)],  # A and B with the temperature behind top_p
    [("top_k", 2), ("top_p", 0.55)],  # A and B with top_p in front of top_k
    [("temperature", 2.0), ("top_k", 4), ("top_p", 0.8)],
]


@pytest.mark.parametrize("rules", RULES)
def test_first_tokens_follow_the_law_of_the_rules(engine: Held, rules: Rules) -> None:
    [texts] = engine.texts("constant", sample(**dict(rules)), ["A"], DRAWS)
    assert not wrong(texts, law(rules, P))


def test_a_penalty_counts_prompt_and_text_once(engine: Held) -> None:
    strategy = sample(repetition_penalty=1.5, max_new_tokens=2)
    # Z stands where a prompt has its first token, which is not counted
    [texts] = engine.texts("constant", strategy, ["ZAAB"], DRAWS)
    assert not wrong([text[0] for text in texts], penalized(CONSTANT, "AB", repetition=1.5))
    for token, seen in (("A", "AB"), ("C", "ABC")):
        behind = [text[1] for text in texts if text[0] == token]
        assert not wrong(behind, penalized(CONSTANT, seen, repetition=1.5))


def test_the_first_token_of_a_prompt_is_not_penalized(engine: Held) -> None:
    """As the rule says; a prompt without a token before the text is another prompt to it."""
    [texts] = engine.texts("constant", sample(repetition_penalty=1.5), ["AB"], DRAWS)
    assert not wrong(texts, penalized(CONSTANT, "B", repetition=1.5))
    assert wrong(texts, penalized(CONSTANT, "AB", repetition=1.5))


SAME_TEXTS = [
    ("max_new_tokens", Greedy(max_new_tokens=5)),
    ("repetition_penalty", Greedy(max_new_tokens=9, repetition_penalty=1.7)),
    ("no_repeat_ngram_size", Greedy(max_new_tokens=9, no_repeat_ngram_size=2)),
    ("no_repeat_ngram_size", Greedy(max_new_tokens=9, no_repeat_ngram_size=3)),
    *(
        ("length_penalty", beam(num_beams=n, num_return_sequences=n, length_penalty=penalty, early_stopping=stop))
        for n, penalty, stop in product((2, 4), (1.0, 0.0, 2.0, -1.0), (True, "never"))
    ),
    ("early_stopping", beam(early_stopping=False, length_penalty=0.0)),
    ("early_stopping", beam(early_stopping=False, length_penalty=-1.0)),
    ("num_beams", beam(num_beams=3, num_return_sequences=3, max_new_tokens=3)),
    ("min_new_tokens", Greedy(max_new_tokens=9, min_new_tokens=4)),
]


@pytest.mark.parametrize(("row", "strategy"), SAME_TEXTS)
def test_texts_are_ours_token_for_token(engine: Held, row: str, strategy: Strategy) -> None:
    prompts = [f"Z{prompt}" for prompt in PROMPTS]
    texts = engine.texts("random", strategy, prompts, draws=strategy.returns)
    assert texts == [engine.ours("random", strategy, prompt) for prompt in prompts]


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_no_text_ends_before_its_least_length(engine: Held, penalty: float) -> None:
    strategy = sample(min_new_tokens=2, max_new_tokens=3, repetition_penalty=penalty)
    [texts] = engine.texts("bigram", strategy, ["ZZZD"], DRAWS)
    assert set(texts) == {"GH", "GHI"}


def test_every_row_is_held() -> None:
    held_here = {name for rules in RULES for name, _ in rules} | {row for row, _ in SAME_TEXTS}
    assert set(ENGINE.rows) == held_here | {"eos"}


def test_a_text_ends_at_the_end_token_of_the_model(engine: Held) -> None:
    assert engine.texts("bigram", Greedy(max_new_tokens=9), ["D"]) == [["GHI"]]
    for eos in ("none", [ID["C"]]):
        strategy = Greedy(max_new_tokens=5, eos=eos)
        assert engine.refused(strategy) == {"eos"}
        assert engine.raw("bigram", engine.translated(strategy).settings, ["H"]) == [["I"]]
        assert engine.ours("bigram", strategy, "H") != ["I"]


@pytest.mark.parametrize(
    "strategy",
    [
        sample(min_p=0.3),
        sample(typical_p=0.3),
        sample(presence_penalty=1.0),
        sample(frequency_penalty=1.0),
        sample(dry_multiplier=1.0),
        sample(top_n_sigma=1.0),
        sample(xtc_probability=1.0, xtc_threshold=0.1),
        sample(stop=["A"]),
        sample(max_total_tokens=3),
    ],
)
def test_it_has_no_such_argument(engine: Held, strategy: Sample) -> None:
    for key in engine.refused(strategy):
        told = {**engine.translated(strategy).settings, key: getattr(strategy, key)}
        with pytest.raises(ConfigError, match="incompatible function arguments"):
            engine.raw("constant", told, ["A"])
    assert engine.refused(strategy)


def test_another_stop_of_a_search_differs(engine: Held) -> None:
    strategy = beam(early_stopping=False)
    assert engine.refused(strategy) == {"early_stopping"}
    ours = [engine.ours("random", strategy, prompt) for prompt in PROMPTS]
    for patience in (1.0, 2.0, 64.0):
        told = {**engine.translated(strategy).settings, "patience": patience}
        assert engine.raw("random", told, PROMPTS, 4) != ours


def test_the_least_length_of_a_search_differs(engine: Held) -> None:
    strategy = beam(min_new_tokens=3)
    assert engine.refused(strategy) == {"min_new_tokens"}
    told = {**engine.translated(strategy).settings, "min_length": 3}
    found = engine.raw("random", told, ["A"], 4)[0]
    assert min(map(len, found)) == 3
    assert found != engine.ours("random", strategy, "A")


def test_a_penalty_of_a_search_differs(engine: Held) -> None:
    """Without the prompt it is not counted; with it, the text that ends right behind it is lost."""
    for numbers in ({"repetition_penalty": 2.0}, {"no_repeat_ngram_size": 2}):
        strategy = beam(**numbers, max_new_tokens=3)
        assert engine.refused(strategy) == set(numbers)
        told = {**engine.translated(strategy).settings, **numbers}
        assert engine.raw("random", told, ["ZHAAB"], 4) != [engine.ours("random", strategy, "ZHAAB")]
    plain = engine.translated(beam()).settings
    assert "" in engine.raw("bigram", plain, ["ZD"], 4)[0]
    assert "" not in engine.raw("bigram", {**plain, "include_prompt_in_result": True}, ["ZD"], 4)[0]


def test_exactly_k_are_kept_where_tokens_tie(engine: Held) -> None:
    [texts] = engine.texts("tie", sample(top_k=2), ["A"], DRAWS)
    assert len(set(texts)) == 2  # as the notes say; by our definition B and C are both kept
    assert wrong(texts, law([("top_k", 2)], probabilities(TIE)))


def test_draws_are_independent(engine: Held) -> None:
    first, second = engine.texts("constant", sample(), ["A", "B"], DRAWS)
    assert first != second
    for left, right in ((first, second), (first[:-1], first[1:]), (first[:-128], first[128:])):
        assert not wrong([b for a, b in zip(left, right, strict=True) if a == "A"], P)


def test_one_request_gives_the_same_twice(engine: Held) -> None:
    strategy = replace(sample(), max_new_tokens=6)
    assert engine.texts("constant", strategy, ["A"], 5) == engine.texts("constant", strategy, ["A"], 5)
