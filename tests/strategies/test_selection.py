"""Choosing among samples: the candidates are those of strategy=sample, and the choice is that of the papers' equations.

The choices are recomputed in plain Python from the samples that strategy=sample returns.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode
from decodebench.plan.config import build_strategy
from decodebench.strategies import (
    MBR,
    BestOfN,
    Greedy,
    ModelFacts,
    Sample,
    SelfConsistency,
    State,
    Strategy,
    View,
)
from decodebench.strategies.selection import Selection, answer
from decodebench.strategies.utilities import chrf, cosine, expected, ngram_f1, of_pairs
from engine_runs import CACHED, PROMPTS, WHOLE, Run, ids_as_text, requests_of, run, view_of
from launches import node_of

LIMIT = 10
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
MANY_EOS_IDS = tuple(range(1, 400, 7))
NUMBERS = {"temperature": 0.75, "top_k": 50, "top_p": 0.95}
FORWARDS = pytest.mark.parametrize("forward", [CACHED, WHOLE], ids=["cached", "whole"])
SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)
TOKENS = st.lists(st.integers(0, 3), max_size=8)

SELECTIONS: dict[str, Selection] = {
    "mean": BestOfN(n=5),
    "sum": BestOfN(n=5, length_penalty=0.0),
    "long": BestOfN(n=4, length_penalty=3.0),
    "chrf": MBR(n=5),
    "words": MBR(n=4, utility="ngram_f1"),
    "tokens": MBR(n=5, utility="ngram_f1", ngram=1),
    "states": MBR(n=5, utility="embedding"),
    "answers": SelfConsistency(n=5),
    "patterns": SelfConsistency(n=5, answer_pattern=r"^(\d)"),  # the first digit of the first token: many agree
}


def ids_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names or PROMPTS}


# --- utilities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "order", "value"),
    [
        # 1-grams: 2 in common of 3 + 3; 2-grams: (1, 2) of 2 + 2
        ([1, 2, 3], [1, 2, 4], 2, (4 / 6 + 2 / 4) / 2),
        # 3-grams, too: none in common of 1 + 1
        ([1, 2, 3], [1, 2, 4], 3, (4 / 6 + 2 / 4 + 0) / 3),
        # the other has one 7 only; there is one 2-gram in both together, and it is not in common
        ([7, 7], [7], 2, (2 / 3 + 0) / 2),
        ([7, 7, 7], [7, 7], 1, 4 / 5),
        # no 2-grams at all: they are left out
        ([5], [5], 2, 1.0),
        ([5], [6], 2, 0.0),
        ([], [], 2, 1.0),
        ([], [5, 6], 2, 0.0),
        ([1, 2], [2, 1], 1, 1.0),
    ],
)
def test_ngram_f1_by_hand(one, other, order, value):
    assert ngram_f1(one, other, order) == pytest.approx(value, abs=1e-15)
    assert ngram_f1(other, one, order) == ngram_f1(one, other, order)


def slow_ngram_f1(one: Sequence[int], other: Sequence[int], order: int) -> float:
    """Precision, recall and their harmonic mean, by crossing out what is found."""
    if list(one) == list(other):
        return 1.0
    values = []
    for k in range(1, order + 1):
        here = [list(one[i : i + k]) for i in range(len(one) - k + 1)]
        there = [list(other[i : i + k]) for i in range(len(other) - k + 1)]
        if not here and not there:
            continue
        left = list(there)
        common = 0
        for gram in here:
            if gram in left:
                left.remove(gram)
                common += 1
        if not common:
            values.append(0.0)
            continue
        precision, recall = common / len(here), common / len(there)
        values.append(2 * precision * recall / (precision + recall))
    return sum(values) / len(values)


@SETTINGS
@given(TOKENS, TOKENS, st.integers(1, 4))
def test_ngram_f1_is_the_slow_one(one, other, order):
    assert ngram_f1(one, other, order) == pytest.approx(slow_ngram_f1(one, other, order), abs=1e-12)


def test_chrf_by_hand():
    """ "cat" for "cats": all 3, 2 and 1 n-grams are found, of 4, 3 and 2; longer ones the hypothesis has none.

    Precision 1, recall (3/4 + 2/3 + 1/2) / 3 = 23/36, F2 = 5 P R / (4 P + R).
    """
    recall = 23 / 36
    assert chrf("cat", "cats") == pytest.approx(100 * 5 * recall / (4 + recall), abs=1e-9)
    # The other way round recall is 1 and precision 23/36 (of the n-grams up to 3 letters): recall weighs more.
    assert chrf("cats", "cat") == pytest.approx(100 * 5 * recall / (4 * recall + 1), abs=1e-9)


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [("", "", 100.0), (" ", "\n", 100.0), ("", "a", 0.0), ("a", "  ", 0.0), ("비", "비", 100.0), ("비", "눈", 0.0)],
)
def test_chrf_of_texts_without_content(one, other, value):
    """sacrebleu gives two empty texts 0; they are the same text."""
    assert chrf(one, other) == pytest.approx(value, abs=1e-9)


def test_cosine_by_hand():
    """(3, 4) and (4, 3): 24 / 25; with (-3, -4): -1 and -24/25. A text without states is only like another such."""
    values = cosine(torch.tensor([[3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [0.0, 0.0], [0.0, 0.0]]))
    expected_values = [
        [1.0, 0.96, -1.0, 0.0, 0.0],
        [0.96, 1.0, -0.96, 0.0, 0.0],
        [-1.0, -0.96, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 1.0, 1.0],
    ]
    for row, wanted in zip(values, expected_values, strict=True):
        assert row == pytest.approx(wanted, abs=1e-7)


def test_expected_utility_leaves_the_text_itself_out():
    assert expected([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]]) == [1.5, 3.5, 5.5]
    # 0.1 + 0.2 + 0.3 depends on the order of the sum; the mean must not
    orders = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1]
    assert len({sum(order) for order in orders}) > 1
    assert len({expected([[0.0, *order]] * 4)[0] for order in orders}) == 1


def test_pairs_of_equal_texts_are_computed_once():
    asked = []

    def utility(one: str, other: str) -> float:
        asked.append((one, other))
        return float(len(one) - 2 * len(other))

    assert of_pairs(["a", "bbb", "a"], utility) == [[-1.0, -5.0, -1.0], [1.0, -3.0, 1.0], [-1.0, -5.0, -1.0]]
    assert len(asked) == 4


# --- answers --------------------------------------------------------------------------------------------------------

NFC, NFD = "사과", unicodedata.normalize("NFD", "사과")


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("3 and 4 make 7.", None, "7"),
        ("It costs 1,234.50 won", None, "1234.50"),
        ("x = -5", None, "-5"),
        ("pages 3-5", None, "5"),
        ("f(2)-1", None, "1"),
        ("1,2,3", None, "3"),
        ("1,2345", None, "2345"),
        ("답은 12입니다.\n감사합니다", None, "12"),
        ("yes\nNo  thanks \n \n", None, "no thanks"),
        (NFD, None, NFC),
        ("", None, None),
        (" \n ", None, None),
        ("The answer is B. Or the answer is C.", r"answer is (\w)", "c"),
        ("The answer is  Blue\tSky", r"answer is.*", "answer is blue sky"),
        ("B: 4", r"A: (\d)|B: (\d)", "4"),
        ("no such thing", r"answer is (\w)", None),
        ("a1b", r"\d*", "1"),  # empty matches behind it are no answers
        (f"답: {NFD}", f"답: ({NFC})", NFC),
        (f"답: {NFC}", f"답: ({NFD})", NFC),
        ("STRASSE", r"\w+", "strasse"),
        ("Straße", r"\w+", "strasse"),
    ],
)
def test_answers(text, pattern, found):
    assert answer(text, pattern) == found


# --- choices by hand ------------------------------------------------------------------------------------------------


def finished(
    texts: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]], words: Sequence[str] = (), eos_id: int = 9
) -> View:
    """The view of one request whose rows have ended; token i says words[i]."""
    longest = max(map(len, texts))
    view = view_of(torch.zeros(len(texts), 10), [[0, *text] for text in texts], limit=longest, eos_ids=[eos_id])
    for row, values in enumerate(logprobs):
        view.logprob_BL[row, 1 : 1 + len(values)] = torch.tensor(values)
    facts = ModelFacts(vocabulary=10, eos_ids=(eos_id,), decode=lambda ids: "".join(words[i] for i in ids))
    return replace(view, facts=facts, physical_B=torch.full((len(texts),), -1))


@pytest.mark.parametrize(
    ("length_penalty", "best", "score"),
    [
        (1.0, 1, -0.75),  # means: -1.0, -0.75 (= -3 / 4), -0.8 (= -1.6 / 2)
        (0.0, 0, -1.0),  # sums: -1.0, -3.0, -1.6
        (0.5, 0, -1.0),  # by square roots: -1.0, -3 / 2, -1.6 / 1.414 = -1.131
        (2.0, 1, -3 / 16),  # by squares: -1.0, -3 / 16, -1.6 / 4 = -0.4
    ],
)
def test_best_of_n_by_hand(length_penalty, best, score):
    view = finished([[9], [1, 2, 3, 9], [1, 9]], [[-1.0], [-0.5, -0.5, -1.0, -1.0], [-0.6, -1.0]])
    chosen, value = BestOfN(n=3, length_penalty=length_penalty).choose(view, {})
    assert (chosen, value) == (best, pytest.approx(score, abs=1e-6))


def test_best_of_equal_samples_is_the_first():
    view = finished([[1, 9], [2, 9], [3, 9]], [[-2.0, -1.0], [-1.0, -1.0], [-1.0, -1.0]])
    assert BestOfN(n=3).choose(view, {}) == (1, -1.0)


@pytest.mark.parametrize(
    ("words", "logprob", "best", "score"),
    [
        (["6", "7", "7", "8"], [-1.0, -3.0, -2.0, -1.5], 2, 2 / 4),  # the majority, in its likelier text
        (["6", "7", "7", "6"], [-1.0, -3.0, -2.0, -4.0], 0, 2 / 4),  # 2 votes each: 6 has the likeliest text
        (["6", "7", "8", "5"], [-4.0, -3.0, -2.0, -2.5], 2, 1 / 4),  # no two agree: the likeliest
        (["7", "6", "6", "7"], [-2.0, -2.0, -2.0, -2.0], 0, 2 / 4),  # nothing decides: the first
        (["7", " ", "", "7"], [-2.0, -1.0, -1.0, -1.9], 3, 2 / 4),  # two have no answer: they do not vote
        (["7", " ", "", "\n"], [-9.0, -1.0, -1.0, -1.9], 0, 1 / 4),  # one vote is more than none
        ([" ", "", "\n", " "], [-3.0, -2.0, -1.0, -1.0], 2, 0.0),  # no answer at all: the likeliest, score 0
        ([NFC, "배", NFD, "감"], [-3.0, -1.0, -2.0, -1.0], 2, 2 / 4),  # Hangul typed in two ways is one answer
    ],
)
def test_self_consistency_by_hand(words, logprob, best, score):
    view = finished([[0, 9], [1, 9], [2, 9], [3, 9]], [[value, value] for value in logprob], words)
    assert SelfConsistency(n=4).choose(view, {}) == (best, score)


def test_self_consistency_takes_the_mean_of_log_probs():
    """Both say 7: -3 / 4 is more than -2 / 2."""
    view = finished([[7, 9], [1, 1, 7, 9]], [[-1.0, -1.0], [-0.5, -0.5, -1.0, -1.0]], [" "] * 7 + ["7"])
    assert SelfConsistency(n=2).choose(view, {}) == (1, 1.0)


def test_mbr_with_ngrams_by_hand():
    """Texts 12, 13, 32 (and the end token, which is no part of them), 1-grams: each two have 1 in common of 2 + 2,
    but 13 and 32 have the 3. All tie at 1/2: the first. With 2-grams too nothing is added: half of it."""
    texts = [[1, 2, 9], [1, 3, 9], [3, 2, 9]]
    view = finished(texts, [[-1.0] * 3] * 3)
    assert MBR(n=3, utility="ngram_f1", ngram=1).choose(view, {}) == (0, 0.5)
    assert MBR(n=3, utility="ngram_f1").choose(view, {}) == (0, 0.25)
    # 123 has (12 + 1 = 2 of 3 + 2) with 12, the same with 23; 12 and 23 have 1 of 2 + 2: (4/5 + 4/5) / 2 for 123
    view = finished([[1, 2, 9], [1, 2, 3, 9], [2, 3, 9]], [[-1.0] * 4] * 3)
    assert MBR(n=3, utility="ngram_f1", ngram=1).choose(view, {}) == (1, pytest.approx(0.8, abs=1e-15))


def test_mbr_with_chrf_by_hand():
    """a, b, ab (no end token: the limit ended them). The others are the references:
    a: of b 0, of ab P 1, R 1/2 of 1-grams: F2 = 5 / 2 / 4.5 = 5/9; b the same. ab: P 1/2, R 1: 5 / 2 / 3 = 5/6."""
    view = finished([[1], [2], [1, 2]], [[-1.0], [-1.0], [-1.0, -1.0]], ["", "a", "b"])
    assert MBR(n=3).choose(view, {}) == (2, pytest.approx(100 * 5 / 6, abs=1e-9))


def test_mbr_of_empty_texts():
    """Two of three ended at once: each is like one of the other two."""
    view = finished([[1, 9], [9], [9]], [[-1.0, -1.0], [-1.0], [-1.0]], ["", "a"])
    for utility, most in (("chrf", 100.0), ("ngram_f1", 1.0), ("embedding", 1.0)):
        state = {"total_BH": torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])}
        assert MBR(n=3, utility=utility).choose(view, state) == (1, most / 2), utility


def test_the_ranking_looks_at_finished_requests_only():
    """Of two requests of 2 rows the second is under way: its texts are not even decoded."""
    decoded: list[Sequence[int]] = []
    view = finished([[1, 9], [2, 9], [3, 9], [4]], [[-2.0, -2.0], [-1.0, -1.0], [-1.0, -1.0], [-1.0]], ["7"] * 9)
    decode = view.facts.decode
    view.facts = replace(view.facts, decode=lambda ids: decoded.append(ids) or decode(ids))  # type: ignore[func-returns-value]
    state = {"ended_B": torch.tensor([True, True, True, False])}
    chosen, score = SelfConsistency(n=2).ranking(view, state)
    assert chosen.tolist() == [[1], [0]]
    assert score is not None
    assert score[0, 0] == 1.0
    assert math.isnan(score[1, 0])
    assert decoded == [(1,), (2,)]


# --- with the engine ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Candidates(BestOfN):
    """Returns all that it draws."""

    @property
    def returns(self) -> int:
        return self.n

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        return torch.arange(self.n).expand(len(view.length_B) // self.n, -1), None


PENALTIES = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "presence_penalty": 0.5, "min_new_tokens": 3}
DRAWS = {
    "plain": Candidates(n=4),
    "pure": Candidates(n=3, temperature=1.2, top_k=None, top_p=None),
    "penalized": Candidates(n=4, top_p=None, **PENALTIES),
    "guided": Candidates(n=3, guidance_scale=2.0),
}


@FORWARDS
@pytest.mark.parametrize("max_rows", [1, 7, 128])
@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_candidates_are_the_samples_of_sample(tiny_models, arch, max_rows, forward):
    """Candidate i has the tokens and log-probs of sample i, in any batch, and they end at different steps."""
    loaded = tiny_models[arch]
    requests = requests_of(DRAWS, ids_of(loaded, "ko", "en", "short"), limit=LIMIT, eos_ids=MANY_EOS_IDS, seed=3)
    done = run(loaded.model, requests, forward=forward, max_rows=max_rows)
    samplers = {cell: rule.rule for cell, rule in DRAWS.items()}
    assert {type(sampler) for sampler in samplers.values()} == {Sample}
    requests = requests_of(samplers, ids_of(loaded, "ko", "en", "short"), limit=LIMIT, eos_ids=MANY_EOS_IDS, seed=3)
    samples = run(loaded.model, requests, forward=forward)
    assert done.failures == samples.failures == {}
    assert done.tokens == {(cell, name, 0, i): tokens for (cell, name, i, _), tokens in samples.tokens.items()}
    for (cell, name, i, _), sample in samples.outcomes.items():
        logprobs = done.outcomes[cell, name, 0, i].token_logprobs
        assert list(logprobs) == pytest.approx(list(sample.token_logprobs), abs=1e-4)
    assert len({len(tokens) for tokens in done.tokens.values()}) > 3, "all end together: the test says little"
    assert len(set(done.tokens.values())) > len(done.tokens) / 2, "few differ: the test says little"


def test_the_rule_has_every_number_that_composes():
    for rule in DRAWS.values():
        for name in (f.name for f in fields(Strategy)):
            assert getattr(rule.rule, name) == getattr(rule, name), name


def test_more_candidates_are_the_same_and_others(tiny_models):
    loaded = tiny_models["llama"]
    rules = {"2": Candidates(n=2), "5": Candidates(n=5)}
    done = run(loaded.model, requests_of(rules, ids_of(loaded, "en"), limit=LIMIT, eos_ids=EOS_IDS))
    assert [done.tokens["2", "en", 0, i] for i in range(2)] == [done.tokens["5", "en", 0, i] for i in range(2)]


def states_of(loaded: LoadedModel, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> list[float] | None:
    """The mean last hidden state of the tokens but the last, in one plain forward pass."""
    if len(tokens) == 1:
        return None
    with torch.inference_mode():
        out = loaded.model(torch.tensor([prompt + tokens[:-1]]), output_hidden_states=True)
    vectors = out.hidden_states[-1][0, len(prompt) :].tolist()
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def slow_cosine(one: list[float] | None, other: list[float] | None) -> float:
    if one is None or other is None:
        return float(one is other)
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def slow_choice(
    rule: Selection,
    loaded: LoadedModel,
    prompt: tuple[int, ...],
    tokens: list[tuple[int, ...]],
    logprobs: list[tuple[float, ...]],
) -> tuple[int, float]:
    """Which candidate is returned, and its score, in loops over the texts."""
    contents = [t[:-1] if t[-1] in EOS_IDS else t for t in tokens]
    means = [sum(values) / len(values) for values in logprobs]
    if isinstance(rule, BestOfN):
        scores = [sum(values) / len(values) ** rule.length_penalty for values in logprobs]
    elif isinstance(rule, SelfConsistency):
        numbers = [ids_as_text(c).split() for c in contents]  # a text is its ids: the last one is the last number
        given = [(n[-1] if rule.answer_pattern is None else n[0][0]) if n else None for n in numbers]
        votes = Counter(g for g in given if g is not None)
        most = max(votes.values(), default=0)
        voters = [i for i, g in enumerate(given) if votes.get(g, 0) == most]
        best = max(voters, key=lambda i: means[i])
        return best, most / rule.n
    else:
        kind = {
            "chrf": lambda i, j: (
                CHRF().sentence_score(ids_as_text(contents[i]), [ids_as_text(contents[j])]).score
                if contents[i] or contents[j]
                else 100.0
            ),
            "ngram_f1": lambda i, j: slow_ngram_f1(contents[i], contents[j], rule.ngram or 2),
            "embedding": lambda i, j: slow_cosine(vectors[i], vectors[j]),
        }[rule.utility]
        if rule.utility == "embedding":
            vectors = [states_of(loaded, prompt, t) for t in tokens]
        scores = [sum(kind(i, j) for j in range(rule.n) if j != i) / (rule.n - 1) for i in range(rule.n)]
    best = next(i for i, score in enumerate(scores) if score > max(scores) - 1e-9)
    return best, scores[best]


def selected(loaded: LoadedModel, **how: object) -> Run:
    """All kinds of selection on all prompts, as one grid."""
    requests = requests_of(SELECTIONS, ids_of(loaded), limit=LIMIT, eos_ids=EOS_IDS, seed=5)
    done = run(loaded.model, requests, layers=(-1,), **how)
    assert done.failures == {}
    return done


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gpt1"])
def test_choices_are_the_slow_ones(tiny_models, arch):
    """GPT-1 has no cache: it is decoded by whole sequences."""
    loaded = tiny_models[arch]
    done = selected(loaded, forward=WHOLE if arch == "gpt1" else CACHED)
    prompts = ids_of(loaded)
    sampler = {"sample": Sample(**NUMBERS, num_return_sequences=5)}
    samples = run(
        loaded.model,
        requests_of(sampler, prompts, limit=LIMIT, eos_ids=EOS_IDS, seed=5),
        forward=WHOLE if arch == "gpt1" else CACHED,
    )
    chosen = set()
    for cell, rule in SELECTIONS.items():
        for name, prompt in prompts.items():
            outcomes = [samples.outcomes["sample", name, i, 0] for i in range(rule.n)]
            best, score = slow_choice(
                rule, loaded, prompt, [o.token_ids for o in outcomes], [o.token_logprobs for o in outcomes]
            )
            outcome = done.outcomes[cell, name, 0, 0]
            assert outcome.token_ids == outcomes[best].token_ids, (cell, name)
            assert outcome.score == pytest.approx(score, rel=1e-4, abs=1e-4), (cell, name)
            chosen.add((name, best))
    assert len(chosen) > 8, "nearly all choose the same: the test says little"


@pytest.mark.parametrize("max_rows", [1, 12])
def test_the_batch_changes_no_choice(tiny_models, max_rows):
    loaded = tiny_models["llama"]
    together, narrow = selected(loaded), selected(loaded, max_rows=max_rows)
    assert narrow.tokens == together.tokens
    for key, outcome in together.outcomes.items():
        assert narrow.outcomes[key].score == pytest.approx(outcome.score, rel=1e-4, abs=1e-5)


def test_choosing_among_samples_that_are_there_costs_nothing(tiny_models):
    """sample alone, and with all selections of its numbers beside it."""
    loaded = tiny_models["llama"]
    prompts = ids_of(loaded, "ko", "en")
    sampler = {"sample": Sample(**NUMBERS, num_return_sequences=5)}
    grid: dict[str, object] = {**sampler, **SELECTIONS}
    alone, beside = (
        run(loaded.model, requests_of(cells, prompts, limit=LIMIT, eos_ids=EOS_IDS), layers=(-1,))
        for cells in (sampler, grid)
    )
    assert beside.failures == {}
    assert beside.rows.tokens_computed == alone.rows.tokens_computed
    assert beside.rows.forward_passes == alone.rows.forward_passes


@pytest.mark.parametrize("name", ["best_of_n", "mbr", "self_consistency"])
def test_the_files_have_the_numbers_of_sample(name):
    """So that a grid of both shares its rows."""
    drawn = build_strategy(node_of(name)).rule
    assert drawn == build_strategy(node_of("sample", num_return_sequences=8))


def test_best_of_one_is_the_first_sample(tiny_models):
    loaded = tiny_models["gpt2"]
    prompts = ids_of(loaded)
    strategies = {"best": BestOfN(n=1, **NUMBERS), "votes": SelfConsistency(n=1), "sample": Sample(**NUMBERS)}
    done = run(loaded.model, requests_of(strategies, prompts, limit=LIMIT, eos_ids=EOS_IDS))
    for name in prompts:
        assert done.tokens["best", name, 0, 0] == done.tokens["votes", name, 0, 0] == done.tokens["sample", name, 0, 0]
        assert done.outcomes["votes", name, 0, 0].score == 1.0


def test_equal_candidates_are_computed_once(tiny_models):
    """With top_k 1 all are greedy's text, a text that costs P prompt tokens and all new ones but the last."""
    loaded = tiny_models["llama"]
    (prompt,) = ids_of(loaded, "ko").values()
    strategies = {"best": BestOfN(n=4, top_k=1), "mbr": MBR(n=4, top_k=1), "greedy": Greedy()}
    done = run(loaded.model, requests_of(strategies, {"ko": prompt}, limit=LIMIT))
    for cell, score in (("best", None), ("mbr", 100.0)):
        outcome = done.outcomes[cell, "ko", 0, 0]
        assert outcome.token_ids == done.tokens["greedy", "ko", 0, 0]
        assert outcome.computed_tokens == len(prompt) + LIMIT - 1
        assert score is None or outcome.score == pytest.approx(score, abs=1e-9)


def test_a_limit_of_one_token(tiny_models):
    """No text is read by the model: all are alike to `embedding`."""
    loaded = tiny_models["llama"]
    prompts = ids_of(loaded, "ko")
    done = run(loaded.model, requests_of(SELECTIONS, prompts, limit=1, eos_ids=EOS_IDS), layers=(-1,))
    assert done.failures == {}
    assert done.outcomes["states", "ko", 0, 0].score == 1.0
    assert {len(tokens) for tokens in done.tokens.values()} == {1}


def test_states_of_a_half_precision_model_are_summed_in_single_precision(tiny_models):
    view = replace(
        view_of(torch.zeros(3, 10), [[0, 1], [0, 2], [0, 3]], limit=5),
        hidden=lambda rows, layer: torch.full((len(rows), 2), 1.0, dtype=torch.bfloat16),
    )
    rule = MBR(n=3, utility="embedding")
    state = rule.start(1, torch.device("cpu")) | {"total_BH": torch.full((3, 2), 256.0)}  # 257 is no bfloat16
    assert rule.step(view, state).state["total_BH"].tolist() == [[257.0, 257.0]] * 3
    assert rule.hidden_layers(view.facts) == (-1,)
    assert MBR(n=3).hidden_layers(view.facts) == ()


def test_texts_without_a_tokenizer_are_an_error(tiny_models):
    loaded = tiny_models["llama"]
    facts = ModelFacts(vocabulary=400)
    strategies = {"votes": SelfConsistency(n=2), "mbr": MBR(n=3), "tokens": MBR(n=3, utility="ngram_f1")}
    done = run(loaded.model, requests_of(strategies, ids_of(loaded, "en"), limit=2, facts=facts))
    assert sorted(done.failures) == ["mbr", "votes"]
    assert "this model has no tokenizer" in done.failures["votes"]
    assert ("tokens", "en", 0, 0) in done.outcomes


def test_transformers_has_none_of_them():
    """What it has is how a candidate is drawn."""
    for rule in SELECTIONS.values():
        assert not rule.in_transformers
        fields = rule.generation_config()
        assert (fields["do_sample"], fields["num_return_sequences"]) == (True, 1)
        assert {key: fields[key] for key in NUMBERS} == NUMBERS


@pytest.mark.parametrize(
    ("kind", "numbers", "message"),
    [
        (BestOfN, {"n": 0}, "strategy.n=0: allowed is 1 or more"),
        (MBR, {"n": 2}, "strategy.n=2: allowed is 3 or more (of two, each would be the other's only judge)"),
        (MBR, {"utility": "bleu"}, "strategy.utility=bleu: allowed is chrf, ngram_f1, or embedding"),
        (
            MBR,
            {"ngram": 2},
            "strategy.ngram=2: allowed is 1 or more with strategy.utility=ngram_f1, null with the others",
        ),
        (
            MBR,
            {"utility": "ngram_f1", "ngram": 0},
            "strategy.ngram=0: allowed is 1 or more with strategy.utility=ngram_f1, null with the others",
        ),
        (
            SelfConsistency,
            {"answer_pattern": "(a"},
            "strategy.answer_pattern=(a: allowed is a regular expression of Python that is not empty, or null "
            "(the last number, else the last line)",
        ),
        (BestOfN, {"temperature": 0.0}, "strategy.temperature=0.0: allowed is above 0"),
        (SelfConsistency, {"top_p": 2.0}, "strategy.top_p=2.0: allowed is above 0, at most 1, or null (off)"),
        (MBR, {"repetition_penalty": 0.0}, "strategy.repetition_penalty=0.0: allowed is above 0 (1: off)"),
        (BestOfN, {"length_penalty": math.inf}, "strategy.length_penalty=inf: allowed is a finite number"),
    ],
)
def test_bad_numbers(kind, numbers, message):
    with pytest.raises(ConfigError) as raised:
        kind(**numbers)
    assert str(raised.value).startswith(message)


@SETTINGS
@given(st.lists(TOKENS, min_size=3, max_size=6))
def test_mbr_of_random_texts_is_the_slow_one(texts):
    """Candidates that repeat, are empty, or have nothing in common; equal means go to the first."""
    view = finished([[*text, 9] for text in texts], [[-1.0] * (len(text) + 1) for text in texts])
    n = len(texts)
    means = [sum(slow_ngram_f1(texts[i], texts[j], 2) for j in range(n) if j != i) / (n - 1) for i in range(n)]
    best, score = MBR(n=n, utility="ngram_f1").choose(view, {})
    assert score == pytest.approx(max(means), abs=1e-12)
    assert best == next(i for i, mean in enumerate(means) if mean > max(means) - 1e-12)
