"""A strategy as what `model.generate` takes: what is benchmarked is what is deployed.

A strategy that transformers' core has becomes a GenerationConfig; every strategy becomes a callable for
`generate(custom_generate=...)`, which decodes with our own engine.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from decodebench.engine import Decoder, Forward, Outcome, Request, choose_rows, make_paired
from decodebench.errors import ConfigError, DecodebenchError
from decodebench.models import context_length, facts_of, vocabulary, with_rows
from decodebench.strategies import Strategy, check_penalties, guided, new_token_limit, penalty_fields
from decodebench.strategies.step import ModelFacts, Moves, State, View

_OURS_ALONE = ("presence_penalty", "frequency_penalty", "dry_multiplier")
"""Numbers of every strategy that transformers lacks; at 0 they are off."""

_MAX_ROWS = 128
"""Rows fed at once, at most: more would take memory and save no time."""

_OFF: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "early_stopping": False,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "min_length": 0,
    "renormalize_logits": False,
    "stop_strings": None,
    "remove_invalid_values": False,
    "use_cache": True,
}
"""Every decoding field of transformers at the value that does nothing: one left unset would be filled from the
model's own generation_config.json, or with transformers' default (top_k=50)."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' warnings: on fields that are set and off, and on how it calls its own draft model."""
    from transformers.utils import logging

    library: Any = logging
    shown = library.get_verbosity()
    library.set_verbosity_error()
    try:
        yield
    finally:
        library.set_verbosity(shown)


def generation_config(fields: dict[str, Any]) -> Any:
    """A transformers GenerationConfig of these fields."""
    from transformers import GenerationConfig

    with quiet():
        return GenerationConfig(**fields)  # type: ignore[no-untyped-call]


def generation_config_fields(
    strategy: Strategy,
    *,
    eos_ids: Sequence[int],
    pad_id: int,
    limit: int,
    min_new_tokens: int | None = None,
    facts: ModelFacts | None = None,
) -> dict[str, Any]:
    """The fields of a transformers GenerationConfig that decodes as the strategy does, at most `limit` new tokens.

    `eos_ids` are those at which it stops (none: never). `facts` are needed where penalties have texts. The fields are
    also what the manifest keeps of the cell.
    """
    minimum = strategy.min_new_tokens if min_new_tokens is None else min_new_tokens
    return (
        _OFF
        | penalty_fields(strategy, facts, ends=bool(eos_ids))
        | {"guidance_scale": strategy.guidance_scale}
        | {"suppress_tokens": list(facts.masked_ids) or None if facts else None}
        | strategy.generation_config()
        | {
            "max_new_tokens": limit,
            "min_new_tokens": minimum or None,
            "eos_token_id": list(eos_ids) or None,
            "stop_strings": list(strategy.stop) if strategy.stop else None,
            "pad_token_id": pad_id,
        }
    )


def exports(strategy: Strategy) -> bool:
    """Whether transformers' core decodes so from a GenerationConfig alone: the strategy, and every number with it."""
    alone = any(getattr(strategy, name, 0) for name in _OURS_ALONE)
    return strategy.in_transformers and not alone and not _guided_otherwise(strategy)


def _guided_otherwise(strategy: Strategy) -> bool:
    """Whether `generate` would guide otherwise: it takes a negative prompt as an argument, not from a GenerationConfig,
    and under beam search it does not reorder the companions with their beams."""
    if strategy.guidance_scale == 1.0:
        return False
    return strategy.negative_prompt is not None or strategy.generation_config().get("num_beams", 1) > 1


def custom_generate(
    strategy: Strategy,
    tokenizer: Any = None,
    seed: int = 0,
    *,
    second_model: Any = None,
    new_tokens: int | None = None,
    first_token: Callable[[], object] = lambda: None,
) -> Callable[..., Any]:
    """A callable for `model.generate(**inputs, custom_generate=...)` that decodes by the strategy, with our engine.

    It gives what the benchmark gives for the same seed: each prompt is decoded without its padding, and its draws are
    its own. Of the generation config only end, pad and suppressed tokens are read; lengths, penalties and the number of
    texts are the strategy's, and logits processors are left out. `tokenizer` is for strategies that read text,
    `second_model` for those that name one (the model itself, with the same tokens). For timing, `new_tokens` makes
    exactly so many, without an end token or a stop string, and `first_token` is called when a first token is chosen.
    The callable raises ConfigError for stopping criteria of the caller, and what decoding raises.
    """
    _check_callable(strategy, second_model)

    def decode(
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **model_kwargs: Any,
    ) -> Any:
        _refuse_criteria(stopping_criteria or ())
        copies = max(generation_config.num_beams or 1, generation_config.num_return_sequences or 1)
        input_ids = input_ids[::copies]  # `generate` has repeated each prompt for its own beams and samples
        mask_NT = model_kwargs.get("attention_mask")
        prompts = _unpadded(input_ids, None if mask_NT is None else mask_NT[::copies])
        eos_ids = () if new_tokens else _eos_ids(strategy, model, tokenizer, generation_config)
        stop = None if new_tokens else strategy.stop
        facts = facts_of(model, tokenizer, eos_ids, generation_config.suppress_tokens or (), stop)
        rule = guided(strategy, facts)
        rule.check(facts)
        check_penalties(rule, facts)
        watched: Any = _Watched(rule, first_token)
        requests = [
            Request(
                cell="",
                strategy=watched,
                prompt_id=str(number),
                prompt_ids=prompt,
                sample=sample,
                limit=new_tokens or _limit(strategy, len(prompt), context_length(model.config)),
                seed=seed,
                facts=facts,
            )
            for number, prompt in enumerate(prompts)
            for sample in range(strategy.samples)
        ]
        pad_id = next(pad for pad in (generation_config.pad_token_id, *eos_ids, 0) if pad is not None)
        return _sequences(input_ids, _decoded(model, second_model, requests), pad_id)

    return decode


def _check_callable(strategy: Strategy, second_model: Any) -> None:
    """Raise ConfigError for a strategy that our engine does not run, or a second model too many or too few."""
    if not strategy.packs:
        name = type(strategy).__name__
        raise ConfigError(f"strategy={name}: runs in transformers itself; allowed is its GenerationConfig")
    if (second_model is None) != (strategy.second_model is None):
        allowed = "a model" if second_model is None else "None"
        raise ConfigError(f"second_model: allowed is {allowed}, the strategy names {strategy.second_model}")


def _unpadded(input_ids: Tensor, mask_NT: Tensor | None) -> list[tuple[int, ...]]:
    """The prompts without what the mask leaves out."""
    if mask_NT is None:
        return [tuple(ids) for ids in input_ids.tolist()]
    return [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(input_ids, mask_NT, strict=True)]


class _Watched:
    """A strategy that says when it has emitted its first token."""

    def __init__(self, strategy: Strategy, first_token: Callable[[], object]) -> None:
        self._strategy = strategy
        self._first_token: Callable[[], object] | None = first_token

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def step(self, view: View, state: State) -> Moves:
        moves = self._strategy.step(view, state)
        if self._first_token is not None and bool((moves.emit_B >= 0).any()):
            self._first_token()
            self._first_token = None
        return moves


_probed: WeakKeyDictionary[Any, Forward] = WeakKeyDictionary()
"""How each model in memory is run: probing takes a dozen forward passes."""


def _forward(model: Any) -> Forward:
    if model not in _probed:
        _probed[model] = choose_rows(model, model.device, vocabulary(model))
    return _probed[model]


def _decoded(model: Any, second: Any, requests: Sequence[Request]) -> list[tuple[int, ...]]:
    """The texts of all requests, in their order, the best rank first."""
    done: dict[tuple[str, int, int], tuple[int, ...]] = {}

    def sink(outcomes: Sequence[Outcome]) -> None:
        done.update({(o.request.prompt_id, o.request.sample, o.rank): o.token_ids for o in outcomes})

    def failure(cell: str, why: str) -> None:
        raise DecodebenchError(why)

    strategy, facts = requests[0].strategy, requests[0].facts
    layers = strategy.hidden_layers(facts)
    if second is None:
        rows: Any = _forward(model).make_rows(model, model.device, layers)
    else:
        second = with_rows(second, vocabulary(model))
        rows = make_paired((model, second), (_forward(model), _forward(second)), model.device, layers)
    Decoder(rows, max_rows=_MAX_ROWS, sink=sink, failure=failure).run(requests)
    return [done[r.prompt_id, r.sample, rank] for r in requests for rank in range(strategy.returns)]


def _sequences(input_ids: Tensor, texts: Sequence[tuple[int, ...]], pad_id: int) -> Tensor:
    """Prompts as they came with their texts behind them, padded on the right, prompt by prompt: [N, L]."""
    longest = max(map(len, texts))
    new_NL = torch.tensor([[*text, *[pad_id] * (longest - len(text))] for text in texts], device=input_ids.device)
    return torch.cat([input_ids.repeat_interleave(len(texts) // len(input_ids), dim=0), new_NL], dim=1)


def _refuse_criteria(criteria: Sequence[Any]) -> None:
    own = ("MaxLengthCriteria", "EosTokenCriteria")  # which `generate` adds to those of its caller
    for name in (type(one).__name__ for one in criteria):
        if name not in own:
            raise ConfigError(f"stopping_criteria={name}: has no effect here; allowed is none (the strategy says when)")


def _eos_ids(strategy: Strategy, model: Any, tokenizer: Any, generation_config: Any) -> tuple[int, ...]:
    """The end tokens of the strategy; "model": those of the generation config, the model or the tokenizer."""
    if strategy.eos == "none":
        return ()
    if strategy.eos != "model":
        return tuple(strategy.eos)
    owners = (generation_config, model.config.get_text_config(), tokenizer)
    found = (getattr(owner, "eos_token_id", None) for owner in owners)
    ids = next((one for one in found if one not in (None, [])), ())
    return (ids,) if isinstance(ids, int) else tuple(ids)


def _limit(strategy: Strategy, prompt_length: int, context: int | None) -> int:
    """How many tokens a prompt is continued by, at most. Raises ConfigError where that does not fit the context."""
    limit = new_token_limit(strategy, prompt_length)
    if context is not None and prompt_length + limit > context:
        raise ConfigError(
            f"strategy.max_new_tokens={strategy.max_new_tokens}: a prompt has {prompt_length} tokens, the context "
            f"of the model {context}; allowed is up to {context - prompt_length}"
        )
    return limit
