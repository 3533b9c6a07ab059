"""Diverse beam search against a plain one written from the paper, token for token."""

from typing import Any

import pytest

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
from decodebench.strategies import Beam, DiverseBeam, ModelFacts
from engine_runs import requests_of, run

RULES = {
    "one beam each": DiverseBeam(),
    "weak": DiverseBeam(num_beams=4, num_beam_groups=2, num_return_sequences=4, diversity_penalty=0.2),
    "strong": DiverseBeam(num_beams=6, num_beam_groups=3, num_return_sequences=5, diversity_penalty=3.0),
    "exhaustive": DiverseBeam(
        num_beams=6, num_beam_groups=2, num_return_sequences=6, early_stopping=False, length_penalty=0.5
    ),
    "never early": DiverseBeam(
        num_beams=4, num_beam_groups=4, num_return_sequences=4, early_stopping="never", length_penalty=2.0
    ),
    "penalties": DiverseBeam(
        num_beams=4,
        num_beam_groups=2,
        num_return_sequences=3,
        repetition_penalty=1.3,
        no_repeat_ngram_size=2,
        min_new_tokens=4,
    ),
}


def by_hand(strategy: DiverseBeam, read: LogProbs, limit: int, eos_ids: tuple[int, ...]) -> list[tuple[float, Text]]:
    """Vijayakumar et al. 2018, algorithm 1, with the Hamming diversity of section 4: groups choose one after the other,
    each token costs the penalty times the number of beams of earlier groups that chose it at this step."""
    size = strategy.num_beams // strategy.num_beam_groups
    groups = [
        PlainBeam(
            beams=size,
            limit=limit,
            eos_ids=eos_ids,
            penalty=strategy.length_penalty,
            early=strategy.early_stopping,
        )
        for _ in range(strategy.num_beam_groups)
    ]
    while not all(group.over for group in groups):
        chosen: list[int] = []
        for group in groups:
            if group.over:
                continue
            candidates = []
            for score, text in group.running:
                for token, log_prob in enumerate(read(text)):
                    cost = strategy.diversity_penalty * chosen.count(token)
                    candidates.append((score + log_prob - cost, (*text, token)))
            candidates.sort(key=lambda found: -found[0])
            group.advance(candidates[: max(2, 1 + len(eos_ids)) * size])
            chosen += [text[-1] for _, text in candidates if text[-1] not in eos_ids][:size]
    found = [finished for group in groups for finished in group.finished]
    return sorted(found, key=lambda one: -one[0])[: strategy.num_return_sequences]


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_texts_and_scores_by_hand(tiny_models: Any, arch: str) -> None:
    """Six rules; some groups stop long before others."""
    loaded = tiny_models[arch]

    def expected(strategy: DiverseBeam, prompt: Text) -> list[tuple[float, Text]]:
        return by_hand(strategy, log_probs_of(loaded.model, prompt, strategy), LIMIT, EOS_IDS)

    assert_texts_by_hand(loaded, RULES, expected, rel=1e-4)


@pytest.mark.parametrize("rules", [{}, {"early_stopping": False, "length_penalty": 0.3}, {"repetition_penalty": 1.3}])
def test_one_group_is_beam_search(tiny_models, rules):
    loaded = tiny_models["gemma3"]
    rules = {"num_beams": 4, "num_return_sequences": 3} | rules
    both = {"beam": Beam(**rules), "one group": DiverseBeam(num_beam_groups=1, diversity_penalty=0.0, **rules)}
    requests = requests_of(both, prompts_of(loaded, "ko", "en", "ko_long"), limit=LIMIT, eos_ids=EOS_IDS)
    done = run(loaded.model, requests)
    for key, outcome in done.outcomes.items():
        twin = done.outcomes["beam", *key[1:]]
        assert (outcome.token_ids, outcome.score) == (twin.token_ids, twin.score)


@pytest.mark.parametrize(
    ("penalty", "texts"),
    [
        # The first group goes A C. log 0.3 - log 0.5 = -0.51: the second gives up A for a penalty above that.
        (0.4, [(A, C), (A, C)]),  # both C: log 0.9 - 0.4 is far above log 0.02
        (0.6, [(A, C), (B, C)]),  # after B, C has 0.8: 0.6 does not make up for it
    ],
)
def test_two_groups_by_hand(penalty, texts):
    model = Chain(start={A: 0.5, B: 0.3}, a={C: 0.9}, b={C: 0.8})
    strategy = DiverseBeam(num_beams=2, num_beam_groups=2, num_return_sequences=2, diversity_penalty=penalty)
    assert [text for text, _ in ranks(decoded(model, strategy, limit=2))] == texts


def test_a_group_that_has_stopped_rests():
    """The first group goes A END and stops; the second, pushed off A, goes on alone."""
    model = Chain(start={A: 0.6, B: 0.3}, a={END: 0.9}, b={C: 0.9}, c={D: 0.9}, d={A: 0.9})
    strategy = DiverseBeam(num_beams=2, num_beam_groups=2, num_return_sequences=2, diversity_penalty=2.0)
    done = decoded(model, strategy, limit=4, eos_ids=(END,))
    assert {text for text, _ in ranks(done)} == {(A, END), (B, C, D, A)}
    # Without a cache: 1 for the prompt, 2 x 2 for A and B, then the second group's texts of 3 and 4 tokens.
    assert done.outcomes["x", "p", 0, 0].computed_tokens == 1 + 4 + 3 + 4


def test_the_batch_changes_nothing(tiny_models):
    assert_the_batch_changes_nothing(tiny_models["gpt2"], {name: RULES[name] for name in ("strong", "penalties")})


def test_numbers_that_do_not_go_together():
    with pytest.raises(ConfigError, match=r"^strategy.diversity_penalty=1.0: allowed is above 0 \(with "):
        DiverseBeam(num_beam_groups=1)
    with pytest.raises(ConfigError, match=r"num_beam_groups=4: allowed is a divisor of strategy.num_beams=6$"):
        DiverseBeam(num_beams=6, num_return_sequences=6, num_beam_groups=4)


def test_a_vocabulary_too_small_for_the_groups():
    DiverseBeam().check(ModelFacts(vocabulary=2, eos_ids=(1,)))  # groups of one beam need two candidates each
    with pytest.raises(ConfigError, match=r"needs 6 candidates of a vocabulary of 5; allowed is up to 5$"):
        DiverseBeam(num_beams=6, num_beam_groups=2).check(ModelFacts(vocabulary=5, eos_ids=(1,)))
