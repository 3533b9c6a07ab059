"""How far each token of greedy search was ahead: what tells a numerical tie from a change."""

import pytest
import torch

from decodebench.models.tokens import encode
from decodebench.strategies import Beam, Greedy
from engine_runs import CACHED, PROMPTS, WHOLE, requests_of, run


def test_the_margin_is_the_gap_of_the_two_largest_scores_whoever_shares_the_batch(tiny):
    prompts = {name: encode(tiny, PROMPTS[name]) for name in ("ko", "en")}
    strategies = {"greedy": Greedy(eos="none"), "beam": Beam(eos="none", num_beams=2, num_return_sequences=1)}
    # GPT-1 keeps no cache in transformers.
    done = run(tiny.model, requests_of(strategies, prompts, limit=6), forward=WHOLE if tiny.name == "gpt1" else CACHED)
    assert len(done.outcomes) == 4
    for outcome in done.outcomes.values():
        if outcome.request.cell != "greedy":
            assert outcome.token_margins is None
            continue
        sequence = torch.tensor([[*outcome.request.prompt_ids, *outcome.token_ids]])
        logits_LV = tiny.model(sequence).logits[0, len(outcome.request.prompt_ids) - 1 : -1].float()
        two_L2 = logits_LV.topk(2).values
        assert outcome.token_margins == pytest.approx((two_L2[:, 0] - two_L2[:, 1]).tolist(), abs=1e-4)


def test_a_penalty_counts(tiny_models):
    """With tokens of the prompt made cheap, the margin is that of the edited scores, not that of the logits."""
    loaded = tiny_models["llama"]
    prompts = {"en": encode(loaded, PROMPTS["en"])}
    strategies = {"plain": Greedy(eos="none"), "cheap": Greedy(eos="none", repetition_penalty=0.2)}
    done = run(loaded.model, requests_of(strategies, prompts, limit=8))
    plain, cheap = (done.outcomes[cell, "en", 0, 0] for cell in strategies)
    assert all(margin >= 0 for margin in (*plain.token_margins, *cheap.token_margins))
    assert plain.token_margins != cheap.token_margins
