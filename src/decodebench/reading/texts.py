"""Texts -> readings: what a model says of texts that it is given, token by token, in one teacher-forced pass.

The prompt is context and is not scored. A prompt without tokens (a text of a file that has none) is the BOS alone; of a
tokenizer that has no BOS either, the first token of the text is the context, and its reading begins with the second.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.engine import find_layers, own_head
from decodebench.errors import ModelError, PromptError
from decodebench.models import LoadedModel, encode, vocabulary
from decodebench.records import Reading
from decodebench.strategies.step import Scores

_TOKENS = {"cpu": 4096}
_TOKENS_DEVICE = 16384
"""Tokens in one forward pass, padding included, at most (but one text is always read): it bounds what layers take."""

_LOGITS = {"cpu": 2**25}
_LOGITS_DEVICE = 2**28
"""Logits that are there at once: 128 positions of a vocabulary of 262,144 on a CPU, 128 MiB in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A text to read, in the tokens of the model that reads it; `prompt_ids` are those of `prompt_tokens`.

    `ending`: how many of the last tokens are no part of the text, being the EOS or the stop string that ended it. They
    are scored like the others, and left out of the embedding.
    """

    cell: str
    prompt_id: str
    sample: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    ending: int = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """All that is fed."""
        return self.prompt_ids + self.token_ids

    @property
    def start(self) -> int:
        """The place in `ids` of the first token that is scored."""
        return max(1, len(self.prompt_ids))

    @property
    def scored_ids(self) -> tuple[int, ...]:
        """The tokens of the text that have something before them."""
        return self.ids[self.start :]


def prompt_tokens(
    loaded: LoadedModel, text: str, template: str | None = None, today: str | None = None
) -> tuple[int, ...]:
    """A prompt as decoding feeds it (`tokens.encode`). Of an empty text: the BOS alone, nothing where there is none."""
    if text:
        return encode(loaded, text, template, today)
    bos = loaded.tokenizer.bos_token_id
    return () if bos is None or bos >= vocabulary(loaded.model) else (bos,)


def text_tokens(loaded: LoadedModel, text: str) -> tuple[int, ...]:
    """The tokens of a text that follows a prompt, without special tokens: the border between them is that of the texts.

    Raises ModelError for a token that the model has no embedding for.
    """
    ids = tuple(loaded.tokenizer(text, add_special_tokens=False).input_ids)
    rows = vocabulary(loaded.model)
    if ids and max(ids) >= rows:
        raise ModelError(f"{loaded.name}: the tokenizer gives id {max(ids)}, the model knows {rows} tokens")
    return ids


def read_texts(
    loaded: LoadedModel, items: Sequence[Item], *, scorer: str, tick: Callable[[int], object] = lambda tokens: None
) -> Iterator[Reading]:
    """The reading of each item, in the order in which they are done: long texts first. `tick` gets the tokens fed.

    Texts of like length are read together, padded on the right: what follows a token cannot change what a causal model
    says of it. Log-probs and entropies (nats) are of the raw distribution. Raises PromptError where a text and its
    prompt are longer than the model's context, ModelError for logits that are no numbers and where memory runs out.
    """
    for item in items:
        _check_length(item, loaded, scorer)
    empty = [item for item in items if not item.scored_ids]
    yield from (_reading(item, scorer, (), (), (), ()) for item in empty)
    waiting = sorted((item for item in items if item.scored_ids), key=lambda item: -len(item.ids))
    if not waiting:
        return
    reader = _Reader(loaded, scorer)
    while waiting:
        count = max(1, reader.most_tokens // len(waiting[0].ids))
        batch, waiting = waiting[:count], waiting[count:]
        yield from reader.read(batch)
        tick(sum(len(item.ids) for item in batch))


def no_embedding(loaded: LoadedModel, scorer: str) -> str | None:
    """Why readings of this model have no embeddings; None where they have."""
    return _Reader(loaded, scorer).no_embedding


def _check_length(item: Item, loaded: LoadedModel, scorer: str) -> None:
    context = loaded.context_length
    if context is not None and len(item.ids) > context:
        raise PromptError(
            f"scorer.id={scorer}: prompt {item.prompt_id} has {len(item.prompt_ids)} tokens and the text after it "
            f"{len(item.token_ids)}, more than the {context} of the scorer's context; allowed is one with a longer "
            "context, or shorter texts"
        )


class _Reader:
    """A model that reads batches of items, its head apart where that is possible: then only for what is scored.

    `no_embedding` says why there are no hidden states to take embeddings of; None where there are.
    """

    def __init__(self, loaded: LoadedModel, scorer: str) -> None:
        self._loaded, self._scorer = loaded, scorer
        self._device, kind = loaded.device, loaded.device.type
        columns = vocabulary(loaded.model)
        self._head = own_head(loaded.model, loaded.device, columns)
        self.no_embedding = None if self._head else find_layers(loaded.model, loaded.device, columns).no_hidden
        self._network: Any = self._head.base if self._head else loaded.model
        self._accepts = set(inspect.signature(self._network.forward).parameters)
        self._at_once = max(1, _LOGITS.get(kind, _LOGITS_DEVICE) // columns)
        tokens = _TOKENS.get(kind, _TOKENS_DEVICE)
        self.most_tokens = tokens if self._head else min(tokens, self._at_once)

    def read(self, items: Sequence[Item]) -> list[Reading]:
        """Readings of a batch; where memory runs out, of one half of it and then of the other."""
        try:
            return self._pass(items)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if len(items) == 1:
                raise ModelError(
                    f"out of memory while {self._loaded.name} read prompt {items[0].prompt_id} and its text "
                    f"({len(items[0].ids)} tokens)"
                ) from error
        half = len(items) // 2
        return self.read(items[:half]) + self.read(items[half:])

    @torch.inference_mode()
    def _pass(self, items: Sequence[Item]) -> list[Reading]:
        hidden_NTH, logits = self._forward(items)
        width = max(len(item.ids) for item in items)
        place_S = self._tensor(
            [row * width + at - 1 for row, item in enumerate(items) for at in range(item.start, len(item.ids))]
        )
        token_S = self._tensor([token for item in items for token in item.scored_ids])
        pieces = zip(torch.split(place_S, self._at_once), torch.split(token_S, self._at_once), strict=True)
        numbers_2S = torch.cat([_judged(logits(place), token) for place, token in pieces], dim=1)
        of_items = torch.split(numbers_2S, [len(item.scored_ids) for item in items], dim=1)
        return [
            self._checked(item, hidden_TH, *numbers_2T.tolist())
            for item, hidden_TH, numbers_2T in zip(items, hidden_NTH, of_items, strict=True)
        ]

    def _forward(self, items: Sequence[Item]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Last hidden states, [N, T, H] (H 0: they cannot be read), and what gives the logits of some of these N x T
        positions."""
        width = max(len(item.ids) for item in items)
        ids_NT = self._tensor([item.ids + (self._loaded.pad_id,) * (width - len(item.ids)) for item in items])
        at_T = torch.arange(width, device=self._device)
        lengths_N = self._tensor([len(item.ids) for item in items])
        inputs: dict[str, Any] = {
            "attention_mask": (at_T < lengths_N[:, None]).to(torch.int64),
            "position_ids": at_T.expand(len(items), -1),
            "use_cache": False,
        }
        known = {name: value for name, value in inputs.items() if name in self._accepts}
        if head := self._head:
            hidden_NTH = self._network(input_ids=ids_NT, **known).last_hidden_state.to(self._device)
            hidden_PH = hidden_NTH.flatten(0, 1)
            return hidden_NTH, lambda place: head.logits(hidden_PH[place])
        out = self._network(input_ids=ids_NT, output_hidden_states=self.no_embedding is None, **known)
        hidden_NTH = ids_NT.new_empty(*ids_NT.shape, 0) if self.no_embedding else out.hidden_states[-1].to(self._device)
        logits_PV = out.logits.to(self._device).flatten(0, 1)
        return hidden_NTH, lambda place: logits_PV[place]

    def _checked(self, item: Item, hidden_TH: Tensor, logprobs: list[float], entropies: list[float]) -> Reading:
        if not all(map(math.isfinite, entropies)):
            raise ModelError(f"the logits of {self._loaded.name} are NaN or infinite in prompt {item.prompt_id}")
        prompt = len(item.prompt_ids)
        bos = item.prompt_ids[:1] == (self._loaded.tokenizer.bos_token_id,)
        text = _mean(hidden_TH[prompt : len(item.ids) - item.ending])
        return _reading(item, self._scorer, logprobs, entropies, text, _mean(hidden_TH[int(bos) : prompt]))

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)


def _judged(logits_SV: Tensor, token_S: Tensor) -> Tensor:
    """The log-prob of each token and the entropy of its distribution, [2, S]; NaN where the logits are no numbers."""
    scores = Scores(logits_SV)
    rows = torch.arange(len(token_S), device=token_S.device)
    log_z_S = scores.log_normalizer(rows)
    entropy_S = (log_z_S - scores.mean_score(rows)).clamp_min(0.0)  # rounding puts a sure token a little below 0
    return torch.stack([scores.of_tokens(rows, token_S) - log_z_S, entropy_S])


def _mean(hidden_TH: Tensor) -> tuple[float, ...]:
    return tuple(hidden_TH.to(torch.float32).mean(0).tolist()) if len(hidden_TH) else ()


def _reading(
    item: Item,
    scorer: str,
    logprobs: Sequence[float],
    entropies: Sequence[float],
    embedding: tuple[float, ...],
    prompt_embedding: tuple[float, ...],
) -> Reading:
    return Reading(
        cell=item.cell,
        prompt_id=item.prompt_id,
        sample=item.sample,
        scorer=scorer,
        token_ids=item.scored_ids,
        token_logprobs=tuple(logprobs),
        token_entropies=tuple(entropies),
        embedding=embedding,
        prompt_embedding=prompt_embedding,
    )
