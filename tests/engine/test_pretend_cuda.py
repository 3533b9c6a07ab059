"""The engine on a pretended GPU: no tensors of two devices meet, the texts are a CPU's, the host waits once a step."""

import gc
import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch

import tiny
from decodebench.engine import Decoder, Forward, choose_rows
from decodebench.engine.graphs import padded_rows
from decodebench.engine.head import OwnHead
from decodebench.models.loading import LoadedModel
from decodebench.reading import read_texts
from decodebench.strategies import Greedy, MinP, Sample, Strategy, Temperature, TopP, Typical
from decodebench.strategies.step.scores import Scores
from decodebench.strategies.step.stops import StopStrings
from decodebench.strategies.step.waits import Questions, true_or_all, upload
from engine_runs import CPU, EVERY_STRATEGY, PROMPTS, Run, requests_of, run
from plain_reading import assert_same, item
from pretend_cuda import CUDA, PretendCuda, pretend_cuda

FORWARD = Forward(path="cached", reason="chosen by the test", cache_error=None, batch_error=None, own_head=True)
ARCHS = ("gptj", "llama", "gemma3")
LIMIT = 7


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendCuda]:
    with pretend_cuda(monkeypatch) as mode:
        yield mode


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Built before any device is pretended: the modules are imported then."""
    return {arch: build(arch) for arch in ARCHS}


def build(arch: str) -> Any:
    torch.manual_seed(1)
    return tiny.build_model(arch, 400).eval()


PROMPT_IDS = {name: tuple(3 + (7 * i + len(name)) % 390 for i in range(4 + len(name))) for name in PROMPTS}


def decoded(model: Any, strategies: dict[str, Strategy], device: torch.device = CPU, **options: Any) -> Run:
    return run(model, requests_of(strategies, PROMPT_IDS, limit=LIMIT, eos_ids=(1,)), device=device, **options)


class Steps:
    """The waits of each step of the loop."""

    def __init__(self, mode: PretendCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[list[str]] = []
        feeds = Decoder._feeds

        def noted(decoder: Decoder) -> Any:
            before = len(mode.waits)
            found = feeds(decoder)
            self.waits.append(mode.waits[before:])
            return found

        monkeypatch.setattr(Decoder, "_feeds", noted)


# ------------------------------------------------------------------------------------------------ the pretended device


def test_what_the_pretended_device_sees(gpu: PretendCuda) -> None:
    there = torch.arange(6, device=CUDA)
    assert there.device == CUDA
    assert gpu.waits == []
    assert bool((there + 1).sum() == 21)
    assert there.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(gpu.waits) == 2
    with pytest.raises(RuntimeError, match="tensors of the CPU and of the device"):
        _ = there + torch.arange(6)
    before = len(gpu.waits)
    _ = torch.tensor([1, 2], device=CUDA)
    _ = there[there > 2]
    _ = (there > 2).nonzero()
    assert len(gpu.waits) == before + 3
    assert upload([1, 2], CUDA).device == CUDA
    assert len(gpu.waits) == before + 3


def test_a_pretended_graph_runs_again_on_new_numbers(gpu: PretendCuda) -> None:
    source = torch.ones(3, device=CUDA)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        total = (source * 2).sum()
        with pytest.raises(RuntimeError, match="not permitted while a graph is captured"):
            total.item()
    source.fill_(5.0)
    graph.replay()
    assert total.item() == 30


# ---------------------------------------------------------------------------------------------------- what waits for it


def test_questions_are_left_open_and_answered_together(gpu: PretendCuda) -> None:
    questions = Questions.first(CUDA)
    assert questions.all_true(torch.tensor([True, True], device=CUDA))
    assert questions.all_true(torch.tensor([True, False], device=CUDA))
    before = len(gpu.waits)
    answer = questions.answer(CUDA)
    assert len(gpu.waits) == before
    assert not bool(answer)
    assert Questions.first(CUDA).widths((64, 1024, 4096), 3000) == [1024, 3000]


def test_on_a_cpu_questions_are_answered_at_once() -> None:
    questions = Questions.first(CPU)
    assert not questions.all_true(torch.tensor([True, False]))
    assert bool(questions.answer(CPU))
    assert questions.widths((64, 1024, 4096), 3000) == [64, 1024, 3000]
    assert true_or_all(torch.tensor([False, True, True])).tolist() == [1, 2]


@pytest.mark.parametrize("arch", ["gptj", "gemma3"])
def test_every_strategy_writes_what_it_writes_on_a_cpu(gpu, monkeypatch, models, arch) -> None:
    """Rotary tables on the device, sliding windows; captured steps below have what llama does."""
    prompts = {name: PROMPT_IDS[name] for name in ("ko", "ko_long")}
    requests = requests_of(EVERY_STRATEGY, prompts, limit=LIMIT, eos_ids=(1,))
    here = run(models[arch], requests, forward=FORWARD)
    steps = Steps(gpu, monkeypatch)
    there = run(gpu.put(build(arch)), requests, device=CUDA, forward=FORWARD)
    assert here.failures == there.failures == {}
    assert there.tokens == here.tokens
    assert len(steps.waits) >= LIMIT
    # At the first step words are turned into ids.
    assert all(len(waits) == 1 for waits in steps.waits[1:]), steps.waits


def wide(flat: bool) -> Any:
    """Of 6000 tokens: nearly equally likely (`flat`: the largest 1024 are not enough), or a few have it all."""
    torch.manual_seed(2)
    model = tiny.build_model("llama", 6000).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(0.05 if flat else 4.0)
    return model


@pytest.mark.parametrize("flat", [True, False])
def test_a_step_that_was_not_sure_is_taken_again(gpu, monkeypatch, flat) -> None:
    strategies = {
        "top_p": TopP(top_p=0.95, num_return_sequences=2),
        "typical": Typical(num_return_sequences=2),
        "min_p": MinP(min_p=0.9, num_return_sequences=2),
        "penalty": Sample(top_p=0.99, top_k=None, repetition_penalty=1.5, num_return_sequences=2),
        "all": Temperature(num_return_sequences=2),
    }
    plain = Forward(path="cached", reason="chosen by the test", cache_error=None, batch_error=None)
    here = decoded(wide(flat), strategies, forward=plain)
    steps = Steps(gpu, monkeypatch)
    there = decoded(gpu.put(wide(flat)), strategies, CUDA, forward=plain)
    assert there.failures == {}
    assert there.tokens == here.tokens
    more = [len(waits) > 1 for waits in steps.waits]
    assert any(more) == flat
    # Who was not sure looks at more from then on: in the end nobody asks twice.
    assert not any(more[4:])


def test_rows_that_are_not_numbers_fail_their_cells_alone(gpu, models) -> None:
    """The prompt with token 399 gets NaN: on the device that is found after the strategies have answered."""
    model = gpu.put(build("llama"))
    model.get_input_embeddings().weight.elem[399] = torch.nan
    requests = requests_of({"poisoned": TopP(num_return_sequences=1)}, {"bad": (5, 399, 7)}, limit=LIMIT) + requests_of(
        {"sound": TopP(num_return_sequences=2)}, {"good": (5, 9, 7)}, limit=LIMIT
    )
    there = run(model, requests, device=CUDA, forward=FORWARD)
    assert set(there.failures) == {"poisoned"}
    assert "NaN or infinite in prompt bad" in there.failures["poisoned"]
    assert [len(ids) for ids in there.tokens.values()] == [LIMIT, LIMIT]


def test_the_head_runs_apart_on_a_device_without_a_number(gpu) -> None:
    """A user says `cuda`, and a weight says `cuda:0`."""
    with torch.inference_mode():
        head = OwnHead(gpu.put(build("llama")), torch.device("cuda"))
        assert head.logits(torch.ones(3, 48, device=CUDA)).shape == (3, 400)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_scorer_reads_there_what_it_reads_on_a_cpu(gpu, tiny_models: dict[str, LoadedModel], arch: str) -> None:
    items = [item([7, 30, 12, 1], [3, 40, 41, 42], prompt_id="ended", ending=1), item([9], [5], prompt_id="short")]
    loaded = tiny_models[arch]
    here = list(read_texts(loaded, items, scorer="self"))
    there = replace(loaded, model=gpu.put(deepcopy(loaded.model)), device=CUDA)
    for one, other in zip(read_texts(there, items, scorer="self"), here, strict=True):
        assert_same(one, other)


# ------------------------------------------------------------------------------------------------------ captured steps

CAPTURED = ("greedy", "beam", "top_p", "contrastive_search", "guidance", "stochastic_beam")


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_captured_steps_write_the_same(gpu, monkeypatch, models, arch) -> None:
    """Prompts of 4 to 60 tokens, so that shapes change, rows come in late, and Gemma's windows of 8 are passed."""
    strategies = {name: EVERY_STRATEGY[name] for name in CAPTURED}
    prompts = PROMPT_IDS | {"long": tuple(range(3, 63))}
    requests = requests_of(strategies, prompts, limit=16, eos_ids=(1,))
    here = run(models[arch], requests, max_rows=24)
    model = gpu.put(build(arch))
    forward = choose_rows(model, CUDA, 400)
    assert forward.graphs, forward.graphs_reason
    gpu.replays = 0
    steps = Steps(gpu, monkeypatch)
    there = run(model, requests, forward=forward, device=CUDA, max_rows=24)
    assert here.failures == there.failures == {}
    assert there.tokens == here.tokens
    assert gpu.replays > there.rows.forward_passes // 2
    assert max(map(len, steps.waits)) == 1
    assert there.rows.forward_passes == here.rows.forward_passes
    assert there.rows.tokens_computed == here.rows.tokens_computed


def test_captured_steps_survive_a_cache_that_moves(gpu, models) -> None:
    """Buffers grow in rows and in columns: graphs that write to the old ones must not be used again."""
    strategies: dict[str, Strategy] = {"all": Temperature(num_return_sequences=9)}
    requests = requests_of(strategies, {"a": (5, 9, 2)}, limit=80)
    here = run(models["llama"], requests)
    model = gpu.put(build("llama"))
    there = run(model, requests, forward=choose_rows(model, CUDA, 400), device=CUDA)
    assert there.tokens == here.tokens
    assert gpu.replays > 60


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (lambda hidden: hidden if hidden.sum().item() else -hidden, "steps cannot be captured: .*not permitted"),
        (lambda hidden: hidden * next(FACTORS), "captured steps differ by "),
    ],
)
def test_a_model_that_cannot_be_captured_is_run_as_it_is(gpu, fault, why) -> None:
    """Of the first the host reads a number, the second is not the same from call to call: a graph would keep it so."""
    global FACTORS
    FACTORS = iter([1.0] * 1000)
    model = gpu.put(build("llama"))
    model.model.norm.register_forward_hook(lambda module, args, out: fault(out))
    plain = choose_rows(model, CUDA, 400, cuda_graphs=False)
    assert (plain.path, plain.graphs, plain.graphs_reason) == ("cached", False, "engine.cuda_graphs=false")
    if "differ" in why:
        calls = 1000 - len(list(FACTORS))
        FACTORS = iter([1.0] * (calls + 3) + [1.5] * 1000)
    forward = choose_rows(model, CUDA, 400)
    assert forward.path == "cached"
    assert not forward.graphs
    assert re.match(why, forward.graphs_reason), forward.graphs_reason


def failing_capture(fault: Exception) -> Any:
    """`torch.cuda.graph` that breaks off, with an error of its own on top, as CUDA's has."""

    @contextmanager
    def capture(graph: Any, **options: Any) -> Iterator[None]:
        try:
            yield
            raise fault
        finally:
            raise RuntimeError("capture was invalidated")

    return capture


@pytest.mark.parametrize("fault", [RuntimeError("no"), torch.OutOfMemoryError("full")])
def test_a_capture_that_fails_in_the_middle_changes_no_text(gpu, monkeypatch, models, fault) -> None:
    requests = requests_of({"all": Temperature(num_return_sequences=3)}, {"a": (5, 9, 2)}, limit=12)
    here = run(models["llama"], requests)
    model = gpu.put(build("llama"))
    forward = choose_rows(model, CUDA, 400)
    gpu.replays = 0
    back: list[object] = []
    monkeypatch.setattr(torch.cuda, "graph", failing_capture(fault))
    monkeypatch.setattr(torch.cuda, "set_stream", back.append)
    there = run(model, requests, forward=forward, device=CUDA)
    assert there.rows.capture_failure == "capture was invalidated"
    assert back == ["the stream"], "the step after it runs where the others do"
    assert gpu.replays == 0
    assert there.tokens == here.tokens


def test_rows_are_let_go_of_at_once(gpu) -> None:
    """Their cache is most of a GPU's memory, and the next rows are made right after them: no cycle may hold it."""
    model = gpu.put(build("llama"))
    forward = choose_rows(model, CUDA, 400)
    gc.disable()
    try:
        done = run(model, requests_of({"greedy": Greedy()}, {"a": (5, 9, 2)}, limit=9), forward=forward, device=CUDA)
        cache = weakref.ref(done.rows._cache)
        assert cache() is not None
        del done
        assert cache() is None
    finally:
        gc.enable()


def test_a_cache_grows_once_to_what_a_captured_step_needs(gpu) -> None:
    """From 8 slots to the 24 of a step of 21 rows: not to 21 first, and then to twice as many."""
    rows = choose_rows(model := gpu.put(build("llama")), CUDA, 400).make_rows(model, CUDA)
    with torch.inference_mode():
        at = rows.admit(rows.prefill([(5, 9, 2)]))
        rows.advance(at * 21, list(range(3, 24)))
    assert rows._cache.slots == padded_rows(21) == 24


def test_shapes_are_rounded_up() -> None:
    assert [padded_rows(n) for n in (1, 8, 9, 100, 129, 500, 512, 513)] == [8, 8, 16, 104, 144, 512, 512, 576]


FACTORS: Any = iter(())


def test_what_rules_ask_of_scores_waits_for_nothing(gpu) -> None:
    scores = Scores(torch.randn(3, 5000, device=CUDA))
    rows = upload([0, 2], CUDA)
    before = len(gpu.waits)
    scores.top(rows, 20)
    scores.log_normalizer(rows, 0.7)
    scores.mean_score(rows)
    scores.moments(rows)
    scores.rows(rows)
    assert len(gpu.waits) == before


def test_stop_strings_are_looked_up_without_a_wait(gpu) -> None:
    stops = StopStrings(["ab"], [b"a", b"b", b"c"])
    start, first, second = (upload(ids, CUDA) for ids in ([0, 0], [0, 2], [1, 1]))
    stops.step(start, first)  # the tables go over once
    before = len(gpu.waits)
    state, _ = stops.step(start, first)
    _, ends = stops.step(state, second)
    assert len(gpu.waits) == before
    assert ends.tolist() == [True, False]
