"""Random numbers that belong to a request: the generator itself, its streams, and the way of drawing."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from torch import Tensor

from decodebench.strategies.step.draws import Draws, _as_int32, _gumbel, _token_word, philox4x32, row_words, stream_key

WORD = st.integers(0, 2**32 - 1)


def words(*values: int) -> list[Tensor]:
    return [torch.tensor([value]) for value in values]


def philox_by_hand(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 from its definition (Salmon et al. 2011, section 3.3), in Python's exact integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        low, high = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(high // 2**32) ^ c[1] ^ k[0], high % 2**32, (low // 2**32) ^ c[3] ^ k[1], low % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def token_word_by_hand(token: int, first: int, second: int) -> int:
    """The keyed finaliser of a token, in Python's exact integers: multiply and fold, modulo 2**32; 31 bits are left."""
    word = (token * 0x9E3779B9 + first) % 2**32
    word ^= word >> 16
    word = word * 0x21F0AAAD % 2**32
    word ^= word >> 15
    word = (word + second) * 0xD35A2D97 % 2**32
    word ^= word >> 15
    return word >> 1


def draws(*, seed: int = 0, prompt: tuple[int, ...] = (1, 2, 3), sample: int = 0, step: int = 0) -> Draws:
    """The draws of one row."""
    return Draws(torch.tensor([stream_key(seed, prompt)]), torch.tensor([sample]), torch.tensor([step]))


def draws_of_samples(samples: int, step: int = 0) -> Draws:
    """The draws of samples 0, 1, ... of one prompt: what `num_return_sequences` asks for."""
    key = torch.tensor([stream_key(7, (5, 6))]).expand(samples, 2)
    return Draws(key, torch.arange(samples), torch.full((samples,), step))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the vectors that Random123 publishes for philox4x32-10 (kat_vectors)
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    assert [int(word) for word in philox4x32(words(*counter), words(*key))] == list(expected)
    assert philox_by_hand(list(counter), list(key)) == list(expected)


@settings(derandomize=True, deadline=None)
@given(counter=st.lists(WORD, min_size=4, max_size=4), key=st.lists(WORD, min_size=2, max_size=2))
def test_philox_is_its_definition(counter, key):
    assert [int(word) for word in philox4x32(words(*counter), words(*key))] == philox_by_hand(counter, key)


@settings(derandomize=True, deadline=None)
@given(token=st.integers(0, 2**20), first=WORD, second=WORD)
def test_token_word_is_its_definition(token, first, second):
    keys = [_as_int32(word) for word in words(first, second)]
    assert int(_token_word(torch.tensor([token], dtype=torch.int32), *keys)) == token_word_by_hand(token, first, second)


def test_noise_is_that_of_the_definition():
    """Step 5, sample 2, lane 1 give the row two words of Philox; token 6 is hashed under them: -log(-log(1 - u))."""
    first, second, _, _ = philox_by_hand([5, 2, 1, 0], list(stream_key(11, (8, 9))))
    u = (token_word_by_hand(6, first, second) + 0.5) / 2**31
    noise = draws(seed=11, prompt=(8, 9), sample=2, step=5).gumbel(torch.tensor([[6]]), lane=1)
    assert float(noise) == pytest.approx(-math.log(-math.log1p(-u)), rel=1e-5)


def test_noise_is_finite_at_both_ends_of_the_words():
    highest, lowest = _gumbel(torch.tensor([0, 2**31 - 1])).tolist()
    # The smallest u is 2**-32: -log(2**-32) = 32 ln 2. The largest float32 below 1 is 1 - 2**-24: -log(24 ln 2).
    assert highest == pytest.approx(32 * math.log(2), rel=1e-5)
    assert lowest == pytest.approx(-math.log(24 * math.log(2)), rel=1e-5)


@settings(derandomize=True, deadline=None)
@given(
    ids=st.lists(st.lists(st.integers(0, 999), min_size=5, max_size=5), min_size=1, max_size=4),
    lane=st.integers(0, 3),
)
def test_noise_of_some_ids_is_that_of_the_whole_vocabulary(ids, lane):
    ids_BK = torch.tensor(ids)
    stream = draws_of_samples(len(ids), step=3)
    assert stream.gumbel(ids_BK, lane).equal(stream.gumbel_all(int(ids_BK.max()) + 1, lane).gather(1, ids_BK))


def test_equal_ids_get_equal_noise():
    noise = draws().gumbel(torch.tensor([[9, 4, 9, 9]]))[0]
    assert noise[0] == noise[2] == noise[3] != noise[1]


def test_streams_differ_by_everything_that_names_them():
    streams = {
        "base": draws(),
        "seed": draws(seed=1),
        "prompt": draws(prompt=(1, 2, 4)),
        "the same digits, cut elsewhere": draws(prompt=(12, 3)),
        "sample": draws(sample=1),
        "step": draws(step=1),
    }
    noise = {name: stream.gumbel_all(64) for name, stream in streams.items()} | {"lane": draws().gumbel_all(64, lane=1)}
    for a, b in combinations(noise, 2):
        assert not (noise[a] == noise[b]).any(), (a, b)


def test_streams_are_the_same_whenever_they_are_asked():
    assert draws(step=4).gumbel_all(100).equal(draws(step=4).gumbel_all(100))


def test_rows_do_not_depend_on_their_neighbours():
    together = draws_of_samples(5)
    alone = draws(seed=7, prompt=(5, 6), sample=3)
    assert together.gumbel_all(50)[3].equal(alone.gumbel_all(50)[0])
    assert together.of_rows(torch.tensor([3, 1])).gumbel_all(50).equal(together.gumbel_all(50)[[3, 1]])


def test_keys_do_not_collide():
    keys = {stream_key(seed, (a, b)) for seed in range(10) for a in range(20) for b in range(20)}
    assert len(keys) == 10 * 20 * 20
    assert all(0 <= word < 2**32 for key in keys for word in key)


# The tests below are statistical. Seeds are fixed, so each always passes or always fails; over random seeds a right
# generator fails one of them with the probability given.


def test_noise_is_gumbel_distributed():
    """Kolmogorov-Smirnov on 20,000 values; false alarm: 1e-6."""
    assert kstest(draws_of_samples(20).gumbel_all(1000).flatten().numpy(), "gumbel_r").pvalue > 1e-6


def test_the_largest_of_a_large_vocabulary_is_gumbel_distributed():
    """The tail decides a draw: the largest of V Gumbels is log V + a Gumbel. 200 rows of 2**17; false alarm: 1e-6."""
    largest = torch.cat([draws_of_samples(20, step).gumbel_all(2**17).amax(-1) for step in range(10)])
    assert kstest((largest - 17 * math.log(2)).numpy(), "gumbel_r").pvalue > 1e-6


def test_neighbours_are_independent():
    """Chi-square of 100,000 pairs of noises in 16 x 16 cells of equal probability: of neighbouring tokens, of tokens
    whose ids differ in one bit, of one token in neighbouring samples, steps and lanes; false alarm: 1e-6 each."""
    base = draws_of_samples(100).gumbel_all(2048)
    high = torch.arange(2048) & 512 > 0
    pairs = {
        "token": (base[:, 0::2], base[:, 1::2]),
        "bit": (base[:, ~high], base[:, high]),
        "sample": (base[0::2], base[1::2]),
        "step": (base, draws_of_samples(100, step=1).gumbel_all(2048)),
        "lane": (base, draws_of_samples(100).gumbel_all(2048, lane=1)),
    }
    for name, pair in pairs.items():
        first, second = (torch.exp(-torch.exp(-x)).mul(16).long().clamp_max(15).flatten() for x in pair)
        seen = torch.bincount((first * 16 + second)[:100_000], minlength=256)
        assert chisquare(seen.numpy()).pvalue > 1e-6, name


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    """Chi-square of 20,000 Gumbel-max draws over 12 tokens; false alarm: 1e-6 each."""
    logits_V = torch.linspace(-1.5, 1.5, 12)
    token = (logits_V / temperature + draws_of_samples(20_000).gumbel_all(12)).argmax(-1)
    seen = torch.bincount(token, minlength=12)
    expected = torch.softmax(logits_V.double() / temperature, -1) * 20_000
    assert chisquare(seen.numpy(), expected.numpy()).pvalue > 1e-6


def test_noise_on_the_logits_changes_almost_no_draw():
    """The gap between the best two of logit + Gumbel is exponential with rate at most 1, so a change of one difference
    by d flips a draw with probability at most d. Two tokens' noises of 1e-5 differ by 1.1e-5 on average: 0.05 flips are
    expected of 4,000 draws; more than 2 have probability 2e-5. (An inverse CDF flips with every boundary that moves.)
    """
    generator = torch.Generator().manual_seed(1)
    logits_BV = torch.randn(4000, 1000, generator=generator) * 3
    noisy_BV = logits_BV + torch.randn(4000, 1000, generator=generator) * 1e-5
    gumbel_BV = draws_of_samples(4000).gumbel_all(1000)
    flips = (logits_BV + gumbel_BV).argmax(-1) != (noisy_BV + gumbel_BV).argmax(-1)
    assert int(flips.sum()) <= 2


def test_each_row_may_have_its_own_lane():
    ids = torch.tensor([[3, 9], [3, 9], [0, 1]])
    of_rows = draws_of_samples(3)
    apart = torch.cat([of_rows.gumbel(ids, lane)[row : row + 1] for row, lane in enumerate((4, 0, 2))])
    assert torch.equal(of_rows.gumbel(ids, torch.tensor([4, 0, 2])), apart)


def test_words_made_ahead_are_those_of_each_step():
    key, ids = stream_key(3, (5, 7)), torch.tensor([[0, 1, 77, 399]])
    ahead = row_words(key, 2, 9)
    for step in range(9):
        own = Draws(torch.tensor([key]), torch.tensor([2]), torch.tensor([step]))
        given = Draws(torch.tensor([key]), torch.tensor([2]), torch.tensor([step]), ahead[step : step + 1])
        assert torch.equal(own.gumbel(ids), given.gumbel(ids))
        assert torch.equal(own.gumbel(ids, lane=1), given.gumbel(ids, lane=1)), "they are of lane 0 alone"
        assert torch.equal(
            own.of_samples(torch.tensor([4])).gumbel(ids), given.of_samples(torch.tensor([4])).gumbel(ids)
        )
        assert torch.equal(own.of_rows(torch.tensor([0])).gumbel(ids), given.of_rows(torch.tensor([0])).gumbel(ids))
