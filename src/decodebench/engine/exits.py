"""Early exits: what a model would say if it ended after one of its layers."""

from typing import Any

import torch
from torch import Tensor, nn

from decodebench.errors import ModelError


def exit_logits(model: Any, hidden_BH: Tensor, normed: bool) -> Tensor:
    """What the output head says of hidden states that have not been through the last layer, float32 [B, V].

    `normed`: by way of the model's final norm. Logits that a model caps or scales behind its head are neither here.
    Raises ModelError for a model without an output head.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output head that hidden states could be given to")
    device = hidden_BH.device
    norm = final_norm(model) if normed else None
    if norm is not None:
        hidden_BH = norm(hidden_BH.to(norm.weight.device))
    hidden_BH = hidden_BH.to(head.weight.device)
    if hidden_BH.dtype == torch.float16 and head.bias is None:
        # States that no norm has been over grow to thousands: their logits may be more than float16 holds.
        scale_B1 = hidden_BH.abs().amax(-1, keepdim=True).clamp_min(1)
        logits_BV: Tensor = head(hidden_BH / scale_B1).to(torch.float32) * scale_B1
    else:
        logits_BV = head(hidden_BH)
    return logits_BV.to(device, torch.float32)


def final_norm(model: Any) -> Any:
    """The norm behind the last layer, a module; None where there is none (GPT-1 normalizes inside its layers)."""
    behind = False
    for child in model.get_decoder().children():
        if isinstance(child, nn.ModuleList):
            behind = True
        elif behind and "norm" in type(child).__name__.lower():
            return child
    return None
