"""The rows of OpenVINO GenAI's table, each held against the engine itself on a model of known probabilities."""

from dataclasses import replace
from typing import Any

import pytest

from decodebench.deploy.engines import ENGINES, asked, translate
from decodebench.errors import ConfigError
from decodebench.strategies import Beam, Greedy, Sample, Strategy
from held_engines import Held, held, penalized, wrong
from known_law import Rules, law, probabilities
from known_logits import CONSTANT, ID, TIE

pytestmark = pytest.mark.engine("openvino_genai")
ENGINE = ENGINES["openvino_genai"]
DRAWS = 3000
P = probabilities(CONSTANT)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return held("openvino_genai", tmp_path_factory.mktemp("openvino_genai"))


def sample(**numbers: Any) -> Sample:
    return Sample(**{"top_k": None, "top_p": None, "max_new_tokens": 1, **numbers})


def beam(**numbers: Any) -> Beam:
    return Beam(**{"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 8, **numbers})


RULES: list[Rules] = [
    [],
    [("temperature", 2.0)],
    [("temperature", 0.5)],
    [("top_k", 3)],
    [("top_p", 0.75)],
    [("top_p", 0.3)],
    [("min_p", 0.3)],
    [("temperature", 2.0), ("top_p", 0.68)],  # A and B with the temperature behind top_p
    [("top_k", 2), ("top_p", 0.55)],  # A and B with top_p in front of top_k
    [("temperature", 2.0), ("min_p", 0.55)],  # A and B with min_p in front of the temperature
    [("temperature", 2.0), ("top_k", 4), ("top_p", 0.8), ("min_p", 0.6)],
]


@pytest.mark.parametrize("rules", RULES)
def test_first_tokens_follow_the_law_of_the_rules(engine: Held, rules: Rules) -> None:
    [texts] = engine.texts("constant", sample(**dict(rules)), ["A"], DRAWS)
    assert not wrong(texts, law(rules, P))


PENALTIES = [
    ({"repetition_penalty": 1.5}, penalized(CONSTANT, "AB", repetition=1.5)),
    ({"presence_penalty": 1.5}, P),  # the prompt is not counted
    ({"frequency_penalty": 1.5}, P),
]


@pytest.mark.parametrize(("numbers", "law_V"), PENALTIES)
def test_penalties_count_what_ours_count_of_a_prompt(engine: Held, numbers: dict[str, float], law_V: Any) -> None:
    [texts] = engine.texts("constant", sample(**numbers), ["AAB"], DRAWS)
    assert not wrong(texts, law_V)


def test_penalties_count_the_new_text(engine: Held) -> None:
    strategy = sample(presence_penalty=0.5, frequency_penalty=0.7, max_new_tokens=3)
    [texts] = engine.texts("constant", strategy, ["E"], 2 * DRAWS)
    assert not wrong(
        [text[1] for text in texts if text[0] == "A"], penalized(CONSTANT, "A", presence=0.5, frequency=0.7)
    )
    assert not wrong(
        [text[2] for text in texts if text[:2] == "AA"], penalized(CONSTANT, "AA", presence=0.5, frequency=0.7)
    )


def test_repetition_counts_the_new_text_once(engine: Held) -> None:
    strategy = sample(repetition_penalty=1.3, max_new_tokens=3)
    [texts] = engine.texts("constant", strategy, ["Z"], 2 * DRAWS)
    assert not wrong([text[2] for text in texts if text[:2] == "AA"], penalized(CONSTANT, "A", repetition=1.3))


TWO = {"num_beams": 2, "num_return_sequences": 2}
SAME_TEXTS = [
    ("max_new_tokens", Greedy(max_new_tokens=5), ["A", "ZA", "D"]),
    ("eos", Greedy(max_new_tokens=5, eos="none"), ["H"]),
    ("repetition_penalty", Greedy(max_new_tokens=6, repetition_penalty=3.0), ["A"]),
    ("presence_penalty", Greedy(max_new_tokens=6, presence_penalty=2.0, frequency_penalty=0.5), ["A"]),
    ("num_beams", beam(), ["D", "ZZZZZZZZZZZD"]),
    ("num_beams", beam(**TWO), ["A", "D"]),
    ("length_penalty", beam(length_penalty=0.0), ["D"]),
    ("length_penalty", beam(length_penalty=2.0), ["D"]),
    ("early_stopping", beam(early_stopping=True), ["D"]),
    ("early_stopping", beam(early_stopping=False), ["D"]),
    ("early_stopping", beam(early_stopping="never"), ["D"]),
    ("no_repeat_ngram_size", beam(no_repeat_ngram_size=2, max_new_tokens=2, **TWO), ["ABA", "AB"]),
]


@pytest.mark.parametrize("stop", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("size", [0, 3])
def test_searches_are_ours_on_a_random_model(engine: Held, stop: Any, length_penalty: float, size: int) -> None:
    prompts = ["A", "ZB", "FC", "GABD", "HHHHHHHHE"]
    strategy = beam(early_stopping=stop, length_penalty=length_penalty, no_repeat_ngram_size=size)
    texts = engine.texts("random", strategy, prompts, draws=4)
    assert texts == [engine.ours("random", strategy, prompt) for prompt in prompts]


@pytest.mark.parametrize(("row", "strategy", "prompts"), SAME_TEXTS)
def test_texts_are_ours_token_for_token(engine: Held, row: str, strategy: Strategy, prompts: list[str]) -> None:
    texts = engine.texts("bigram", strategy, prompts, draws=strategy.returns)
    assert texts == [engine.ours("bigram", strategy, prompt) for prompt in prompts]


def test_no_text_ends_before_its_least_length(engine: Held) -> None:
    [texts] = engine.texts("bigram", sample(min_new_tokens=2, max_new_tokens=3), ["D"], DRAWS)
    assert set(texts) == {"GH", "GHI"}


def test_a_text_ends_before_a_stop_string_or_behind_it(engine: Held) -> None:
    stop = Greedy(max_new_tokens=6, stop=["AB", "XY"])
    assert engine.texts("bigram", stop, ["A", "B"]) == [["B"], [""]]
    assert engine.texts("bigram", replace(stop, stop_keep=True), ["A", "B"]) == [["BAB"], ["AB"]]


def test_every_row_is_held() -> None:
    held_here = {name for rules in RULES for name, _ in rules} | {name for numbers, _ in PENALTIES for name in numbers}
    assert set(ENGINE.rows) == held_here | {row for row, *_ in SAME_TEXTS} | {"min_new_tokens", "stop", "stop_keep"}


@pytest.mark.parametrize("name", sorted(set(ENGINE.lacks) - {"max_total_tokens"}))
def test_a_keyword_that_it_lacks_does_nothing(engine: Held, name: str) -> None:
    settings = engine.translated(sample()).settings
    # the strictest number of each of these rules would leave one or two tokens
    strict = {"typical_p": 0.01, "p_less": "plain", "top_h": 0.01, "top_n_sigma": 0.01}
    [texts] = engine.raw("constant", {**settings, name: strict.get(name, 0.35)}, ["A"], DRAWS)
    assert not wrong(texts, P)


def test_what_is_refused_differs(engine: Held) -> None:
    """Each number that is not translatable with something else, told all the same."""
    assert engine.refused(sample(min_p=1.0)) == {"min_p"}
    with pytest.raises(ConfigError, match="min_p"):
        engine.raw("constant", {**engine.translated(sample()).settings, "min_p": 1.0}, ["A"])
    for penalty in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        strategy = beam(**{penalty: 1.5})
        assert engine.refused(strategy) == {penalty}
        with pytest.raises(ConfigError, match=penalty):
            engine.raw("bigram", {**engine.translated(strategy).settings, penalty: 1.5}, ["A"], 4)


def test_a_text_of_beam_search_ends_before_its_least_length(engine: Held) -> None:
    strategy = beam(min_new_tokens=3, num_return_sequences=1)
    assert engine.refused(strategy) == {"min_new_tokens"}
    told = {**engine.translated(strategy).settings, "min_new_tokens": 3}
    assert "" in engine.raw("bigram", told, ["D"], 4)[0]
    assert engine.ours("bigram", strategy, "D") == ["GHI"]


def test_penalties_count_the_other_texts_of_a_call(engine: Held) -> None:
    strategy = sample(repetition_penalty=1.5, max_new_tokens=2)
    several = translate(ENGINE, asked(strategy, texts=3, longest=64))
    assert {line.key for line in several.missing} == {"repetition_penalty"}
    told = engine.translated(strategy).settings
    law_V = penalized(CONSTANT, "A", repetition=1.5)
    for texts_a_call, right in ((1, True), (64, False)):
        [texts] = engine.raw("constant", {**told, "num_return_sequences": texts_a_call}, ["Z"], DRAWS)
        assert (not wrong([text[1] for text in texts if text[0] == "A"], law_V)) is right


def test_n_grams_may_be_repeated_without_beams(engine: Held) -> None:
    strategy = Greedy(max_new_tokens=4, no_repeat_ngram_size=2)
    assert engine.refused(strategy) == {"no_repeat_ngram_size"}
    told = {**engine.translated(strategy).settings, "no_repeat_ngram_size": 2}
    assert engine.raw("bigram", told, ["AB"]) == [["ABAB"]]
    assert engine.ours("bigram", strategy, "AB") != ["ABAB"]


def test_a_stop_string_ends_a_text_before_its_least_length(engine: Held) -> None:
    strategy = Greedy(max_new_tokens=6, min_new_tokens=4, stop=["A"])
    assert engine.refused(strategy) == {"min_new_tokens"}
    told = {**engine.translated(strategy).settings, "min_new_tokens": 4}
    assert engine.raw("bigram", told, ["A"]) == [["B"]]


def test_the_end_of_the_model_ends_a_text_beside_other_ends(engine: Held) -> None:
    strategy = Greedy(max_new_tokens=6, eos=[ID["C"]])
    assert engine.refused(strategy) == {"eos"}
    assert engine.raw("bigram", engine.translated(strategy).settings, ["H"]) == [["I"]]
    assert engine.ours("bigram", strategy, "H") != ["I"]


def test_a_length_with_the_prompt_is_not_read(engine: Held) -> None:
    strategy = Greedy(max_new_tokens=6, max_total_tokens=4)
    assert engine.refused(strategy) == {"max_total_tokens"}
    told = {**engine.translated(strategy).settings, "max_length": 4}
    assert engine.raw("bigram", told, ["AB"]) == [["ABABAB"]]
    assert engine.ours("bigram", strategy, "AB") == ["AB"]


def test_exactly_k_are_kept_where_tokens_tie(engine: Held) -> None:
    [texts] = engine.texts("tie", sample(top_k=2), ["A"], DRAWS)
    assert len(set(texts)) == 2  # as the notes say; by our definition B and C are both kept
    assert wrong(texts, law([("top_k", 2)], probabilities(TIE)))


def test_draws_are_independent(engine: Held) -> None:
    """Prompts and calls have streams of their own: pairs of texts come as often as the product of both says."""
    first, second = engine.texts("constant", sample(), ["A", "B"], DRAWS)
    assert first != second
    for left, right in ((first, second), (first[:-1], first[1:]), (first[:-128], first[128:])):
        assert not wrong([b for a, b in zip(left, right, strict=True) if a == "A"], P)
