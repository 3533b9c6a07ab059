"""Physical rows without a cache: for models whose cache cannot be used."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from decodebench.engine.exits import NOT_LOOKED_FOR, Layers
from decodebench.engine.rows import Prefix, Rows


class WholeRows(Rows):
    """Rows without a cache: each step feeds the whole sequences, padded on the right.

    Right for every causal model (what follows a token cannot change what it sees), and slow.
    """

    def __init__(
        self, model: Any, device: torch.device, hidden_layers: Iterable[int] = (), layers: Layers = NOT_LOOKED_FOR
    ) -> None:
        super().__init__(model, device, hidden_layers, layers)
        self._ids: list[tuple[int, ...]] = []

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        logits_NV, hidden = self._whole(prompts)
        return [
            Prefix(ids=p, logits_V=logits_NV[n], hidden={i: h[n, : len(p)] for i, h in hidden.items()})
            for n, p in enumerate(prompts)
        ]

    def _admit(self, prefixes: Sequence[Prefix]) -> None:
        self._ids += [p.ids for p in prefixes]

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        self._ids = [(*self._ids[parent], token) for parent, token in zip(parents, tokens, strict=True)]
        if not self._ids:
            self._publish(self.scores.all()[:0], {})
            return []
        logits_NV, hidden = self._whole(self._ids)
        last = {i: torch.stack([h[n, len(ids) - 1] for n, ids in enumerate(self._ids)]) for i, h in hidden.items()}
        self._publish(logits_NV, last)
        return list(range(len(parents)))

    def cost(self, row: int) -> int:
        return len(self._ids[row])

    def _whole(self, sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, dict[int, Tensor]]:
        longest = max(map(len, sequences))
        ids_NT = self._tensor([ids + (0,) * (longest - len(ids)) for ids in sequences])
        self.forward_passes += 1
        self.tokens_computed += sum(map(len, sequences))
        out = self._forward(ids_NT, use_cache=False)
        at = self._tensor([len(ids) - 1 for ids in sequences])
        last = out.logits[torch.arange(len(sequences), device=out.logits.device), at.to(out.logits.device)]
        return last.to(self.device), {i: out.hidden_states[i].to(self.device) for i in self.hidden_layers}

    def scrub(self, row: int) -> None:
        """Nothing is kept between steps but token ids."""
