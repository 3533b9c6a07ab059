"""The engine on a GPU: the same random numbers, the same texts as `generate`, and (up to counted flips) as on a CPU.

Skipped where there is no GPU. `make cuda-check` runs it on a machine that has one.
"""

import warnings

import pytest
import torch

from decodebench.deploy.generate import generation_config, generation_config_fields
from decodebench.engine import Decoder, Outcome, Request, choose_rows
from decodebench.strategies import Beam, Greedy, ModelFacts, Sample, Temperature, TopP, Typical
from decodebench.strategies.step.draws import Draws, stream_key
from decodebench.strategies.step.scores import Scores

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

PROMPTS = ((5, 9, 2), (7, 7, 1, 30, 4, 8, 3), (11, 3, 60, 2, 9))
STRATEGIES = {
    "greedy": Greedy(repetition_penalty=1.1),
    "beam": Beam(no_repeat_ngram_size=2),
    "sample": Sample(),
    "top_p": TopP(top_p=0.95),
    "typical": Typical(),
    "pure": Temperature(),
}


def model(device: str, dtype: torch.dtype = torch.float32):
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    built = AutoModelForCausalLM.from_config(config).to(device=device, dtype=dtype).eval()
    built.generation_config = GenerationConfig(pad_token_id=0)
    return built


def decoded(
    device: str, max_rows: int = 64, dtype: torch.dtype = torch.float32, cuda_graphs: bool = True
) -> dict[tuple[str, str, int, int], Outcome]:
    network = model(device, dtype)
    place = torch.device(device)
    forward = choose_rows(network, place, 300, cuda_graphs)
    assert forward.path == "cached", forward.reason
    assert forward.graphs == (cuda_graphs and device != "cpu"), forward.graphs_reason
    done: list[Outcome] = []
    failed: list[str] = []
    requests = [
        Request(
            cell=name,
            strategy=strategy,
            prompt_id=str(number),
            prompt_ids=prompt,
            sample=sample,
            limit=24,
            seed=0,
            facts=ModelFacts(vocabulary=0, eos_ids=(2,)),
        )
        for name, strategy in STRATEGIES.items()
        for number, prompt in enumerate(PROMPTS)
        for sample in range(strategy.samples)
    ]
    rows = forward.make_rows(network, place)
    Decoder(rows, max_rows=max_rows, sink=done.extend, failure=lambda cell, why: failed.append(why)).run(requests)
    assert failed == []
    return {(o.request.cell, o.request.prompt_id, o.request.sample, o.rank): o for o in done}


def test_draws_are_those_of_the_cpu() -> None:
    keys, samples, steps = torch.tensor([list(stream_key(0, (1, 2)))] * 5), torch.arange(5), torch.arange(5) * 7
    here = Draws(keys, samples, steps).gumbel_all(5000)
    there = Draws(keys.cuda(), samples.cuda(), steps.cuda()).gumbel_all(5000).cpu()
    assert torch.allclose(here, there, rtol=1e-5, atol=1e-5)
    assert torch.equal(here.argmax(-1), there.argmax(-1))


def test_scores_are_those_of_the_cpu() -> None:
    scores = torch.randn(6, 5000, generator=torch.Generator().manual_seed(0)) * 4
    rows = torch.tensor([4, 0, 4])
    here, there = Scores(scores), Scores(scores.cuda())
    assert torch.equal(here.top(rows, 70)[1], there.top(rows.cuda(), 70)[1].cpu())
    assert torch.allclose(here.log_normalizer(rows, 0.7), there.log_normalizer(rows.cuda(), 0.7).cpu(), rtol=1e-5)
    assert torch.allclose(here.mean_score(rows), there.mean_score(rows.cuda()).cpu(), rtol=1e-4, atol=1e-4)


def test_searches_equal_generate() -> None:
    network, outcomes = model("cuda"), decoded("cuda")
    for name in ("greedy", "beam"):
        fields = generation_config_fields(STRATEGIES[name], eos_ids=(2,), pad_id=0, limit=24)
        for number, prompt in enumerate(PROMPTS):
            ids = torch.tensor([prompt], device="cuda")
            config = generation_config(fields)
            out = network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
            for rank, text in enumerate(out[:, len(prompt) :].tolist()):
                ours = list(outcomes[name, str(number), 0, rank].token_ids)
                assert text[: len(ours)] == ours
                assert set(text[len(ours) :]) <= {0, 2}


def test_the_batch_changes_nothing() -> None:
    together, apart = decoded("cuda"), decoded("cuda", max_rows=1)
    assert {k: o.token_ids for k, o in together.items()} == {k: o.token_ids for k, o in apart.items()}


def test_captured_steps_write_what_others_do() -> None:
    captured, plain = decoded("cuda"), decoded("cuda", cuda_graphs=False)
    flips = [key for key in plain if captured[key].token_ids != plain[key].token_ids]
    assert len(flips) <= len(plain) // 20, f"{len(flips)} of {len(plain)} texts differ: {flips}"


def test_the_host_waits_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch warns of what waits for the device. Strategies and the transfer of what they decided are looked at."""
    waits: list[int] = []
    feeds = Decoder._feeds

    def noted(decoder: Decoder) -> object:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                found = feeds(decoder)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("called a synchronizing CUDA operation" in str(warning.message) for warning in caught))
        return found

    monkeypatch.setattr(Decoder, "_feeds", noted)
    decoded("cuda")
    assert len(waits) > 20
    more = [count for count in waits if count > 1]  # steps that were not sure, and were taken again
    assert len(more) <= 2, waits


def test_texts_are_those_of_the_cpu_up_to_counted_flips() -> None:
    here, there = decoded("cpu"), decoded("cuda")
    flips = [key for key in here if here[key].token_ids != there[key].token_ids]
    assert len(flips) <= len(here) // 20, f"{len(flips)} of {len(here)} texts differ: {flips}"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_decodes_everything(dtype: torch.dtype) -> None:
    outcomes = decoded("cuda", dtype=dtype)
    assert len(outcomes) == len(PROMPTS) * sum(s.samples * s.returns for s in STRATEGIES.values())
    assert all(0 < len(o.token_ids) <= 24 for o in outcomes.values())
