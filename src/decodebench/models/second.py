"""A second model beside the first: a copy that shares its weights, and one that speaks of as many ids."""

import copy
from typing import Any

import torch

from decodebench.models.properties import vocabulary


def sharing_copy(model: Any) -> Any:
    """A model of its own with the same weights in memory."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def with_rows(model: Any, rows: int) -> Any:
    """A model of the same tokens whose embeddings and head are padded otherwise, as one of `rows` ids.

    Models of one family pad to different multiples: Qwen2.5 has 152,064 rows at 7B, 151,936 at 0.5B, for the same
    151,665 tokens. Logits of ids beyond `rows` are left out; ids that the model lacks are as unlikely to it as its
    least likely one, and it reads them as its last one. A model that fits is returned as it is, another one as a copy
    that shares its weights.
    """
    own = vocabulary(model)
    if own == rows:
        return model

    def read(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        if named.get("input_ids") is not None:
            named = named | {"input_ids": named["input_ids"].clamp_max(own - 1)}
        return tuple(ids.clamp_max(own - 1) for ids in args[:1]) + args[1:], named

    def say(module: Any, args: Any, out: Any) -> Any:
        logits = out.logits[..., :rows]
        lacking = logits.amin(-1, keepdim=True).expand(*logits.shape[:-1], rows - logits.shape[-1])
        out.logits = torch.cat([logits, lacking], dim=-1)
        return out

    fitted = sharing_copy(model)
    fitted.config.get_text_config().vocab_size = rows  # transformers asks it whether two models go together
    fitted.register_forward_pre_hook(read, with_kwargs=True)
    fitted.register_forward_hook(say)
    return fitted
