"""Random numbers that belong to a request, not to a batch.

Every request has its own stream: the number for (seed, prompt, sample, step, lane, token) is computed, not drawn in
order, so it is the same alone, packed, resumed or on another device. The strategy is no part of the key: strategies
share their random numbers and are compared in pairs.

Each row's key comes from Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011), written on int64 tensors because torch offers no counter-based generator with a key per row; each token's word
from a keyed 32-bit hash.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_MASK32 = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox4x32(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four 32-bit words for a counter of four words and a key of two (int64 tensors that broadcast).

    A product of two 32-bit words overflows int64 by wrapping, which keeps its low 64 bits; the mask after the
    arithmetic shift takes the upper word from them.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        low, high = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((high >> 32) & _MASK32) ^ c1 ^ k0,
            high & _MASK32,
            ((low >> 32) & _MASK32) ^ c3 ^ k1,
            low & _MASK32,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK32, (k1 + _WEYL[1]) & _MASK32
    return c0, c1, c2, c3


def stream_key(seed: int, prompt_ids: Sequence[int]) -> tuple[int, int]:
    """The two key words of a request's stream: a 64-bit hash of the seed and the prompt's token ids."""
    text = f"{seed}:" + ",".join(map(str, prompt_ids))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


@lru_cache(maxsize=256)
def row_words(key: tuple[int, int], sample: int, steps: int) -> Tensor:
    """The words of Philox that key a stream's noise at its first steps (lane 0), int32 [steps, 2].

    Ten rounds are 200 small operations, as many at one step as at all of them: so they are done once for each stream,
    which all strategies share.
    """
    step = torch.arange(steps)
    first, second = _row_words(step, torch.full_like(step, sample), 0, torch.tensor([key]))
    return torch.cat([first, second], dim=1)


class Draws:
    """The random numbers of B rows at one step; `sample_B` and `step_B` are int64 [B], `key_B2` is int64 [B, 2].

    `words_B2`: what `row_words` has for them, where that is known.
    """

    def __init__(self, key_B2: Tensor, sample_B: Tensor, step_B: Tensor, words_B2: Tensor | None = None) -> None:
        self._key_B2 = key_B2
        self._sample_B = sample_B
        self._step_B = step_B
        self._words_B2 = words_B2

    def of_rows(self, rows: Tensor) -> "Draws":
        """The draws of some of the rows (indices or mask)."""
        words_B2 = None if self._words_B2 is None else self._words_B2[rows]
        return Draws(self._key_B2[rows], self._sample_B[rows], self._step_B[rows], words_B2)

    def of_samples(self, sample_B: Tensor) -> "Draws":
        """The draws that the same requests have under other sample indices."""
        return Draws(self._key_B2, sample_B.expand_as(self._step_B), self._step_B)

    def gumbel(self, ids_BK: Tensor, lane: int | Tensor = 0) -> Tensor:
        """Standard Gumbel noise, float32 [B, K], of the given token ids: equal ids get equal noise.

        `lane` is one for all rows, or one for each of them, [B].
        """
        if self._words_B2 is not None and isinstance(lane, int) and lane == 0:
            first, second = self._words_B2[:, :1], self._words_B2[:, 1:]
        else:
            first, second = _row_words(self._step_B, self._sample_B, lane, self._key_B2)
        return _gumbel(_token_word(ids_BK.to(torch.int32), first, second))

    def gumbel_all(self, vocabulary: int, lane: int | Tensor = 0) -> Tensor:
        """Standard Gumbel noise, float32 [B, V], of the whole vocabulary."""
        ids = torch.arange(vocabulary, device=self._step_B.device)
        return self.gumbel(ids.expand(self._step_B.shape[0], -1), lane)


def _row_words(step_B: Tensor, sample_B: Tensor, lane: int | Tensor, key_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Two words of Philox for each row, int32 [B, 1]: the keys of its tokens' noise."""
    zero = torch.zeros_like(step_B)
    counter = (step_B, sample_B, zero + lane, zero)
    first, second, _, _ = philox4x32(counter, (key_B2[:, 0], key_B2[:, 1]))
    return _as_int32(first)[:, None], _as_int32(second)[:, None]


def _as_int32(word: Tensor) -> Tensor:
    """The same 32 bits as a signed int32."""
    return (word - ((word >> 31) << 32)).to(torch.int32)


def _token_word(ids: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A 31-bit word for each token of a row, int32 and not negative.

    Philox over 262,144 tokens takes 13 ms a row; a keyed 32-bit finaliser takes 1. It multiplies and folds twice, with
    the constants of C. Wellons' search for low bias ("Prospecting for hash functions", 2018), and takes one of the
    row's two Philox words before each round.
    """
    word = ids * -1640531527 + first  # 2**32 divided by the golden ratio: neighbouring ids land far apart
    word ^= (word >> 16).bitwise_and_(0xFFFF)
    word *= 0x21F0AAAD
    word ^= (word >> 15).bitwise_and_(0x1FFFF)
    word += second
    word *= -749064809  # 0xD35A2D97 as int32
    word ^= (word >> 15).bitwise_and_(0x1FFFF)
    word >>= 1
    return word.bitwise_and_(0x7FFFFFFF)


def _gumbel(word: Tensor) -> Tensor:
    """Gumbel noise from uniform 31-bit words.

    The exponential is -log1p(-u) with u near 0 exact to 2**-32, so the large Gumbels, which decide the argmax over a
    large vocabulary, keep their resolution in float32.
    """
    minus_uniform = word.to(torch.float32).add_(0.5).mul_(-(2.0**-31)).clamp_min_(2.0**-24 - 1.0)
    return minus_uniform.log1p_().neg_().log_().neg_()  # in place: a whole vocabulary's noise is made over and over
