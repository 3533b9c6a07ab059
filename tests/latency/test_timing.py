"""The timed pass with a fake clock and a fake model, where every number is known, and on tiny real models."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from decodebench.deploy.generate import generation_config_fields
from decodebench.latency.timing import CHOSEN_LAST, NO_STREAM, TimedCall, measure_latency
from decodebench.models.loading import LoadedModel
from decodebench.plan.config import LatencyConfig
from decodebench.strategies import Beam, BestOfN, Greedy, Strategy, TopP
from launches import one_thread
from own_strategies import EveryThirdSecond

STEP_S, PREFILL_S = 0.25, 2.0


threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def no_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before each call is right, and slow in a process as large as this one."""
    monkeypatch.setattr("decodebench.latency.timing.gc.collect", lambda: 0)


@dataclass
class Clock:
    """Time as the fake model spends it."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeModel:
    """Spends PREFILL_S and one STEP_S for each token; notes how it was called."""

    clock: Clock
    calls: list[tuple[list[int], Any]] = field(default_factory=list)

    def generate(
        self, ids: torch.Tensor, *, attention_mask: torch.Tensor, generation_config: Any, stopping_criteria: Any
    ) -> torch.Tensor:
        assert attention_mask.tolist() == [[1] * ids.shape[1]]
        assert torch.is_inference_mode_enabled()
        self.calls.append((ids[0].tolist(), generation_config))
        self.clock.now_s += PREFILL_S
        for token in range(generation_config.max_new_tokens):
            self.clock.now_s += STEP_S
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            assert not stopping_criteria(ids, None).any(), "the time stamp must not stop the text"
        return ids


def call(name: str, strategy: Strategy, prompt_ids: tuple[int, ...] = (5, 6, 7), new_tokens: int = 4) -> TimedCall:
    fields = generation_config_fields(strategy, eos_ids=(), pad_id=0, limit=new_tokens, min_new_tokens=0)
    return TimedCall(cell=f"cell {name}", model="m", strategy=name, prompt_id="p", prompt_ids=prompt_ids, fields=fields)


def timed(calls: list[TimedCall], **numbers: int) -> tuple[FakeModel, list[Any]]:
    model = FakeModel(Clock())
    loaded: Any = SimpleNamespace(model=model, device=torch.device("cpu"))
    config = LatencyConfig(name="c", **{"warmups": 1, "rounds": 3, "prompts": 1, "new_tokens": 4} | numbers)
    return model, measure_latency(loaded, calls, config, clock=model.clock)


def test_the_numbers_of_one_call() -> None:
    _, (first, *_) = timed([call("greedy", Greedy())])
    # The first token is there after the prefill and one step: 2 + 0.25; all four after 2 + 4 x 0.25.
    assert (first.ttft_s, first.e2e_s, first.new_tokens) == (2.25, 3.0, 4)
    assert (first.cell, first.model, first.strategy) == ("cell greedy", "m", "greedy")
    assert (first.prompt_id, first.round) == ("p", 0)
    assert first.ttft_reason is None


def test_each_call_has_its_own_numbers_whatever_came_before_it() -> None:
    """Named regression of other tools: times never cleared between rounds."""
    _, timings = timed([call("greedy", Greedy()), call("top_p", TopP())])
    assert {(t.ttft_s, t.e2e_s) for t in timings} == {(2.25, 3.0)}


def test_rounds_are_interleaved_over_the_strategies_and_warmups_thrown_away() -> None:
    calls = [call("greedy", Greedy(), (1,)), call("top_p", TopP(), (2, 2)), call("beam", Beam(), (3, 3, 3))]
    model, timings = timed(calls, warmups=2, rounds=3)
    assert [len(ids) for ids, _ in model.calls] == [1, 2, 3] * 5
    assert [(t.round, t.strategy) for t in timings] == [(n, s) for n in range(3) for s in ("greedy", "top_p", "beam")]


def test_beam_search_has_no_first_token_and_says_why() -> None:
    _, timings = timed([call("beam", Beam())])
    assert {(t.ttft_s, t.ttft_reason) for t in timings} == {(None, NO_STREAM)}
    assert {t.e2e_s for t in timings} == {3.0}


def test_every_call_ticks() -> None:
    ticks: list[None] = []
    clock = Clock()
    loaded: Any = SimpleNamespace(model=FakeModel(clock), device=torch.device("cpu"))
    config = LatencyConfig(name="c", warmups=1, rounds=3, prompts=1, new_tokens=4)
    measure_latency(loaded, [call("a", Greedy())] * 2, config, clock=clock, tick=lambda: ticks.append(None))
    assert len(ticks) == 2 * (1 + 3)


def test_no_calls_no_timings() -> None:
    assert timed([])[1] == []


def test_the_model_is_called_as_a_user_would_call_it() -> None:
    """With every field of the strategy, and no EOS: texts that end early would be faster, not better."""
    model, _ = timed([call("top_p", TopP(top_p=0.7, repetition_penalty=1.3, min_new_tokens=2))])
    config = model.calls[0][1]
    assert (config.do_sample, config.top_p, config.top_k, config.repetition_penalty) == (True, 0.7, 0, 1.3)
    assert (config.eos_token_id, config.min_new_tokens, config.max_new_tokens) == (None, None, 4)


def test_peak_memory_is_a_number_or_a_reason() -> None:
    _, timings = timed([call("greedy", Greedy())])
    for timing in timings:
        assert (timing.peak_bytes is None) == (timing.peak_reason is not None)
        assert timing.peak_bytes is None or timing.peak_bytes > 1_000_000


def test_no_peak_memory_without_a_way_to_measure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", refused)
    _, timings = timed([call("greedy", Greedy())])
    reason = "the process's peak memory cannot be reset here (Permission denied)"
    assert {(t.peak_bytes, t.peak_reason) for t in timings} == {(None, reason)}


@pytest.mark.parametrize("strategy", [Greedy(), TopP(), Beam(num_beams=3, num_return_sequences=2)])
@pytest.mark.parametrize("arch", ["gpt1", "gemma3"])
def test_a_real_model_makes_exactly_the_tokens_asked_for(
    strategy: Strategy, arch: str, tiny_models: dict[str, LoadedModel]
) -> None:
    loaded = tiny_models[arch]
    config = LatencyConfig(name="c", warmups=1, rounds=3, prompts=1, new_tokens=6)
    fields = generation_config_fields(strategy, eos_ids=(), pad_id=loaded.pad_id, limit=6, min_new_tokens=0)
    one = TimedCall(cell="c", model=arch, strategy="s", prompt_id="p", prompt_ids=(9, 30, 40), fields=fields)
    timings = measure_latency(loaded, [one], config)
    assert [t.new_tokens for t in timings] == [6] * 3
    assert all(t.e2e_s > 0 for t in timings)
    streams = not isinstance(strategy, Beam)
    assert all((t.ttft_s is not None and 0 < t.ttft_s < t.e2e_s) == streams for t in timings)


@pytest.mark.parametrize("strategy", [EveryThirdSecond(eos=[40]), BestOfN(n=3)], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("arch", ["gpt1", "gemma3"])
def test_what_transformers_lacks_is_timed_through_our_engine(
    strategy: Strategy, arch: str, tiny_models: dict[str, LoadedModel]
) -> None:
    """Exactly the tokens asked for, whatever ends its texts; one that chooses at the end has no first token."""
    loaded = tiny_models[arch]
    config = LatencyConfig(name="c", warmups=1, rounds=3, prompts=1, new_tokens=6)
    fields = generation_config_fields(strategy, eos_ids=(), pad_id=loaded.pad_id, limit=6, min_new_tokens=0)
    one = TimedCall(
        cell="c", model=arch, strategy="s", prompt_id="p", prompt_ids=(9, 30, 40), fields=fields, ours=strategy
    )
    timings = measure_latency(loaded, [one], config)
    assert [t.new_tokens for t in timings] == [6] * 3
    if isinstance(strategy, BestOfN):
        assert {(t.ttft_s, t.ttft_reason) for t in timings} == {(None, CHOSEN_LAST)}
    else:
        assert all(t.ttft_reason is None and t.ttft_s is not None and 0 < t.ttft_s < t.e2e_s for t in timings)
