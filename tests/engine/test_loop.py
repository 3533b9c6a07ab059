"""The packed engine on tiny models of five architectures: the tokens of `model.generate`, whatever runs beside them."""

import math
import random
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, GenerationConfig

from decodebench.engine import Forward, Request, choose_rows
from decodebench.engine.cache import PackedCache
from decodebench.models.loading import LoadedModel
from decodebench.models.properties import vocabulary
from decodebench.models.tokens import encode
from decodebench.strategies import Beam, Greedy, Moves, State, Strategy, Temperature, View
from engine_runs import CACHED, CPU, EVERY_STRATEGY, PROMPTS, WHOLE, Run, generated, requests_of, run

LIMIT = 14
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
"""The model's own and some that come up, so that texts end before the limit too."""

SEARCHES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "greedy, penalties": Greedy(repetition_penalty=1.5, no_repeat_ngram_size=3, min_new_tokens=6),
    "beam": Beam(no_repeat_ngram_size=2),
    "beam, exhaustive": Beam(num_beams=3, num_return_sequences=3, early_stopping=False, length_penalty=0.5),
    "beam, never early": Beam(num_beams=4, num_return_sequences=2, early_stopping="never", length_penalty=2.0),
    "beam, short is good": Beam(num_beams=4, num_return_sequences=1, early_stopping="never", length_penalty=-1.0),
    "beam, penalties": Beam(num_beams=3, num_return_sequences=2, repetition_penalty=1.3, min_new_tokens=6),
}


def ids_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names or PROMPTS}


def forward_of(loaded: LoadedModel) -> Forward:
    """GPT-1 keeps no cache in transformers."""
    return WHOLE if loaded.name == "gpt1" else CACHED


def assert_equal_to_generate(loaded: LoadedModel, done: Run, strategies: dict[str, Strategy], **rules: Any) -> None:
    """Token for token, and the scores of beams, one unpadded prompt at a time there."""
    assert done.failures == {}
    requests = {(o.request.cell, o.request.prompt_id): o.request for o in done.outcomes.values()}
    for (cell, prompt_id), request in requests.items():
        texts, scores = generated(loaded.model, strategies[cell], request.prompt_ids, pad_id=loaded.pad_id, **rules)
        mine = [done.outcomes[cell, prompt_id, 0, rank] for rank in range(strategies[cell].returns)]
        assert [list(outcome.token_ids) for outcome in mine] == texts, (cell, prompt_id)
        if scores is not None:
            assert [outcome.score for outcome in mine] == pytest.approx(scores, rel=1e-4), (cell, prompt_id)


# --- the tokens of transformers -------------------------------------------------------------------------------------


def test_searches_equal_generate(tiny):
    """Seven searches and four prompts, Korean and English, of 2 to 35 tokens, decoded together."""
    done = run(tiny.model, requests_of(SEARCHES, ids_of(tiny), limit=LIMIT, eos_ids=EOS_IDS), forward=forward_of(tiny))
    assert_equal_to_generate(tiny, done, SEARCHES, limit=LIMIT, eos_ids=EOS_IDS)
    lengths = {len(tokens) for tokens in done.tokens.values()}
    assert max(lengths) == LIMIT
    assert min(lengths) < LIMIT, "no text ended early: the test says little"


def test_without_an_end_token_texts_run_to_the_limit(tiny_models):
    loaded = tiny_models["llama"]
    strategies = {"greedy": Greedy(eos="none"), "beam": Beam(num_beams=3, num_return_sequences=3, eos="none")}
    done = run(loaded.model, requests_of(strategies, ids_of(loaded, "ko", "en"), limit=LIMIT))
    assert_equal_to_generate(loaded, done, strategies, limit=LIMIT, eos_ids=())
    assert {len(tokens) for tokens in done.tokens.values()} == {LIMIT}


def test_a_limit_of_one_token(tiny_models):
    loaded = tiny_models["gpt2"]
    strategies = {"greedy": Greedy(), "beam": Beam(num_beams=3, num_return_sequences=3)}
    done = run(loaded.model, requests_of(strategies, ids_of(loaded, "ko", "short"), limit=1, eos_ids=EOS_IDS))
    assert_equal_to_generate(loaded, done, strategies, limit=1, eos_ids=EOS_IDS)
    assert done.rows.forward_passes == 2, "the two prefills: a last token is not fed"


def test_gemma3_beyond_its_sliding_window(tiny_models):
    """Two of its layers look back 8 tokens; texts of up to 35 + 40 tokens, some shorter than the window at first."""
    loaded = tiny_models["gemma3"]
    assert loaded.model.config.sliding_window == 8
    strategies = {"greedy": Greedy(), "beam": Beam(num_beams=3, num_return_sequences=2)}
    done = run(loaded.model, requests_of(strategies, ids_of(loaded), limit=40, eos_ids=(1,)))
    assert_equal_to_generate(loaded, done, strategies, limit=40, eos_ids=(1,))


def test_alibi_positions_survive_the_left_padding():
    """Bloom knows positions only as distances in the mask."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BloomConfig(vocab_size=120, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4)
        model = BloomForCausalLM(config).eval()
    model.generation_config = GenerationConfig(pad_token_id=0)  # as `load` does: the default's EOS would leak
    forward = choose_rows(model, CPU, 120)
    assert forward.path == "cached", forward.reason
    prompts = {"a": (5, 6, 7), "b": tuple(range(20, 40)), "c": (9,)}
    strategies = {"greedy": Greedy(), "beam": Beam(num_beams=3, num_return_sequences=2)}
    done = run(model, requests_of(strategies, prompts, limit=LIMIT), forward=forward)
    for (cell, prompt_id, _, rank), outcome in done.outcomes.items():
        texts, _ = generated(model, strategies[cell], prompts[prompt_id], limit=LIMIT, eos_ids=(), pad_id=0)
        assert list(outcome.token_ids) == texts[rank]


# --- the same request, the same tokens ------------------------------------------------------------------------------


def requests_together(loaded: LoadedModel) -> list[Request]:
    """Every strategy on three prompts, in two halves: those of EVERY_STRATEGY and then those of SEARCHES."""
    rules: dict[str, Any] = {"limit": 10, "eos_ids": EOS_IDS, "seed": 3}
    prompts = ids_of(loaded, "ko", "en", "short")
    return requests_of(EVERY_STRATEGY, prompts, **rules) + requests_of(
        {f"search {name}": search for name, search in SEARCHES.items()}, prompts, **rules
    )


_together: dict[str, Run] = {}


@pytest.fixture
def together(tiny: LoadedModel) -> Run:
    """All of these requests in one batch, decoded once for all tests of an architecture."""
    if tiny.name not in _together:
        _together[tiny.name] = run(tiny.model, requests_together(tiny), forward=forward_of(tiny))
    return _together[tiny.name]


@pytest.mark.parametrize("max_rows", [1, 7])
def test_the_batch_changes_nothing(tiny, together, max_rows):
    """All strategies in one batch, and in narrow ones in another order; 1 row: every request is alone, and each
    strategy has one prompt, they take turns."""
    requests = requests_together(tiny)
    assert together.failures == {}
    assert len(together.outcomes) == sum(request.strategy.returns for request in requests)
    turns = {(cell, ("ko", "en", "short")[turn % 3]) for turn, cell in enumerate(EVERY_STRATEGY)}
    narrow = [r for r in requests if ((r.cell, r.prompt_id) in turns if max_rows == 1 else r.cell in EVERY_STRATEGY)]
    assert {request.cell for request in narrow} == {*EVERY_STRATEGY}
    shuffled = random.Random(max_rows).sample(narrow, len(narrow))
    done = run(tiny.model, shuffled, forward=forward_of(tiny), max_rows=max_rows)
    assert len(done.tokens) == sum(request.strategy.returns for request in narrow)
    assert done.tokens == {key: together.tokens[key] for key in done.tokens}


def test_alone_on_fresh_rows(tiny_models):
    loaded = tiny_models["gemma3"]
    requests = requests_of(EVERY_STRATEGY, ids_of(loaded), limit=10, eos_ids=EOS_IDS)
    together = run(loaded.model, requests)
    for request in random.Random(0).sample(requests, 12):
        for key, tokens in run(loaded.model, [request]).tokens.items():
            assert tokens == together.tokens[key]


@pytest.mark.parametrize("arch", ["gpt2", "gptj", "llama", "gemma3"])
def test_with_and_without_cache(tiny_models, arch):
    loaded = tiny_models[arch]
    requests = requests_of(EVERY_STRATEGY, ids_of(loaded, "ko_long", "en"), limit=10, eos_ids=EOS_IDS)
    assert run(loaded.model, requests, forward=WHOLE).tokens == run(loaded.model, requests, forward=CACHED).tokens


def test_seed_and_sample_change_the_draws(tiny_models):
    loaded = tiny_models["llama"]
    texts = set()
    for seed in (0, 1):
        sampler = {"pure": Temperature(num_return_sequences=3)}
        texts |= set(run(loaded.model, requests_of(sampler, ids_of(loaded, "ko"), limit=8, seed=seed)).tokens.values())
    assert len(texts) == 6


def test_strategies_share_their_random_numbers(tiny_models):
    """Two cells with the same rule draw the same tokens: they are compared in pairs."""
    loaded = tiny_models["llama"]
    done = run(
        loaded.model,
        requests_of({"a": Temperature(), "b": Temperature(max_new_tokens=99)}, ids_of(loaded, "ko"), limit=8),
    )
    assert done.rows.tokens_computed == len(encode(loaded, PROMPTS["ko"])) + 3 * 7, "each row is fed once for both"
    for sample in range(3):
        assert done.tokens["a", "ko", sample, 0] == done.tokens["b", "ko", sample, 0]


# --- log-probs ------------------------------------------------------------------------------------------------------


def teacher_forced(model: Any, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> list[float]:
    """The raw model's log-probs of the tokens in a second forward pass over the whole text."""
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens)[:, None]).squeeze(1).tolist()


def test_logprobs_are_those_of_the_raw_model(tiny, together):
    """Before temperature, truncation and penalties; of every returned text, the tail ranks of beams too."""
    assert together.failures == {}
    for key, outcome in together.outcomes.items():
        expected = teacher_forced(tiny.model, outcome.request.prompt_ids, outcome.token_ids)
        assert list(outcome.token_logprobs) == pytest.approx(expected, rel=1e-4, abs=1e-4), key
        perplexity = math.exp(-sum(outcome.token_logprobs) / len(expected))
        assert perplexity == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-4), key


# --- what is computed -----------------------------------------------------------------------------------------------


def test_a_prompt_is_prefilled_once_and_rows_are_shared(tiny_models):
    loaded = tiny_models["llama"]
    prompts = ids_of(loaded)
    requests = requests_of(EVERY_STRATEGY, prompts, limit=5, eos_ids=EOS_IDS)
    starts = {start for r in requests for start in r.strategy.row_prompts(r.prompt_ids, r.facts)}
    assert starts == {*prompts.values(), *(ids[-1:] for ids in prompts.values())}  # the latter guidance's companions
    for max_rows in (2, 128):
        done = run(loaded.model, requests, max_rows=max_rows)
        assert done.rows.prefills == len(starts)
        assert done.rows.tokens_computed < sum(outcome.computed_tokens for outcome in done.outcomes.values())


@pytest.mark.parametrize("forward", [CACHED, WHOLE], ids=["cached", "whole"])
@pytest.mark.parametrize("name", EVERY_STRATEGY)
def test_computed_tokens_are_those_of_the_request_alone(tiny_models, forward, name):
    loaded = tiny_models["gpt2"]
    requests = requests_of({name: EVERY_STRATEGY[name]}, ids_of(loaded, "ko", "en"), limit=8, eos_ids=EOS_IDS)
    together = run(loaded.model, requests, forward=forward)
    for request in requests:
        alone = run(loaded.model, [request], forward=forward)
        costs = {key: outcome.computed_tokens for key, outcome in alone.outcomes.items()}
        assert costs == {key: together.outcomes[key].computed_tokens for key in costs}
        assert sum(costs.values()) == alone.rows.tokens_computed
        assert [cost > 0 for (_, _, _, rank), cost in costs.items()] == [rank == 0 for _, _, _, rank in costs]


def test_computed_tokens_by_hand(tiny_models):
    """Prompt of P tokens, 5 new ones, no EOS: the prompt is fed, then the first 4 new tokens."""
    loaded = tiny_models["gpt2"]
    prompt = encode(loaded, PROMPTS["en"])
    p = len(prompt)
    strategies = {"greedy": Greedy(), "beam": Beam(num_beams=3, num_return_sequences=2)}
    requests = requests_of(strategies, {"en": prompt}, limit=5)
    cached = run(loaded.model, requests).outcomes
    assert cached["greedy", "en", 0, 0].computed_tokens == p + 4
    assert cached["beam", "en", 0, 0].computed_tokens == p + 3 * 4
    assert cached["beam", "en", 0, 1].computed_tokens == 0, "a search books everything on rank 0"
    whole = run(loaded.model, requests, forward=WHOLE).outcomes
    # Each step feeds the whole text again: P, then P + 1, ..., P + 4.
    assert whole["greedy", "en", 0, 0].computed_tokens == 5 * p + 10
    assert whole["beam", "en", 0, 0].computed_tokens == p + 3 * (4 * p + 10)


def of_limits(prompts: dict[str, tuple[int, ...]], limits: dict[str, int]) -> list[Any]:
    """Greedy requests of one cell, each with its own limit."""
    return [r for name, ids in prompts.items() for r in requests_of({"g": Greedy()}, {name: ids}, limit=limits[name])]


def test_finished_rows_are_dropped(tiny_models):
    loaded = tiny_models["llama"]
    prompts = ids_of(loaded, "ko", "en", "short")
    done = run(loaded.model, of_limits(prompts, {"ko": 3, "en": 5, "short": 9}))
    # A text of n tokens feeds n - 1: all three twice, two of them twice more, the last 8 times in all.
    assert done.steps == [(3, 3), (3, 3), (2, 2), (2, 2), (1, 1), (1, 1), (1, 1), (1, 1), (0, 0)]
    assert [prompt_id for _, prompt_id, _, _ in done.order] == ["ko", "en", "short"]


def test_requests_are_admitted_as_others_finish(tiny_models):
    """Room for two: the third comes in at the step after the first has ended."""
    loaded = tiny_models["llama"]
    prompts = ids_of(loaded, "ko", "en", "short")
    limits = {"ko": 3, "en": 7, "short": 4}
    done = run(loaded.model, of_limits(prompts, limits), max_rows=2)
    # ko: steps 1-3 (fed in 1, 2), en: 1-7 (fed in 1-6), short: 4-7 (fed in 4-6).
    assert done.steps == [(2, 2), (2, 2), (1, 1), (2, 2), (2, 2), (2, 2), (0, 0)]
    assert done.tokens == run(loaded.model, of_limits(prompts, limits)).tokens


def test_a_search_wider_than_the_room_is_decoded_alone(tiny_models):
    loaded = tiny_models["llama"]
    strategies = {"greedy": Greedy(), "beam": Beam(num_beams=5)}
    done = run(loaded.model, requests_of(strategies, ids_of(loaded, "ko", "en"), limit=4), max_rows=3)
    assert max(fed for fed, _ in done.steps) == 5
    assert len(done.outcomes) == 2 * (1 + 5)


def test_no_requests_no_passes(tiny_models):
    done = run(tiny_models["llama"].model, [])
    assert (done.outcomes, done.rows.forward_passes, done.steps) == ({}, 0, [])


# --- the cache's columns --------------------------------------------------------------------------------------------


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What happens to the cache's columns: ("align", from, to) and ("grow", from, to)."""
    seen: list[tuple[str, int, int]] = []
    align, reserve = PackedCache.align, PackedCache.reserve

    def spy_align(self: PackedCache, column: int, rows: int, longest: int) -> None:
        if rows:  # else nothing is moved
            seen.append(("align", self.column, column))
        align(self, column, rows, longest)

    def spy_reserve(self: PackedCache, slots: int, columns: int) -> None:
        before = self.columns
        reserve(self, slots, columns)
        if self.columns > before:
            seen.append(("grow", before, self.columns))

    monkeypatch.setattr(PackedCache, "align", spy_align)
    monkeypatch.setattr(PackedCache, "reserve", spy_reserve)
    return seen


@pytest.mark.parametrize("arch", ["gpt2", "gptj", "llama", "gemma3"])
def test_a_long_prompt_comes_in_late(tiny_models, moves, arch):
    """Two short texts run; when one ends, a prompt longer than the columns in use moves the other to the right."""
    loaded = tiny_models[arch]
    prompts = ids_of(loaded, "short", "en", "ko_long")
    limits = {"short": 4, "en": 12, "ko_long": 9}
    done = run(loaded.model, of_limits(prompts, limits), max_rows=2)
    longest = len(prompts["ko_long"])
    assert [(kind, to) for kind, _, to in moves] == [("align", longest)]
    for name, ids in prompts.items():
        texts, _ = generated(loaded.model, Greedy(), ids, limit=limits[name], eos_ids=(), pad_id=loaded.pad_id)
        assert list(done.tokens["g", name, 0, 0]) == texts[0]


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_columns_that_only_padding_uses_are_dropped(tiny_models, moves, arch):
    """A long prompt ends soon, a short one goes on: it moves to the left when the columns are used up."""
    loaded = tiny_models[arch]
    prompts = ids_of(loaded, "ko_long", "short")
    limits = {"ko_long": 3, "short": 80}
    done = run(loaded.model, of_limits(prompts, limits))
    columns = len(prompts["ko_long"]) + 64  # what the cache starts with
    assert [kind for kind, *_ in moves] == ["align"]
    assert moves[0][1] == columns
    texts, _ = generated(loaded.model, Greedy(), prompts["short"], limit=80, eos_ids=(), pad_id=loaded.pad_id)
    assert list(done.tokens["g", "short", 0, 0]) == texts[0]


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_columns_grow_when_all_are_used(tiny_models, moves, arch):
    loaded = tiny_models[arch]
    prompts = ids_of(loaded, "short")
    strategies = {"greedy": Greedy(), "beam": Beam(num_beams=2, num_return_sequences=1)}
    done = run(loaded.model, requests_of(strategies, prompts, limit=80))
    assert [kind for kind, *_ in moves] == ["grow"]
    assert_equal_to_generate(loaded, done, strategies, limit=80, eos_ids=())


# --- the probe ------------------------------------------------------------------------------------------------------


def test_the_probe_chooses_the_path(tiny):
    forward = choose_rows(tiny.model, CPU, vocabulary(tiny.model))
    if tiny.name == "gpt1":
        assert forward.path == "whole sequence"
        assert forward.reason.startswith("no usable cache: ")
        assert forward.cache_error is None
    else:
        assert forward.path == "cached", forward.reason
        assert forward.cache_error is not None
        assert forward.cache_error < 1e-5
        assert forward.batch_error is not None
        assert forward.batch_error < 1e-5


class ForgetsPositions(torch.nn.Module):
    """A model that takes no position_ids: with left padding its cached positions are wrong."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, past_key_values: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
        return self.model(input_ids=input_ids, past_key_values=past_key_values, attention_mask=attention_mask, **kwargs)


class ForgetsTheMask(ForgetsPositions):
    """A model that looks at the padding too."""

    def forward(self, input_ids: Any, past_key_values: Any = None, position_ids: Any = None, **kwargs: Any) -> Any:
        return self.model(input_ids=input_ids, past_key_values=past_key_values, position_ids=position_ids, **kwargs)


@pytest.mark.parametrize("wrong", [ForgetsPositions, ForgetsTheMask])
def test_a_model_whose_cache_is_not_usable_is_decoded_without(tiny_models, wrong):
    loaded = tiny_models["gpt2"]
    model = wrong(loaded.model)
    forward = choose_rows(model, CPU, vocabulary(loaded.model))
    assert forward.path == "whole sequence"
    assert forward.reason.startswith("cached logits differ from plain ones by ")
    requests = requests_of({"greedy": Greedy()}, ids_of(loaded), limit=8)
    assert run(model, requests, forward=forward).tokens == run(loaded.model, requests).tokens


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def poisoned(tiny_models: dict[str, LoadedModel]) -> Any:
    """The tiny Llama with NaN as the embedding of one token, which is given back; mended afterwards."""
    model = tiny_models["llama"].model
    weight = model.get_input_embeddings().weight
    token = 333
    kept = weight[token].clone()
    with torch.no_grad():
        weight[token] = torch.nan
    yield model, token
    with torch.no_grad():
        weight[token] = kept


@pytest.mark.parametrize("forward", [CACHED, WHOLE], ids=["cached", "whole"])
@pytest.mark.parametrize("max_rows", [2, 128])
def test_nan_in_one_prompt_fails_only_its_cells(poisoned, forward, max_rows):
    """NaN keys and values lie in the cache then: the rows that use their slots later must not see them."""
    model, bad = poisoned
    good = {"a": (5, 6, 7), "b": tuple(range(30, 60)), "c": (9, 10)}
    strategies = {"greedy": Greedy(), "pure": Temperature(), "beam": Beam(num_beams=2, num_return_sequences=2)}
    clean = requests_of(strategies, good, limit=8)
    broken = requests_of({"broken": Temperature()}, good | {"with nan": (5, bad, 7), "d": (11, 12)}, limit=8)
    expected = run(model, clean, forward=forward)
    assert all(bad not in tokens for tokens in expected.tokens.values())
    done = run(model, [*broken[-6:], *clean, *broken[:-6]], forward=forward, max_rows=max_rows)
    assert list(done.failures) == ["broken"]
    assert done.failures["broken"] == "ModelError: the model's logits are NaN or infinite in prompt with nan"
    assert {key: t for key, t in done.tokens.items() if key[0] != "broken"} == expected.tokens
    assert done.rows.count == 0


def test_nan_in_the_middle_of_a_text(poisoned):
    """A cell whose first token is the poisoned one fails at its second; cells that share its prompt do not."""

    class Feeds(Greedy):
        def step(self, view: View, state: State) -> Moves:
            token = torch.full_like(view.physical_B, bad)
            return Moves(parent_B=torch.arange(len(token)), emit_B=token, feed_B=token)

    model, bad = poisoned
    prompts = {"a": (5, 6, 7), "b": (8, 9)}
    done = run(model, requests_of({"feeds": Feeds(), "greedy": Greedy()}, prompts, limit=8))
    assert list(done.failures) == ["feeds"]
    assert done.tokens == run(model, requests_of({"greedy": Greedy()}, prompts, limit=8)).tokens


class RaisesAtItsStart(Greedy):
    def start(self, requests: int, device: torch.device) -> State:
        raise ValueError("on purpose")


class RaisesAtItsEnd(Greedy):
    def ranking(self, state: State, requests: int) -> Any:
        raise ValueError("on purpose")


def fails_alone(loaded: LoadedModel, failing: Strategy, error: type[Exception]) -> None:
    """The cell of the strategy fails, the others write what they write without it."""
    prompts = ids_of(loaded)
    others = {"beam": Beam(num_beams=2, num_return_sequences=2), "pure": Temperature(), "greedy": Greedy()}
    strategies = {"failing": failing, **others}
    done = run(loaded.model, requests_of(strategies, prompts, limit=6), max_rows=4)
    assert list(done.failures) == ["failing"]
    assert done.failures["failing"].startswith(f"{error.__name__}: ")
    assert "on purpose" in done.failures["failing"]
    written = {key: tokens for key, tokens in done.tokens.items() if key[0] != "failing"}
    assert written == run(loaded.model, requests_of(others, prompts, limit=6)).tokens


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, ZeroDivisionError, IndexError, AttributeError])
def test_a_strategy_that_raises_fails_only_its_cell(tiny_models, error):
    class RaisesThis(Greedy):
        def step(self, view: View, state: State) -> Moves:
            if int(view.new_B.max()) == 2:
                raise error("on purpose")
            return super().step(view, state)

    fails_alone(tiny_models["llama"], RaisesThis(), error)


@pytest.mark.parametrize("strategy", [RaisesAtItsStart(), RaisesAtItsEnd()], ids=lambda s: type(s).__name__)
def test_a_strategy_that_raises_elsewhere_fails_only_its_cell(tiny_models, strategy):
    fails_alone(tiny_models["llama"], strategy, ValueError)
