"""Constrained beam search against dynamic beam allocation in plain Python, and what it promises."""

import math
import random
from itertools import pairwise
from typing import Any

import pytest
import torch

from beam_oracles import (
    EOS_IDS,
    LIMIT,
    LogProbs,
    PlainBeam,
    Text,
    assert_texts_by_hand,
    assert_the_batch_changes_nothing,
    log_probs_of,
    prompts_of,
)
from chains import END, A, B, C, Chain, D, decoded, ranks
from decodebench.errors import ConfigError
from decodebench.strategies import Beam, ConstrainedBeam, ModelFacts
from decodebench.strategies.constrained_beam import met_tokens, met_words, next_tokens, places
from engine_runs import requests_of, run, text_as_ids, view_of

Words = list[Text]

RULES = {
    "one": ConstrainedBeam(force_words=["7"]),
    "two of one": ConstrainedBeam(num_beams=3, num_return_sequences=3, force_words=["50", "60"]),
    "a long one": ConstrainedBeam(num_beams=4, num_return_sequences=2, force_words=["30 31 32 33"]),
    "overlapping": ConstrainedBeam(num_beams=6, num_return_sequences=6, force_words=["9 8 9", "8 9 10"]),
    "more tokens than beams": ConstrainedBeam(
        num_beams=2, num_return_sequences=2, force_words=["3 4", "5 6 7", "8"], early_stopping=False
    ),
    "penalties": ConstrainedBeam(
        num_beams=4, num_return_sequences=4, force_words=["11 12"], repetition_penalty=1.3, min_new_tokens=5
    ),
    "never early": ConstrainedBeam(
        num_beams=3, num_return_sequences=1, force_words=["20"], early_stopping="never", length_penalty=2.0
    ),
}


def has(text: Text, word: Text) -> bool:
    return any(text[at : at + len(word)] == word for at in range(len(text)))


def begun(text: Text, word: Text) -> int:
    """How much of a word the text ends with, short of the whole word."""
    return max(n for n in range(len(word)) if n == 0 or text[-n:] == word[:n])


def all_met(text: Text, words: Words) -> bool:
    return all(has(text, word) for word in words)


def met_of(text: Text, words: Words) -> int:
    """Tokens of words that are there, and of one more that is begun."""
    missing = [word for word in words if not has(text, word)]
    return sum(map(len, words)) - sum(map(len, missing)) + max((begun(text, word) for word in missing), default=0)


def allocated(banks: list[int], beams: int, count: int) -> list[int]:
    """The places of each bank, given how many candidates are in it: Post and Vilar 2018, section 3.3."""
    sizes = [beams // count] * count
    sizes[-1] += beams - sum(sizes)
    for _ in range(2):
        for bank in range(count - 1, -1, -1):
            spare = max(0, sizes[bank] - banks.count(bank))
            sizes[bank] -= spare
            sizes[(bank - 1) % count] += spare
    return sizes


def by_hand(
    strategy: ConstrainedBeam, read: LogProbs, words: Words, limit: int, eos_ids: tuple[int, ...]
) -> list[tuple[float, Text]]:
    total, behind = sum(map(len, words)), -1.0e6
    beam = PlainBeam(
        beams=strategy.num_beams,
        limit=limit,
        eos_ids=eos_ids,
        penalty=strategy.length_penalty,
        early=strategy.early_stopping,
    )
    while not beam.over:
        every = {
            (*text, token): score + log_prob
            for score, text in beam.running
            for token, log_prob in enumerate(read(text))
        }
        proposed = sorted(every, key=lambda text: -every[text])[: max(2, 1 + len(eos_ids)) * strategy.num_beams]
        for _, text in beam.running:
            log_probs = read(text)
            proposed.append((*text, log_probs.index(max(log_probs))))
            proposed += [(*text, word[begun(text, word)]) for word in words if not has(text, word)]
        length = len(proposed[0])
        candidates = [
            text
            for text in dict.fromkeys(proposed)
            if every[text] > -math.inf and (all_met(text, words) or text[-1] not in eos_ids)
        ]
        late = {text: total - met_of(text, words) > limit - length for text in candidates}
        candidates.sort(key=lambda text: (late[text], -every[text]))
        left = allocated([met_of(t, words) for t in candidates if not late[t]], strategy.num_beams, total + 1)
        placed = []
        for text in candidates:
            if not late[text] and left[met_of(text, words)] > 0:
                left[met_of(text, words)] -= 1
                placed.append(text)
        order = placed + [text for text in candidates if text not in placed]
        lacks = {text: behind * length**strategy.length_penalty if late[text] else 0.0 for text in order}
        runs_on = [(every[text], text) for text in order if not beam.ends(text)][: strategy.num_beams]
        beam.advance([(every[text] + (lacks[text] if length == limit else 0.0), text) for text in order], runs_on)
    return [(score - behind if score < behind / 2 else score, text) for score, text in beam.finished]


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_texts_and_scores_by_hand(tiny_models: Any, arch: str) -> None:
    """Seven rules; every text has all words."""
    loaded = tiny_models[arch]

    def expected(strategy: ConstrainedBeam, prompt: Text) -> list[tuple[float, Text]]:
        words = [text_as_ids(word) for word in strategy.force_words]
        found = by_hand(strategy, log_probs_of(loaded.model, prompt, strategy), words, LIMIT, EOS_IDS)
        assert all(all_met(text, words) for _, text in found[: strategy.returns])
        return found

    assert_texts_by_hand(loaded, RULES, expected, rel=1e-4)


def test_every_text_has_all_words(tiny_models):
    """40 random lists of words, of up to as many tokens as the limit has; the prompt's own tokens do not count."""
    loaded, chance = tiny_models["gpt2"], random.Random(0)
    (prompt,) = prompts_of(loaded, "en").values()
    rules = {}
    for n in range(40):
        words = [[chance.choice([*prompt, 200, 201, 202])] for _ in range(chance.randint(1, 4))]
        for _ in range(chance.randint(0, LIMIT - 1 - len(words))):
            chance.choice(words).append(chance.choice([200, 201, 202, 203]))
        texts = list(dict.fromkeys(" ".join(map(str, word)) for word in words))
        rules[str(n)] = ConstrainedBeam(num_beams=3, num_return_sequences=3, force_words=texts)
    done = run(loaded.model, requests_of(rules, {"en": prompt}, limit=LIMIT, eos_ids=EOS_IDS))
    assert done.failures == {}
    for (name, *_), tokens in done.tokens.items():
        words = rules[name].force_words
        assert all_met(tokens, [text_as_ids(word) for word in words]), (words, tokens)


def test_a_word_that_nobody_would_say():
    """Beam search never says D. It is put where it costs least: log 0.01 anywhere, and what follows is as likely."""
    model = Chain(start={A: 0.9, D: 0.01}, a={B: 0.9, D: 0.02}, b={END: 0.9, D: 0.03}, d={END: 0.9})
    beam = {"num_beams": 4, "num_return_sequences": 1, "early_stopping": False}
    assert [text for text, _ in ranks(decoded(model, Beam(**beam), limit=6, eos_ids=(END,)))] == [(A, B, END)]
    ((text, score),) = ranks(decoded(model, ConstrainedBeam(force_words=["4"], **beam), limit=6, eos_ids=(END,)))
    assert text == (A, B, D, END)
    assert score == pytest.approx(math.log(0.9 * 0.9 * 0.03 * 0.9) / 4, rel=1e-4)


@pytest.mark.parametrize(("limit", "words"), [(1, ["3 4"]), (3, ["3 4", "2 2"])])
def test_a_limit_that_is_too_short_for_the_words(limit, words):
    """The texts run to the limit, and their scores are the usual ones."""
    model = Chain(start={A: 0.5, B: 0.3}, a={C: 0.6, END: 0.3}, c={D: 0.8})
    strategy = ConstrainedBeam(num_beams=2, num_return_sequences=2, force_words=words)
    done = decoded(model, strategy, limit=limit, eos_ids=(END,))
    for outcome in done.outcomes.values():
        assert len(outcome.token_ids) == limit
        assert END not in outcome.token_ids
        assert outcome.score == pytest.approx(sum(outcome.token_logprobs) / limit, rel=1e-4)


def test_a_limit_with_room_for_nothing_but_the_words():
    """Of the two orders of two words both are found; no third text has both, so the third rank lacks one, likelier
    than the others though it is."""
    model = Chain(start={A: 0.9}, a={A: 0.9}, c={D: 0.1}, d={C: 0.1})
    strategy = ConstrainedBeam(num_beams=3, num_return_sequences=3, force_words=["3", "4"])
    found = ranks(decoded(model, strategy, limit=2))
    assert {text for text, _ in found[:2]} == {(C, D), (D, C)}
    assert not all_met(found[2][0], [(C,), (D,)])
    scores = [score for _, score in found]
    assert scores[2] > scores[0] >= scores[1]


def test_a_word_that_a_penalty_forbids():
    """With no token twice, a word of the prompt cannot come: the texts lack it, run to the limit, and are texts."""
    model = Chain(start={A: 0.5, B: 0.3}, a={B: 0.6}, b={C: 0.5})
    strategy = ConstrainedBeam(num_beams=2, num_return_sequences=2, force_words=["0"], no_repeat_ngram_size=1)
    for text, score in ranks(decoded(model, strategy, limit=3, eos_ids=(END,))):
        assert len(text) == len({*text}) == 3
        assert -10 < score < 0


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("banks", "beams", "picked"),
    [
        ([0, 0, 0, 1, 2], 3, [0, 3, 4]),  # one place for each
        ([0, 0, 0, 0, 0], 3, [0, 1, 2]),  # nobody has met a token
        ([2, 0, 2, 1, 2], 3, [0, 1, 3]),
        ([2, 0, 2, 2, 2], 3, [0, 1, 2]),  # bank 1 gives its place to bank 0, and that to bank 2
        ([0, 1, 1, 2, 2], 5, [0, 1, 2, 3, 4]),
        ([0, 0, 1, 2, 2, 2, 2], 5, [0, 2, 3, 4, 5]),  # 1, 1 and 3: the highest gets what is left over
        ([0, 0, 0, 1], 2, [0, 3]),  # fewer places than banks: all are the highest's; bank 1 has one candidate, then 0
    ],
)
def test_places_by_hand(banks, beams, picked):
    placed = places(torch.tensor([banks]), torch.ones(1, len(banks), dtype=torch.bool), 3, beams)
    assert placed[0].nonzero().flatten().tolist() == picked


def test_without_words_the_places_are_those_of_beam_search():
    """An empty list is an error; with one bank the best candidates have the places."""
    fits = torch.tensor([[True, True, False, True, True]])
    assert places(torch.zeros(1, 5, dtype=torch.int64), fits, 1, 3).tolist() == [[True, True, False, True, False]]


def test_places_are_as_many_as_there_are():
    chance = random.Random(1)
    for _ in range(300):
        banks = [chance.randrange(4) for _ in range(chance.randint(1, 12))]
        beams = chance.randint(1, 9)
        placed = places(torch.tensor([banks]), torch.ones(1, len(banks), dtype=torch.bool), 4, beams)[0]
        assert int(placed.sum()) == min(beams, len(banks))
        sizes = allocated(banks, beams, 4)
        for bank in range(4):
            mine = [bool(placed[at]) for at in range(len(banks)) if banks[at] == bank]
            assert sum(mine) == min(sizes[bank], len(mine))
            assert all(first >= second for first, second in pairwise(mine)), "the best of a bank first"


def test_met_words_by_definition():
    """Random texts of three tokens, so that words overlap in every way, behind prompts of the same tokens."""
    chance = random.Random(2)
    for _ in range(200):
        words = [tuple(chance.choices(range(3), k=chance.randint(1, 4))) for _ in range(chance.randint(1, 3))]
        prompt_length = chance.randint(1, 3)
        prefixes = [chance.choices(range(3), k=prompt_length + chance.randint(0, 6)) for _ in range(3)]
        rows = view_of(torch.zeros(3, 3), prefixes, prompt_length=prompt_length, limit=5)
        more = chance.choices(range(3), k=3)
        for token_B in (None, torch.tensor(more)):
            texts = [tuple(prefix[prompt_length:]) for prefix in prefixes]
            if token_B is not None:
                texts = [(*text, token) for text, token in zip(texts, more, strict=True)]
            has_BW, begun_BW = met_words(words, rows, token_B)
            assert has_BW.tolist() == [[has(text, word) for word in words] for text in texts]
            assert begun_BW.tolist() == [[begun(text, word) for word in words] for text in texts]
            assert met_tokens(words, has_BW, begun_BW).tolist() == [met_of(text, words) for text in texts]
            expected = [[-1 if has(t, word) else word[begun(t, word)] for word in words] for t in texts]
            assert next_tokens(words, has_BW, begun_BW).tolist() == expected


def test_the_batch_changes_nothing(tiny_models):
    names = ("two of one", "more tokens than beams", "penalties")
    assert_the_batch_changes_nothing(tiny_models["gpt2"], {name: RULES[name] for name in names})


FACTS = ModelFacts(vocabulary=400, eos_ids=(1,), encode=text_as_ids)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            {"force_words": ["5", " "]},
            "force_words: ' ' has no tokens for this model; allowed is a text that has some",
        ),
        (
            {"force_words": ["5 6 7"], "bad_words": ["6 7"]},
            "force_words=['5 6 7']: allowed is texts that strategy.bad_words lets come; '5 6 7' is not",
        ),
        ({"force_words": ["5", "400"]}, "force_words: '400' has token 400, the model knows 400"),
        ({"force_words": ["5 1"]}, "force_words=['5 1']: allowed is texts without end tokens; '5 1' has one"),
        (
            {"force_words": ["5 6", "7"], "max_new_tokens": 2},
            "force_words=['5 6', '7']: has 3 tokens; allowed is up to strategy.max_new_tokens=2",
        ),
        ({"num_beams": 201}, "num_beams=201: needs 402 candidates of a vocabulary of 400; allowed is up to 200"),
    ],
)
def test_words_that_do_not_fit_the_model(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ConstrainedBeam(**{"force_words": ["5"], **numbers}).check(FACTS)
    assert str(raised.value) == f"strategy.{message}"


def test_words_that_fit():
    ConstrainedBeam(force_words=["5 6", "7"], max_new_tokens=3).check(FACTS)
    ConstrainedBeam(force_words=["5 6", "7"], max_new_tokens=None, max_total_tokens=9).check(FACTS)
