"""Log-probs that runs store, against transformers' own account of them (compute_transition_scores on raw logits)."""

import pytest
import torch
from transformers import GenerationConfig

from decodebench.metrics import measure
from decodebench.models.tokens import encode
from decodebench.strategies import Greedy
from engine_runs import CACHED, PROMPTS, WHOLE, requests_of, run
from metrics_data import by_name, generation


def test_stored_log_probs_are_those_of_compute_transition_scores(tiny):
    """Greedy in float32: the same tokens, the same log-probs; surprisal and perplexity are made of them."""
    ids = encode(tiny, PROMPTS["en"])
    requests = requests_of({"greedy": Greedy(eos="none")}, {"en": ids}, limit=12)
    ours = run(tiny.model, requests, forward=WHOLE if tiny.name == "gpt1" else CACHED).outcomes["greedy", "en", 0, 0]
    config = GenerationConfig(
        max_new_tokens=12,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
        pad_token_id=tiny.pad_id,
        eos_token_id=None,
    )
    inputs = torch.tensor([ids])
    theirs = tiny.model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
    assert theirs.sequences[0, len(ids) :].tolist() == list(ours.token_ids)
    logprobs = tiny.model.compute_transition_scores(theirs.sequences, theirs.logits, normalize_logits=True)[0]
    assert list(ours.token_logprobs) == pytest.approx(logprobs.tolist(), abs=1e-4)
    rows = by_name(measure([generation(ours.token_ids, token_logprobs=ours.token_logprobs)]))
    assert rows["surprisal"].value == pytest.approx(-float(logprobs.mean()), abs=1e-4)
    assert rows["perplexity"].value == pytest.approx(float(torch.exp(-logprobs.mean())), rel=1e-4)
