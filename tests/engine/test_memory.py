"""How many rows fit the memory."""

import pytest

from decodebench.engine import Forward, Request, room
from decodebench.errors import ConfigError
from decodebench.strategies import Beam, Greedy, ModelFacts, Strategy

CACHED = Forward(path="cached", reason="", cache_error=0.0, batch_error=0.0, kv_bytes_per_token=100)
WHOLE = Forward(path="whole sequence", reason="", cache_error=None, batch_error=None)


def request(prompt: int, limit: int, strategy: Strategy | None = None) -> Request:
    return Request(
        cell="c",
        strategy=strategy or Greedy(),
        prompt_id="p",
        prompt_ids=(1,) * prompt,
        sample=0,
        limit=limit,
        seed=0,
        facts=ModelFacts(vocabulary=0),
    )


def fits(*requests: Request, forward: Forward = CACHED, free: int = 10**9, gb: float | None = None, most: int = 256):
    return room(requests, forward, vocabulary=1000, logit_bytes=2, free_bytes=free, memory_gb=gb, max_rows=most)


def test_a_row_is_its_cache_and_its_logits() -> None:
    # the longest request has 20 + 30 columns of 100 bytes; 1,000 logits of 2 bytes and a float32 copy: 5,000 + 6,000
    assert fits(request(20, 30), request(10, 5)).row_bytes == 11_000
    # without a cache the logits of all 50 positions instead: 50 x 1,000 x 2, and the copy of one
    assert fits(request(20, 30), forward=WHOLE).row_bytes == 104_000


def test_a_quarter_of_the_free_memory_by_default() -> None:
    some = fits(request(20, 30), free=44_000 * 10)
    assert (some.max_rows, some.budget_bytes, some.estimated_bytes) == (10, 110_000, 110_000)


def test_memory_gb_replaces_the_share_and_max_rows_bounds_it() -> None:
    assert fits(request(20, 30), gb=0.0011, free=0).max_rows == 100
    assert fits(request(20, 30), gb=0.0011, most=7).max_rows == 7


def test_one_request_is_always_tried_on_little_free_memory() -> None:
    assert fits(request(20, 30, Beam(num_beams=4, num_return_sequences=1)), free=1000).max_rows == 4


def test_too_little_memory_for_one_request_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"engine\.memory_gb=2e-05: one request needs 4 rows .* allowed is 4\.4e-05 or more"
    ):
        fits(request(20, 30, Beam(num_beams=4, num_return_sequences=1)), gb=0.00002)
