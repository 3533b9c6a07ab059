"""Mirostat, whose rule follows the text, and XTC, which tosses a coin: states, draws, and independence of the batch."""

import math
import random

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from decodebench.models.tokens import encode
from decodebench.strategies import XTC, Mirostat, Sample, Strategy, Temperature, chain
from engine_runs import PROMPTS, WHOLE, requests_of, run, view_of
from sampler_oracles import at, exclude_top, ordered, softmax


def mirostat_by_hand(
    mirostat: Mirostat, logits_SV: Tensor, noise_SV: Tensor, mu: float
) -> tuple[list[int], list[float]]:
    """Tokens and mu after each step, from the definition: the largest score + noise is the draw."""
    tokens, mus = [], []
    for logits_V, noise_V in zip(logits_SV.tolist(), noise_SV.tolist(), strict=True):
        p = at(softmax(dict(enumerate(logits_V))), mirostat.temperature)
        kept = [token for token in ordered(p) if -math.log2(p[token]) <= mu] or ordered(p)[:1]
        token = max(kept, key=lambda t: logits_V[t] / mirostat.temperature + noise_V[t])
        surprise = -math.log2(p[token] / sum(p[t] for t in kept))
        mu -= mirostat.mirostat_eta * (surprise - mirostat.mirostat_tau)
        tokens.append(token)
        mus.append(mu)
    return tokens, mus


@pytest.mark.parametrize(
    "mirostat",
    [
        Mirostat(mirostat_tau=2.0, mirostat_eta=0.4),
        Mirostat(mirostat_tau=5.0),
        Mirostat(mirostat_tau=0.05, mirostat_eta=1.5, temperature=0.7),  # mu falls below 0: one token is kept
    ],
    ids=lambda mirostat: f"tau {mirostat.mirostat_tau}",
)
def test_mirostat_follows_its_definition(mirostat):
    """40 steps of three rows, over 600 scores; rows need 64 of them, or all."""
    logits_SBV = (
        torch.randn(40, 3, 600, generator=torch.Generator().manual_seed(2)) * torch.tensor([4.0, 1, 2])[:, None]
    )
    state = mirostat.start(3, torch.device("cpu"))
    tokens, mus, noise = [], [], []
    for step, logits_BV in enumerate(logits_SBV):
        view = view_of(logits_BV, [[0] * (step + 1)] * 3)
        moves = mirostat.step(view, state)
        state = moves.state
        tokens.append(moves.emit_B)
        mus.append(state["mu_B"])
        noise.append(view.draws.gumbel_all(600))
    for b in range(3):
        own = mirostat_by_hand(mirostat, logits_SBV[:, b], torch.stack(noise)[:, b], 2 * mirostat.mirostat_tau)
        assert torch.stack(tokens)[:, b].tolist() == own[0]
        assert torch.stack(mus)[:, b].tolist() == pytest.approx(own[1], abs=1e-4)


def test_mirostat_steers_the_surprise():
    """Over 120 steps of one distribution (mean surprise 6.6 bits unsteered) the mean comes near tau, 3 bits."""
    logits_BV = torch.randn(10, 2000, generator=torch.Generator().manual_seed(3)) * 2.5
    mirostat = Mirostat(mirostat_tau=3.0, mirostat_eta=0.2)
    state = mirostat.start(10, torch.device("cpu"))
    for step in range(120):
        state = mirostat.step(view_of(logits_BV, [[0] * (step + 1)] * 10, limit=200), state).state
    # mu moved by eta * (tau - s) at each step: the mean of s is tau less what mu moved in all.
    mean = 3.0 - float((state["mu_B"] - 6.0).mean()) / (0.2 * 120)
    assert mean == pytest.approx(3.0, abs=0.1)


def test_mirostat_knows_as_much_as_it_needs(monkeypatch):
    """Tokens and mu are the same when the whole vocabulary is sorted at once; all equal scores too."""
    logits_BV = (
        torch.randn(6, 5000, generator=torch.Generator().manual_seed(4)) * torch.tensor([6, 3, 2, 1, 0.1, 0.0])[:, None]
    )
    mirostat = Mirostat(mirostat_tau=3.5)
    results = []
    for widths in (chain.WIDTHS, (), (1, 7, 300)):
        monkeypatch.setattr(chain, "WIDTHS", widths)
        moves = mirostat.step(view_of(logits_BV), mirostat.start(6, torch.device("cpu")))
        results.append((moves.emit_B.tolist(), moves.state["mu_B"].tolist()))
    assert results[0] == results[1] == results[2]


# --- in distribution ------------------------------------------------------------------------------------------------

DRAWS = 20_000
FALSE_ALARM = 1e-9


def assert_drawn_from(expected: dict[int, float], tokens: list[int]) -> None:
    """Nothing else was drawn, and each token as often as its binomial allows; the false alarm is shared by all."""
    assert set(tokens) <= set(expected)
    for token, share in expected.items():
        seen = tokens.count(token)
        assert binomtest(seen, len(tokens), min(share, 1.0)).pvalue > FALSE_ALARM / len(expected), (token, share, seen)


LOGITS = [2.0, 1.8, 1.0, 0.0, -0.5, -1.0, -2.0, -2.5]


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_xtc_draws_follow_the_mixture(probability):
    """Of 20,000 draws (samples of one prompt) each token's count is binomial of xtc_probability x the probability
    without the top choices + the rest x the plain one. False alarm: 1e-9. A probability that is off by 0.035 is seen
    with a probability of 0.99 or more.
    """
    xtc = XTC(xtc_probability=probability, xtc_threshold=0.15, temperature=1.2)
    tokens = xtc.step(view_of(torch.tensor([LOGITS]).expand(DRAWS, -1)), {}).emit_B.tolist()
    plain = at(softmax(dict(enumerate(LOGITS))), 1.2)
    without = exclude_top(plain, 0.15)
    assert len(without) == len(plain) - 2, "two of three top choices go"
    mixture = {t: probability * without.get(t, 0.0) + (1 - probability) * plain[t] for t in plain}
    assert_drawn_from({t: share for t, share in mixture.items() if share}, tokens)


def test_mirostat_draws_follow_the_kept_set():
    """Of 20,000 first draws each token's count is binomial of its probability among those of at most 2 tau = 3 bits.
    False alarm: 1e-9; a probability that is off by 0.035 is seen with a probability of 0.99 or more."""
    tokens = (
        Mirostat(mirostat_tau=1.5)
        .step(
            view_of(torch.tensor([LOGITS]).expand(DRAWS, -1)),
            Mirostat(mirostat_tau=1.5).start(DRAWS, torch.device("cpu")),
        )
        .emit_B.tolist()
    )
    p = softmax(dict(enumerate(LOGITS)))
    kept = {t: share for t, share in p.items() if share >= 1 / 8}
    assert len(kept) == 3
    assert_drawn_from({t: share / sum(kept.values()) for t, share in kept.items()}, tokens)


def test_without_the_coin_xtc_draws_what_pure_sampling_draws():
    """The coin has a lane of its own: where it does not fall on XTC, the token is the one of strategy=temperature."""
    logits_BV = torch.tensor([LOGITS]).expand(2000, -1)
    pure = Temperature().step(view_of(logits_BV), {}).emit_B
    mixed = XTC(xtc_probability=0.25, xtc_threshold=0.1).step(view_of(logits_BV), {}).emit_B
    dropped = XTC(xtc_probability=1.0, xtc_threshold=0.1).step(view_of(logits_BV), {}).emit_B
    assert ((mixed == pure) | (mixed == dropped)).all()
    assert (mixed == pure)[pure == 0].any()
    assert (mixed != pure)[pure == 0].any()


# --- in the engine --------------------------------------------------------------------------------------------------

EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
STEERED: dict[str, Strategy] = {
    "mirostat": Mirostat(mirostat_tau=3.0, mirostat_eta=0.5, num_return_sequences=3),
    "mirostat, penalties": Mirostat(repetition_penalty=1.3, num_return_sequences=2),
    "xtc": XTC(xtc_threshold=0.05, num_return_sequences=3),
    "xtc after min_p": Sample(
        top_k=None, top_p=None, min_p=0.02, xtc_probability=0.5, xtc_threshold=0.05, num_return_sequences=2
    ),
}


@pytest.mark.parametrize("max_rows", [1, 5])
def test_the_batch_changes_nothing(tiny_models, max_rows):
    """mu is a row's own and follows it as others end and come; the coin is the request's."""
    loaded = tiny_models["llama"]
    prompts = {name: encode(loaded, PROMPTS[name]) for name in ("ko", "en", "short")}
    requests = requests_of(STEERED, prompts, limit=12, eos_ids=EOS_IDS, seed=5)
    together = run(loaded.model, requests)
    assert together.failures == {}
    assert len({len(tokens) for tokens in together.tokens.values()}) > 1, "no text ended early: the test says little"
    shuffled = random.Random(max_rows).sample(requests, len(requests))
    assert run(loaded.model, shuffled, max_rows=max_rows).tokens == together.tokens
    if max_rows == 1:
        assert run(loaded.model, requests, forward=WHOLE).tokens == together.tokens
