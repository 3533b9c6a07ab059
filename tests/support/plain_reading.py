"""What the tests of reading share: items, and a reading by the plainest means."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from decodebench.models.loading import LoadedModel
from decodebench.reading import Item
from decodebench.records import Reading
from tiny import BOS_ID

CLOSE: dict[str, Any] = {"rel": 1e-4, "abs": 1e-4}
"""Of float32 numbers by other products."""


def item(ids: Sequence[int], prompt: Sequence[int] = (5,), *, prompt_id: str = "p", **changes: Any) -> Item:
    values = {"cell": "c", "sample": 0, "prompt_ids": tuple(prompt), "token_ids": tuple(ids)}
    return Item(prompt_id=prompt_id, **values | changes)


def plainly(loaded: LoadedModel, one: Item) -> Reading:
    """One text by one plain forward pass in float64 sums: softmax, log, and means written out."""
    if not one.scored_ids:
        return Reading(
            cell=one.cell,
            prompt_id=one.prompt_id,
            sample=one.sample,
            scorer="self",
            token_ids=(),
            token_logprobs=(),
            token_entropies=(),
            embedding=(),
            prompt_embedding=(),
        )
    ids = [*one.prompt_ids, *one.token_ids]
    with torch.inference_mode():
        out = loaded.model(torch.tensor([ids]), output_hidden_states=True)
    p_TV = torch.softmax(out.logits[0].double(), -1)
    state = out.hidden_states[-1][0].double()
    first = max(1, len(one.prompt_ids))
    before = state[(1 if one.prompt_ids[:1] == (BOS_ID,) else 0) : len(one.prompt_ids)]
    after = state[len(one.prompt_ids) : len(ids) - one.ending]
    return Reading(
        cell=one.cell,
        prompt_id=one.prompt_id,
        sample=one.sample,
        scorer="self",
        token_ids=tuple(ids[first:]),
        token_logprobs=tuple(float(p_TV[at - 1, ids[at]].log()) for at in range(first, len(ids))),
        token_entropies=tuple(float(-(p * p.log()).sum()) for p in p_TV[first - 1 : len(ids) - 1]),
        embedding=tuple(after.mean(0).tolist()) if len(after) else (),
        prompt_embedding=tuple(before.mean(0).tolist()) if len(before) else (),
    )


def assert_same(found: Reading, expected: Reading) -> None:
    numbers = ("token_logprobs", "token_entropies", "embedding", "prompt_embedding")
    for name in numbers:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), **CLOSE), (found.prompt_id, name)
    none: dict[str, Any] = dict.fromkeys(numbers, ())
    assert replace(found, **none) == replace(expected, **none)
