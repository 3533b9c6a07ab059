"""The packaged Gemma 3 270M in float32: the same tokens as `model.generate`, alone and packed."""

import pytest
import torch

from decodebench.engine import Forward, choose_rows
from decodebench.models.loading import LoadedModel
from decodebench.models.properties import vocabulary
from decodebench.models.tokens import encode
from decodebench.strategies import Beam, Greedy, Sample, Strategy
from engine_runs import Run, generated, requests_of, run

pytestmark = pytest.mark.packaged

LIMIT = 16
PROMPTS = {
    "greeting": "야! 너는 AI지? 정말로 말을 알아듣니?",
    "sentence": "The old boat moved slowly along the quiet river, and",
    "short": "오늘은",
}
STRATEGIES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=3, num_return_sequences=3, no_repeat_ngram_size=2),
    "sample": Sample(temperature=0.75, num_return_sequences=2),
}


@pytest.fixture(scope="module")
def prompts(packaged: LoadedModel) -> dict[str, tuple[int, ...]]:
    return {name: encode(packaged, text) for name, text in PROMPTS.items()}


@pytest.fixture(scope="module")
def forward(packaged: LoadedModel) -> Forward:
    return choose_rows(packaged.model, packaged.device, vocabulary(packaged.model))


@pytest.fixture(scope="module")
def together(packaged: LoadedModel, prompts: dict[str, tuple[int, ...]], forward: Forward) -> Run:
    """All strategies and prompts in one batch."""
    requests = requests_of(STRATEGIES, prompts, limit=LIMIT, eos_ids=packaged.eos_ids)
    return run(packaged.model, requests, forward=forward)


def test_the_cache_is_used(forward: Forward) -> None:
    assert forward.path == "cached", forward.reason


def test_prompts_are_of_different_lengths(prompts: dict[str, tuple[int, ...]]) -> None:
    assert len({len(ids) for ids in prompts.values()}) == 3


@pytest.mark.parametrize("prompt_id", PROMPTS)
@pytest.mark.parametrize("cell", ["greedy", "beam"])
def test_searches_equal_generate(
    packaged: LoadedModel, prompts: dict[str, tuple[int, ...]], together: Run, cell: str, prompt_id: str
) -> None:
    """Decoded together here, one unpadded prompt at a time there."""
    assert together.failures == {}
    strategy = STRATEGIES[cell]
    texts, _ = generated(
        packaged.model, strategy, prompts[prompt_id], limit=LIMIT, eos_ids=packaged.eos_ids, pad_id=packaged.pad_id
    )
    mine = [list(together.tokens[cell, prompt_id, 0, rank]) for rank in range(strategy.returns)]
    assert mine == texts


def test_samples_are_the_same_alone(
    packaged: LoadedModel, prompts: dict[str, tuple[int, ...]], together: Run, forward: Forward
) -> None:
    for request in requests_of({"sample": STRATEGIES["sample"]}, prompts, limit=LIMIT, eos_ids=packaged.eos_ids)[1:4:2]:
        for key, tokens in run(packaged.model, [request], forward=forward).tokens.items():
            assert tokens == together.tokens[key]


def test_logprobs_are_those_of_the_raw_model(packaged: LoadedModel, together: Run) -> None:
    for (cell, prompt_id, sample, rank), outcome in together.outcomes.items():
        if sample or rank:
            continue
        prompt, tokens = outcome.request.prompt_ids, outcome.token_ids
        with torch.inference_mode():
            logits = packaged.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(tokens)[:, None]).mean()
        mine = sum(outcome.token_logprobs) / len(tokens)
        assert mine == pytest.approx(float(expected), rel=1e-4), (cell, prompt_id)
