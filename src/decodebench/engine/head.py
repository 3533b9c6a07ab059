"""The output head of a model, run apart from it: every step writes its logits into the same memory.

Logits of 400 rows over 262,144 tokens are 210 MB in bfloat16. A model returns new ones at each step: the system clears
as many pages, which on a CPU cost a third of the head's product, and those of two steps are there at once.
"""

from typing import Any

import torch
from torch import Tensor


class OwnHead:
    """The model without its head (`base`), and the head as one product with its weight, and its bias if it has one.

    Raises TypeError for a model that has no such head. Whether it is all that the model does to its logits (some scale
    or cap them) is for the start-up probe to find out.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        head = model.get_output_embeddings()
        self.base: Any = model.base_model
        placed = torch.empty(0, device=device).device  # "cuda" is the device "cuda:0", and is not equal to it
        if not isinstance(head, torch.nn.Linear) or head.weight.device != placed or self.base is model:
            raise TypeError(f"{type(model).__name__} has no linear head of its own on {device}")
        self._weight_HV = head.weight.t()
        self._bias_V = head.bias
        self._logits_NV = torch.empty(0, head.weight.shape[0], dtype=head.weight.dtype, device=device)

    def logits(self, last_NH: Tensor) -> Tensor:
        """The logits of final hidden states, [N, V]: valid until the next call."""
        rows = len(last_NH)
        if rows > len(self._logits_NV):
            more = max(rows, min(2 * len(self._logits_NV), rows + 64))
            self._logits_NV = self._logits_NV.new_empty(0)  # first let go of the old ones
            self._logits_NV = self._weight_HV.new_empty(more, self._weight_HV.shape[1])
        out = self._logits_NV[:rows]
        if self._bias_V is None:
            return torch.mm(last_NH, self._weight_HV, out=out)
        return torch.addmm(self._bias_V, last_NH, self._weight_HV, out=out)
