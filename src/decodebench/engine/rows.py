"""Physical rows: the distinct sequences that the model works on, and what it says of their next token.

Logical rows of strategies point at physical rows. Continuing is one mechanism for everything: `advance` takes the
distinct (parent row, token) pairs that come next. A prompt's fan-out, a beam's reorder, a prefix that two strategies
share and a finished row that goes are all that.
"""

import inspect
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.engine.cache import KeyValues
from decodebench.engine.exits import NOT_LOOKED_FOR, Layers, exit_logits, head_logits
from decodebench.errors import ModelError
from decodebench.strategies.step import Scores, upload

_PREFILL_TOKENS = 4096
"""Prompt tokens in one forward pass, at most: it bounds the memory of attention and of the prompt's hidden states."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A prefilled sequence: what the model says next, and what it takes to go on from it."""

    ids: tuple[int, ...]
    logits_V: Tensor
    hidden: dict[int, Tensor]
    key_values: Sequence[KeyValues] | None = None


class Rows(ABC):
    """The physical rows, their raw logits and their hidden states at the last position."""

    def __init__(
        self, model: Any, device: torch.device, hidden_layers: Iterable[int] = (), layers: Layers = NOT_LOOKED_FOR
    ) -> None:
        self.model = model
        self.device = device
        self.hidden_layers = tuple(sorted(set(hidden_layers))) if layers.no_hidden is None else ()
        self._layers = layers
        self.scores = Scores(torch.empty(0, 0, device=device))
        self.forward_passes = 0
        self.prefills = 0
        self.tokens_computed = 0
        self.cached_tokens_read = 0
        self._accepts = set(inspect.signature(model.forward).parameters)
        self._hidden: dict[int, Tensor] = {}

    @property
    def count(self) -> int:
        """Physical rows in use."""
        return self.scores.count

    @property
    def amateur(self) -> Scores | None:
        """The raw logits of a second model for the same rows, where there is one."""
        return None

    @property
    def capture_failure(self) -> str | None:
        """Why steps that should be captured as CUDA graphs are run as they are; None where nothing failed."""
        return None

    def hidden(self, rows: Tensor, layer: int) -> Tensor:
        """The hidden state after `layer` (0: the embeddings) at the last position, [N, H]."""
        return self._hidden[layer][rows]

    def exit_logits(self, rows: Tensor, layer: int, normed: bool = True) -> Tensor:
        """What the model says of the hidden state after `layer` at the last position, float32 [N, V].

        `normed`: through all that the model does behind its layers, its norm included; else through the output head
        alone. Raises ModelError for a model of which that cannot be said.
        """
        hidden_NH = self.hidden(rows, layer)
        return exit_logits(self.model, self._layers, hidden_NH) if normed else head_logits(self.model, hidden_NH)

    def refuse_unreadable(self, layers: Iterable[int]) -> None:
        """Raise ModelError where the hidden states after these layers are needed, and this model's cannot be read."""
        if tuple(layers) and self._layers.no_hidden is not None:
            raise ModelError(self._layers.no_hidden)

    def logprob(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Raw log-prob of one token in each of the given rows, [N]."""
        return self.scores.of_tokens(rows, tokens) - self.scores.log_normalizer(rows)

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """Run the model over prompts, each once; equal lengths go together, so that nothing is ever padded."""
        by_length = defaultdict(list)
        for at, prompt in enumerate(prompts):
            by_length[len(prompt)].append(at)
        done: dict[int, Prefix] = {}
        for length, places in by_length.items():
            together = max(1, _PREFILL_TOKENS // length)
            for first in range(0, len(places), together):
                chunk = places[first : first + together]
                done.update(zip(chunk, self._prefill([prompts[i] for i in chunk]), strict=True))
        self.prefills += len(prompts)
        return [done[at] for at in range(len(prompts))]

    def admit(self, prefixes: Sequence[Prefix]) -> list[int]:
        """Add prefilled sequences as new rows, behind those in use; returns their indices."""
        first = self.count
        new_NV = torch.stack([p.logits_V for p in prefixes])
        hidden = {i: torch.stack([p.hidden[i][-1] for p in prefixes]) for i in self.hidden_layers}
        self._admit(prefixes)
        if first:
            new_NV = torch.cat([self.scores.all(), new_NV])
            hidden = {i: torch.cat([self._hidden[i], h]) for i, h in hidden.items()}
        self._publish(new_NV, hidden)
        return list(range(first, first + len(prefixes)))

    @abstractmethod
    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """Prefill prompts of equal length."""

    @abstractmethod
    def _admit(self, prefixes: Sequence[Prefix]) -> None: ...

    @abstractmethod
    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Make the rows exactly these continuations, feed them, and return where each one is now."""

    def cost(self, row: int) -> int:
        """Tokens that the last step fed for a row."""
        return 1

    @abstractmethod
    def scrub(self, row: int) -> None:
        """Remove what a row with NaN in it could leave behind for others."""

    def _forward(self, ids_NT: Tensor, network: Any = None, **inputs: Any) -> Any:
        """One forward pass; inputs that this model does not know are left out (the start-up probe checks that).

        `network` is a part of the model that takes the same inputs.
        """
        known = {name: value for name, value in inputs.items() if name in self._accepts}
        run = network or self.model
        return run(input_ids=ids_NT, output_hidden_states=bool(self.hidden_layers), return_dict=True, **known)

    def _publish(self, logits_PV: Tensor, hidden: dict[int, Tensor]) -> None:
        self.scores = Scores(logits_PV)
        self._hidden = hidden

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return upload(values, self.device)
