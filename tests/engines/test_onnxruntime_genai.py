"""The rows of ONNX Runtime GenAI's table, each held against the engine itself on a model of known probabilities."""

from itertools import product
from typing import Any

import pytest

from decodebench.deploy.engines import ENGINES
from decodebench.errors import ConfigError
from decodebench.strategies import Beam, Greedy, Sample, Strategy
from held_engines import Held, held, penalized, wrong
from known_law import Rules, law, probabilities
from known_logits import CONSTANT, ID, TIE

pytestmark = pytest.mark.engine("onnxruntime_genai")
ENGINE = ENGINES["onnxruntime_genai"]
DRAWS = 3000
P = probabilities(CONSTANT)
PROMPTS = ["A", "B", "FC", "GABD", "HHHHHHHHE"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return held("onnxruntime_genai", tmp_path_factory.mktemp("onnxruntime_genai"))


def sample(**numbers: Any) -> Sample:
    return Sample(**{"top_k": None, "top_p": None, "max_new_tokens": 1, **numbers})


def beam(**numbers: Any) -> Beam:
    return Beam(**{"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 12, "length_penalty": 0.0, **numbers})


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
    [texts] = engine.texts("constant", strategy, ["AAB"], DRAWS)
    assert not wrong([text[0] for text in texts], penalized(CONSTANT, "AB", repetition=1.5))
    for token, seen in (("A", "AB"), ("C", "ABC")):
        behind = [text[1] for text in texts if text[0] == token]
        assert not wrong(behind, penalized(CONSTANT, seen, repetition=1.5))


SAME_TEXTS = [
    ("max_new_tokens", Greedy(max_new_tokens=5)),
    ("min_new_tokens", Greedy(max_new_tokens=9, min_new_tokens=4)),
    ("repetition_penalty", Greedy(max_new_tokens=9, repetition_penalty=1.7)),
    ("no_repeat_ngram_size", Greedy(max_new_tokens=9, no_repeat_ngram_size=2)),
    ("no_repeat_ngram_size", Greedy(max_new_tokens=9, no_repeat_ngram_size=3)),
    *(
        ("early_stopping", beam(num_beams=n, num_return_sequences=n, early_stopping=stop, max_new_tokens=most))
        for n, stop, most in product((2, 4), (True, False, "never"), (3, 12))
    ),
    ("num_beams", beam(num_beams=3, num_return_sequences=3)),
    ("length_penalty", beam(num_beams=5, num_return_sequences=5)),
]


@pytest.mark.parametrize(("row", "strategy"), SAME_TEXTS)
def test_texts_are_ours_token_for_token(engine: Held, row: str, strategy: Strategy) -> None:
    texts = engine.texts("random", strategy, PROMPTS, draws=strategy.returns)
    assert texts == [engine.ours("random", strategy, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize(
    ("name", "number"), [("no_repeat_ngram_size", 2), ("repetition_penalty", 1.5), ("min_new_tokens", 3)]
)
def test_a_search_with_edited_scores_differs(engine: Held, name: str, number: float) -> None:
    strategy = beam(**{name: number}, max_new_tokens=8)
    assert engine.refused(strategy) == {name}
    told = {**engine.translated(strategy).settings, name.replace("min_new_tokens", "min_length"): number}
    assert engine.raw("random", told, PROMPTS, 4) != [engine.ours("random", strategy, prompt) for prompt in PROMPTS]


def test_no_text_ends_before_its_least_length(engine: Held) -> None:
    [texts] = engine.texts("bigram", sample(min_new_tokens=2, max_new_tokens=3), ["ZZD"], DRAWS)
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
        sample(xtc_probability=1.0, xtc_threshold=0.1),
        sample(dry_multiplier=1.0, dry_sequence_breakers=()),
        sample(top_n_sigma=1.0),
        sample(max_total_tokens=3),
    ],
)
def test_it_has_no_such_option(engine: Held, strategy: Sample) -> None:
    refused = engine.refused(strategy)
    assert refused
    for key in refused - {"dry_sequence_breakers"}:
        told = {**engine.translated(strategy).settings, key: getattr(strategy, key)}
        with pytest.raises(ConfigError, match=f'(?i)unknown.*"?{key}'):
            engine.raw("constant", told, ["A"])


def test_it_stops_at_tokens(engine: Held) -> None:
    strategy = Greedy(max_new_tokens=4, stop=["A"])
    assert engine.refused(strategy) == {"stop"}
    assert engine.raw("bigram", engine.translated(strategy).settings, ["A"]) == [["BABA"]]


def test_another_length_penalty_counts_the_prompt(engine: Held) -> None:
    strategy = beam(length_penalty=1.0, max_new_tokens=8)
    assert engine.refused(strategy) == {"length_penalty"}
    told = {**engine.translated(strategy).settings, "length_penalty": 1.0}
    assert [texts[0] for texts in engine.raw("bigram", told, ["D", 19 * "Z" + "D"], 4)] == ["GHI", ""]
    assert engine.ours("bigram", strategy, 19 * "Z" + "D")[0] == "GHI"


def test_exactly_k_are_kept_where_tokens_tie(engine: Held) -> None:
    [texts] = engine.texts("tie", sample(top_k=2), ["A"], DRAWS)
    assert len(set(texts)) == 2  # as the notes say; by our definition B and C are both kept
    assert wrong(texts, law([("top_k", 2)], probabilities(TIE)))


def test_draws_are_independent(engine: Held) -> None:
    first, second = engine.texts("constant", sample(), ["A", "B"], DRAWS)
    assert first != second
    for left, right in ((first, second), (first[:-1], first[1:]), (first[:-32], first[32:])):
        assert not wrong([b for a, b in zip(left, right, strict=True) if a == "A"], P)
