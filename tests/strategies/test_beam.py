"""Beam search by hand on a model of six words that knows only the last one. Parity with `generate`: test_engine.py."""

import math

import pytest

from chains import END, A, B, C, Chain, D, decoded, ranks
from decodebench.errors import ConfigError
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode
from decodebench.strategies import Beam, Greedy, ModelFacts
from engine_runs import PROMPTS, WHOLE, requests_of, run


def test_beam_finds_what_greedy_misses():
    model = Chain(start={A: 0.5, B: 0.4}, a={C: 0.4, D: 0.3}, b={C: 0.9})
    (greedy,) = ranks(decoded(model, Greedy(), limit=2))
    assert greedy == ((A, C), None)  # 0.5 * 0.4 = 0.2
    best, second = ranks(decoded(model, Beam(num_beams=2, num_return_sequences=2), limit=2))
    assert best == ((B, C), pytest.approx(math.log(0.4 * 0.9) / 2, rel=1e-5))
    assert second == ((A, C), pytest.approx(math.log(0.5 * 0.4) / 2, rel=1e-5))  # A D has 0.5 * 0.3


@pytest.mark.parametrize(
    ("length_penalty", "best"),
    [
        (0.0, (END,)),  # log 0.45 = -0.80 against log(0.54 * 0.8 * 0.95) = log 0.410 = -0.89
        (1.0, (A, B, END)),  # -0.80 / 1 against -0.89 / 3 = -0.30
        (-1.0, (END,)),  # -0.80 against -0.89 * 3
    ],
)
def test_length_penalty_says_how_much_longer_may_be_less_likely(length_penalty, best):
    model = Chain(start={END: 0.45, A: 0.54}, a={B: 0.8}, b={END: 0.95})
    beam = Beam(num_beams=2, num_return_sequences=2, length_penalty=length_penalty, early_stopping=False)
    found = ranks(decoded(model, beam, limit=4, eos_ids=(END,)))
    assert found[0][0] == best
    score = {(END,): math.log(0.45), (A, B, END): math.log(0.54 * 0.8 * 0.95) / 3**length_penalty}
    assert dict(found) == pytest.approx(score, rel=1e-4)


def test_early_stopping_takes_the_first_num_beams_texts_that_end():
    """Two texts have ended after two steps; a third, the likeliest of all per token, would end at the third."""
    model = Chain(start={END: 0.3, A: 0.6}, a={END: 0.3, B: 0.65}, b={END: 0.99})
    found = {}
    for early in (True, False):
        beam = Beam(num_beams=2, num_return_sequences=2, early_stopping=early, length_penalty=1.0)
        found[early] = [text for text, _ in ranks(decoded(model, beam, limit=6, eos_ids=(END,)))]
    # Per token: END log 0.3 = -1.20; A END log 0.18 / 2 = -0.86; A B END log 0.386 / 3 = -0.32.
    assert found == {True: [(A, END), (END,)], False: [(A, B, END), (A, END)]}


def test_min_new_tokens_keeps_texts_going():
    """The end token may follow two others at the earliest, as in transformers."""
    model = Chain(start={END: 0.9, A: 0.05}, a={END: 0.9, B: 0.06}, b={END: 0.9})
    beam = Beam(num_beams=2, num_return_sequences=1, min_new_tokens=2)
    assert ranks(decoded(model, beam, limit=5, eos_ids=(END,)))[0][0] == (A, B, END)


def test_what_a_beam_returns(tiny: LoadedModel) -> None:
    """Different texts, best first, scored by their own log-probs; nothing of the cost is booked twice."""
    forward = WHOLE if tiny.name == "gpt1" else None
    beam = Beam(num_beams=5, num_return_sequences=5, length_penalty=0.7)
    requests = requests_of({"x": beam}, {"p": encode(tiny, PROMPTS["ko"])}, limit=12, eos_ids=(1, 40, 90))
    done = run(tiny.model, requests, **({"forward": forward} if forward else {}))
    outcomes = [done.outcomes[key] for key in sorted(done.outcomes)]
    assert len({outcome.token_ids for outcome in outcomes}) == 5
    for outcome in outcomes:
        assert outcome.score == pytest.approx(sum(outcome.token_logprobs) / len(outcome.token_ids) ** 0.7, rel=1e-4)
    scores = [outcome.score for outcome in outcomes]
    assert scores == sorted(scores, key=lambda score: -float(score or 0))
    assert [outcome.computed_tokens > 0 for outcome in outcomes] == [True] + [False] * 4


def test_a_vocabulary_too_small_for_the_beams():
    Beam(num_beams=200, num_return_sequences=1).check(ModelFacts(vocabulary=400, eos_ids=(1,)))
    with pytest.raises(ConfigError, match=r"^strategy.num_beams=201: needs 402 candidates of a vocabulary of 400; "):
        Beam(num_beams=201, num_return_sequences=1).check(ModelFacts(vocabulary=400, eos_ids=(1,)))
    # With 9 end tokens 10 candidates a beam are needed, so that one that does not end is always among them.
    with pytest.raises(ConfigError, match=r"needs 410 candidates of a vocabulary of 400; allowed is up to 40$"):
        Beam(num_beams=41, num_return_sequences=1).check(ModelFacts(vocabulary=400, eos_ids=tuple(range(9))))
