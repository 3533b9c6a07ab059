"""What is expected of the first token behind a prompt: a sampler's rules on the run's own model."""

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from decodebench.deploy.verifying import Expected
from decodebench.models import LoadedModel, vocabulary
from decodebench.strategies import ModelFacts, Sampler, kept_first


def expected_first(
    prompt_id: str, sampler: Sampler, prompt_ids: Sequence[int], logits_V: Tensor, facts: ModelFacts, tolerance: float
) -> Expected:
    """What the sampler makes of the logits behind a prompt, `[V]`, as counts are held against it, `[V + 1]`.

    Several end tokens count as the first of them, as an engine does not say which one ended a text; the place behind
    the vocabulary is that of a text without a token.
    """
    kept = kept_first(sampler, logits_V, prompt_ids, facts, tolerance)
    probability_V, may_V, must_V = (_longer(of_V) for of_V in (kept.probability_V, kept.may_V, kept.must_V))
    if ends := list(facts.eos_ids):
        probability, may, must = probability_V[ends].sum(), may_V[ends].any(), must_V[ends].any()
        for of_V, value in ((probability_V, probability), (may_V, may), (must_V, must)):
            of_V[ends] = 0
            of_V[ends[0]] = value
    return Expected(
        prompt_id=prompt_id,
        probability_V=probability_V.numpy(),
        may_V=may_V.numpy(),
        must_V=must_V.numpy(),
        tolerance=tolerance,
    )


@torch.inference_mode()
def logits_behind(loaded: LoadedModel, ids: Sequence[int]) -> Tensor:
    """What the model says of the token behind these, float32 `[V]` on the CPU."""
    accepts = inspect.signature(loaded.model.forward).parameters
    options = {name: value for name, value in (("use_cache", False), ("logits_to_keep", 1)) if name in accepts}
    out = loaded.model(torch.tensor([list(ids)], device=loaded.device), **options)
    logits_V: Tensor = out.logits[0, -1, : vocabulary(loaded.model)]
    return logits_V.to("cpu", torch.float32).clone()


def _longer(of_V: Tensor) -> Tensor:
    return torch.cat([of_V, torch.zeros(1, dtype=of_V.dtype)])
