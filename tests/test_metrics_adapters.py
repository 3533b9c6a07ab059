"""The evaluate modules give what measure() gives, alone and combined, without the hub."""

import math

import evaluate
import pytest

from decodebench.errors import ConfigError
from decodebench.metrics import adapters, measure
from metrics_data import by_name, generation

TEXTS = [[1, 2, 1, 2, 3], [4] * 40, [], [5]]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """evaluate makes a folder for each module, also where nothing is written."""
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))


def test_combined_modules_equal_measure():
    modules = [
        *(adapters.Distinct(n) for n in (1, 2, 3, 4)),
        *(adapters.Repetition(n) for n in (2, 3, 4)),
        adapters.Diversity(),
        adapters.LoopShare(),
    ]
    values = evaluate.combine(modules).compute(data=TEXTS)
    rows = by_name(measure([generation(ids, prompt_id=f"p{i}") for i, ids in enumerate(TEXTS)]))
    assert len(values) == len(modules)
    assert values == {name: pytest.approx(rows[name].value) for name in values}


def test_by_hand():
    # unique / all 2-grams: 3/4 and 1/39, texts without one left out: (0.75 + 1/39) / 2; pooled 1 - 4/43
    combined = evaluate.combine([adapters.Distinct(2), adapters.Repetition(2), adapters.LoopShare()])
    assert combined.compute(data=TEXTS) == {
        "distinct_2": pytest.approx((0.75 + 1 / 39) / 2),
        "rep_2": pytest.approx(1 - 4 / 43),
        "loop_share": 0.25,
    }


def test_perplexity_takes_logprobs():
    # (ln 2 + ln 2 + ln 8) / 3 = 5/3 ln 2
    logprobs = [[math.log(1 / 2), math.log(1 / 2)], [], [math.log(1 / 8)]]
    assert adapters.Perplexity().compute(data=logprobs) == {"perplexity": pytest.approx(2 ** (5 / 3))}


def test_a_value_that_cannot_be_had_is_none():
    assert adapters.Distinct(2).compute(data=[[], [1]]) == {"distinct_2": None}
    assert adapters.Perplexity().compute(data=[[math.nan]]) == {"perplexity": None}


def test_texts_can_be_added_in_batches():
    module = adapters.Distinct(1)
    module.add_batch(data=[[1, 1]])
    module.add_batch(data=[[1, 2]])
    assert module.compute() == {"distinct_1": 0.75}


@pytest.mark.parametrize(("module", "n"), [("Distinct", 0), ("Distinct", 5), ("Repetition", 1)])
def test_n_that_is_not_allowed(module, n):
    with pytest.raises(ConfigError, match=f"{module} n={n}: allowed: [12] to 4"):
        getattr(adapters, module)(n)
