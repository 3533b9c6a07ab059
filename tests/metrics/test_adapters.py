"""The evaluate modules give what the metrics give, alone and combined, without the hub."""

import math

import evaluate
import pytest

from decodebench.errors import ConfigError
from decodebench.metrics import METRICS, measure
from decodebench.metrics.adapters import measurement
from metrics_data import by_name, generation

TEXTS = [[1, 2, 1, 2, 3], [4] * 40, [], [5]]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """evaluate makes a folder for each module, also where nothing is written."""
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))


def test_every_metric_combined_equals_measure():
    """On the same records: what a column carries is what a stored text has."""
    generations = [
        generation(ids, prompt_id=f"p{at}", text=text, computed_tokens=10 * at, drafted_tokens=4, accepted_tokens=at)
        for at, (ids, text) in enumerate(zip(TEXTS, ["ab cd", "x" * 40, "", "가"], strict=True))
    ]
    columns = {
        name: [getattr(one, name) for one in generations]
        for name in ("text", "finish_reason", "token_logprobs", "computed_tokens", "drafted_tokens", "accepted_tokens")
    }
    modules = [measurement(metric.name) for metric in METRICS]
    values = evaluate.combine(modules).compute(data=TEXTS, **columns)
    rows = by_name(measure(generations))
    assert values == {metric.name: rows[metric.name].value for metric in METRICS}
    assert sum(value is not None for value in values.values()) > 25


def test_what_is_not_given_is_not_made_up():
    names = ("bits_per_character", "compression_ratio", "empty_share", "computed_tokens", "entropy_gap", "ead")
    values = evaluate.combine([measurement(name) for name in names]).compute(
        data=[[101, 2003]], token_logprobs=[[-1.0, -2.0]]
    )
    assert values == dict.fromkeys(names)
    assert measurement("ead").compute(data=[[1, 1], [2, 3]], vocabulary=4) == {
        "ead": pytest.approx(3 / (4 * (1 - (3 / 4) ** 4)))  # 3 different of 4 draws from 4
    }


def test_by_hand():
    # unique / all 2-grams: 3/4 and 1/39, texts without one left out: (0.75 + 1/39) / 2; pooled 1 - 4/43
    combined = evaluate.combine([measurement(name) for name in ("distinct_2", "rep_2", "loop_share")])
    assert combined.compute(data=TEXTS) == {
        "distinct_2": pytest.approx((0.75 + 1 / 39) / 2),
        "rep_2": pytest.approx(1 - 4 / 43),
        "loop_share": 0.25,
    }


def test_log_probs_are_a_column_and_an_eos_has_one_more_of_them():
    half, eighth = math.log(1 / 2), math.log(1 / 8)
    found = evaluate.combine([measurement("perplexity"), measurement("length"), measurement("eos_share")]).compute(
        data=[[1], [], [2, 3]], token_logprobs=[[half, half], [], [eighth, eighth]], finish_reason=["", "", "length"]
    )
    # (ln 2 + ln 2 + ln 8 + ln 8) / 4 = 2 ln 2; lengths 1, 0, 2; the first text ended, the second was given
    assert found == {"perplexity": pytest.approx(4.0), "length": 1.0, "eos_share": 0.5}


def test_samples_of_a_prompt_share_its_id():
    same = measurement("distinct_texts").compute(data=[[1], [1], [2], [3]], prompt_id=["a", "a", "b", "b"])
    assert same == {"distinct_texts": 1.5}  # 1 different text of a, 2 of b
    assert measurement("distinct_texts").compute(data=[[1], [1]]) == {"distinct_texts": None}  # prompts of their own


def test_peoples_texts_are_a_column():
    found = measurement("length_w1").compute(data=[[1, 2], [1, 2, 3]], human=[[1], [4, 5, 6, 7]])
    assert found == {"length_w1": 1.0}  # lengths 2, 3 against 1, 4: each moves by 1


def test_what_a_scorer_said_is_a_column():
    found = evaluate.combine([measurement("entropy_gap"), measurement("prompt_cosine")]).compute(
        data=[[1, 2]],
        token_logprobs=[[-1.0, -2.0]],
        token_entropies=[[0.5, 1.0]],
        embedding=[[1.0, 0.0]],
        prompt_embedding=[[1.0, 1.0]],
    )
    assert found == {
        "entropy_gap": pytest.approx(0.75),
        "prompt_cosine": pytest.approx(math.sqrt(0.5)),
    }  # (3 - 1.5) / 2


def test_other_units_take_strings():
    assert measurement("distinct_1", unit="words").compute(data=["a b a", "가 나"]) == {
        "distinct_1_words": pytest.approx((2 / 3 + 1) / 2)
    }


def test_a_value_that_cannot_be_had_is_none():
    assert measurement("distinct_2").compute(data=[[], [1]]) == {"distinct_2": None}
    assert measurement("perplexity").compute(data=[[1]], token_logprobs=[[math.nan]]) == {"perplexity": None}


def test_texts_can_be_added_in_batches():
    module = measurement("distinct_1")
    module.add_batch(data=[[1, 1]])
    module.add_batch(data=[[1, 2]])
    assert module.compute() == {"distinct_1": 0.75}


def test_bad_names():
    with pytest.raises(ConfigError, match=r"measurement\('rep_5'\): allowed: .*did you mean rep_4"):
        measurement("rep_5")
    with pytest.raises(ConfigError, match=r"compute\(promptid=...\): allowed: .*did you mean prompt_id"):
        measurement("rep_2").compute(data=[[1]], promptid=["a"])
    with pytest.raises(ConfigError, match=r"compute\(prompt_id=...\): has 1 entries for 2 texts"):
        measurement("rep_2").compute(data=[[1], [2]], prompt_id=["a"])
