"""A model reads texts that it is given: the numbers of one text at a time, whatever is read beside it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CohereConfig, CohereForCausalLM

from architectures import build
from decodebench.engine import own_head
from decodebench.errors import ModelError, PromptError
from decodebench.models.loading import LoadedModel
from decodebench.reading import Item, prompt_tokens, read_own, read_texts, text_tokens, texts
from decodebench.records import Generation, Reading
from plain_reading import CLOSE, assert_same, item, plainly
from tiny import BOS_ID, CONTEXT_LENGTH, EOS_ID

MIXED = (
    item([7, 30, 12, EOS_ID], [BOS_ID, 40, 41, 42], prompt_id="ended", ending=1),
    item([9], [BOS_ID, 3], prompt_id="one token"),
    item(range(20, 70), [BOS_ID, *range(100, 130)], prompt_id="long"),
    item([60, 61, 62], [44], prompt_id="no bos"),
    item([], [BOS_ID, 44], prompt_id="none"),
    item([70, 71], [BOS_ID], prompt_id="bos alone"),
    item([80, 81, 82], [], prompt_id="no prompt"),
    item([90], [], prompt_id="no prompt, one token"),
)


def read(loaded: LoadedModel, items: Sequence[Item]) -> dict[str, Reading]:
    return {reading.prompt_id: reading for reading in read_texts(loaded, items, scorer="self")}


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_texts_read_together_have_the_numbers_of_each_alone(tiny: LoadedModel) -> None:
    together = read(tiny, MIXED)
    assert together.keys() == {one.prompt_id for one in MIXED}
    for one in MIXED:
        assert_same(together[one.prompt_id], plainly(tiny, one))


@pytest.mark.parametrize(("tokens", "logits"), [(1, 1), (60, 7 * 400), (10**6, 10**9)])
def test_what_is_read_at_once_changes_nothing(
    tiny: LoadedModel, tokens: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(tiny, MIXED)
    monkeypatch.setattr(texts, "_TOKENS", {"cpu": tokens})
    monkeypatch.setattr(texts, "_LOGITS", {"cpu": logits})
    after = read(tiny, MIXED)
    for one in MIXED:
        assert_same(after[one.prompt_id], before[one.prompt_id])


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=1, max_size=6), seed=st.integers(0, 99)
)
def test_any_batch_has_the_numbers_of_each_alone(
    lengths: list[tuple[int, int]], seed: int, tiny_models: dict[str, LoadedModel]
) -> None:
    draw = torch.Generator().manual_seed(seed)
    ids = [torch.randint(3, 300, (a + b,), generator=draw).tolist() for a, b in lengths]
    items = [item(i[a:], i[:a], prompt_id=str(n)) for n, (i, (a, _)) in enumerate(zip(ids, lengths, strict=True))]
    for arch in ("gpt1", "gemma3"):
        found = read(tiny_models[arch], items)
        for one in items:
            assert_same(found[one.prompt_id], plainly(tiny_models[arch], one))


def test_a_head_that_cannot_run_apart(tiny_models: dict[str, LoadedModel]) -> None:
    torch.manual_seed(3)
    size: dict[str, Any] = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 4, "initializer_range": 0.4, "logit_scale": 0.25, "pad_token_id": 0}
    model = CohereForCausalLM(CohereConfig(**size)).eval().requires_grad_(False)
    assert own_head(model, torch.device("cpu"), 400) is None, "its logits are scaled behind the head"
    loaded = replace(tiny_models["llama"], model=model)
    found = read(loaded, MIXED)
    for one in MIXED:
        assert_same(found[one.prompt_id], plainly(loaded, one))


def test_hidden_states_of_another_shape_leave_the_embeddings_out(
    tiny_models: dict[str, LoadedModel], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Gemma 3n's are [2, N, T, H]: N texts of T tokens. What it says of the tokens can be read, and that is said once.

    (By hand: the log-softmax of the model's own logits, one text at a time.)
    """
    loaded = replace(tiny_models["llama"], model=build("Gemma 3n"), name="three n")
    found = read(loaded, MIXED)
    for one in MIXED:
        reading = found[one.prompt_id]
        assert (reading.embedding, reading.prompt_embedding) == ((), ())
        with torch.inference_mode():
            logp_TV = torch.log_softmax(loaded.model(torch.tensor([one.ids])).logits[0].double(), -1)
        expected = [float(logp_TV[at - 1, one.ids[at]]) for at in range(one.start, len(one.ids))]
        assert reading.token_logprobs == pytest.approx(expected, **CLOSE)
    texts = {cell: [generation(cell, ids)] for cell, ids in {"a": (7, 8, 9), "b": (5, 4)}.items()}
    manifest = {
        "cells": [{"id": cell, "model": "m", "prompts": "p"} for cell in texts],
        "failed": [],
        "prompts": {"p": {"template": None}},
    }
    readings = read_own(tmp_path, loaded, manifest, "m", texts)
    assert not readings.unread
    assert [record.message for record in caplog.records] == [
        "scorer.id=self: model type gemma3n_text gives hidden states of shape [2, 2, 7, 32] for 2 texts of 7 tokens; "
        "allowed is [2, 7, width]; its readings have log-probs and entropies, no embeddings"
    ]


def generation(cell: str, ids: tuple[int, ...]) -> Generation:
    return Generation(
        cell=cell,
        model="m",
        strategy=cell,
        seed=0,
        prompt_id="p",
        sample=0,
        prompt="She",
        text="",
        token_ids=ids,
        token_logprobs=(-1.0,) * len(ids),
        finish_reason="length",
        delivered_tokens=len(ids),
        computed_tokens=len(ids),
    )


def test_the_head_runs_apart_where_it_can(tiny: LoadedModel) -> None:
    assert own_head(tiny.model, tiny.device, 400) is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_reads_the_same(tiny: LoadedModel) -> None:
    here = read(tiny, MIXED)
    try:
        device = torch.device("cuda", 0)
        there = read(replace(tiny, model=tiny.model.to(device), device=device), MIXED)
    finally:
        tiny.model.to("cpu")
    for one in MIXED:
        assert_same(there[one.prompt_id], here[one.prompt_id])


# --- what belongs to a text -----------------------------------------------------------------------------------------


def test_an_end_is_scored_but_is_no_part_of_the_embedding(tiny: LoadedModel) -> None:
    ended = item([7, 30, EOS_ID], ending=1)
    found, cut = read(tiny, [ended])["p"], read(tiny, [item([7, 30])])["p"]
    assert found.token_ids == (7, 30, EOS_ID)
    assert found.token_logprobs[:2] == pytest.approx(cut.token_logprobs, **CLOSE)
    assert found.embedding == pytest.approx(cut.embedding, **CLOSE)
    alone = read(tiny, [item([EOS_ID], ending=1)])["p"]
    assert (len(alone.token_logprobs), alone.embedding) == (1, ())


def test_without_prompt_and_bos_the_first_token_is_context() -> None:
    one = item([80, 81, 82], [])
    assert (one.ids, one.start, one.scored_ids) == ((80, 81, 82), 1, (81, 82))


def test_the_prompt_is_encoded_as_for_decoding_and_no_prompt_is_the_bos(tiny_models: dict[str, LoadedModel]) -> None:
    llama, gpt2 = tiny_models["llama"], tiny_models["gpt2"]
    assert prompt_tokens(llama, "She")[0] == BOS_ID
    assert prompt_tokens(gpt2, "She")[0] != BOS_ID
    assert prompt_tokens(llama, "") == prompt_tokens(gpt2, "") == (BOS_ID,)
    assert prompt_tokens(llama, "She", "say {text}") == prompt_tokens(llama, "say She")

    class Bare:
        bos_token_id = None

    assert prompt_tokens(replace(gpt2, tokenizer=Bare()), "") == ()


def test_a_text_has_no_special_tokens(tiny_models: dict[str, LoadedModel]) -> None:
    llama = tiny_models["llama"]
    assert text_tokens(llama, "She") == prompt_tokens(llama, "She")[1:]
    assert text_tokens(llama, "") == ()


# --- what cannot be read --------------------------------------------------------------------------------------------


def test_a_text_longer_than_the_context_names_its_prompt(tiny: LoadedModel) -> None:
    fits = item([5] * (CONTEXT_LENGTH - 1))
    assert len(read(tiny, [fits])["p"].token_ids) == CONTEXT_LENGTH - 1
    message = rf"^scorer.id=self: prompt p has 1 tokens and the text after it {CONTEXT_LENGTH}, more than the 192 of"
    with pytest.raises(PromptError, match=message):
        read(tiny, [item([7]), item([5] * CONTEXT_LENGTH)])


def test_an_infinite_surprisal_stays_and_nan_is_an_error(tiny_models: dict[str, LoadedModel]) -> None:
    gptj = tiny_models["gptj"]  # its head has a bias
    bias = gptj.model.lm_head.bias.data
    kept = bias.clone()
    try:
        bias[77] = -torch.inf
        found = read(gptj, [item([8, 77, 9])])["p"]
        assert [p == -torch.inf for p in found.token_logprobs] == [False, True, False]
        assert all(0 < entropy < 6 for entropy in found.token_entropies)  # log(400) = 5.99
        bias[78] = torch.nan
        with pytest.raises(ModelError, match=r"logits of gptj are NaN or infinite in prompt p$"):
            read(gptj, [item([8, 9])])
    finally:
        bias.copy_(kept)


def test_half_as_many_texts_where_memory_runs_out(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(tiny, MIXED)
    done: list[int] = []
    whole = texts._Reader._pass

    def small(self: Any, items: Sequence[Item]) -> list[Reading]:
        done.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("of the test")
        return whole(self, items)

    monkeypatch.setattr(texts._Reader, "_pass", small)
    after = read(tiny, MIXED)
    assert max(done) > 2
    for one in MIXED:
        assert_same(after[one.prompt_id], before[one.prompt_id])

    def none(self: Any, items: Sequence[Item]) -> list[Reading]:
        raise MemoryError

    monkeypatch.setattr(texts._Reader, "_pass", none)
    with pytest.raises(ModelError, match=r"^out of memory while \w+ read prompt p and its text \(3 tokens\)$"):
        read(tiny, [item([7, 8])])


def test_ticks_are_the_tokens_fed(tiny: LoadedModel) -> None:
    ticks: list[int] = []
    assert len([*read_texts(tiny, MIXED, scorer="self", tick=ticks.append)]) == len(MIXED)
    assert sum(ticks) == sum(len(one.ids) for one in MIXED if one.scored_ids)
    assert [*read_texts(tiny, [], scorer="self")] == []
