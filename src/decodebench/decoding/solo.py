"""Requests of strategies that do not pack -> outcomes, one prompt at a time through `model.generate`.

What `generate` fed to the model is watched from outside: a hook sees each forward pass, a stopping criterion how long
the text is after it. Nothing of the counts is taken from a formula.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from decodebench.deploy import generation_config, generation_config_fields, quiet
from decodebench.engine import Outcome, Request
from decodebench.errors import ConfigError, DecodebenchError, ModelError, guarded, one_line
from decodebench.models import LoadedModel, load_second, sharing_copy
from decodebench.records import Counts, Drafting
from decodebench.strategies import Assisted, Strategy
from decodebench.strategies.step import ModelFacts, StopStrings, stream_key


def fitted(strategy: Strategy, loaded: LoadedModel, facts: ModelFacts) -> Strategy:
    """The strategy with the numbers that it takes from the model, known to run on it.

    Raises ConfigError for a model without a key-value cache and for a draft that does not fit, ModelError for a draft
    that cannot be loaded.
    """
    strategy.check(facts)
    _require_cache(loaded.model, f"strategy={type(strategy).__name__}", loaded.name)
    if isinstance(strategy, Assisted) and strategy.draft is None:
        strategy = replace(strategy, assistant_early_exit=strategy.exit_layers(facts))
    generate_call(strategy, {}, loaded)
    return strategy


def _require_cache(model: Any, key: str, name: str) -> None:
    """Raise ConfigError for a model that cannot take tokens back: one without a cache, or with recurrent layers."""
    if "past_key_values" not in inspect.signature(type(model).forward).parameters:
        raise ConfigError(f"{key}: {name} has no key-value cache to take tokens back from; allowed is a model with one")
    if getattr(model, "_is_stateful", False):
        raise ConfigError(
            f"{key}: {name} ({model.config.model_type}) has layers whose state cannot be taken back; allowed is a "
            "model with a key-value cache alone"
        )


def generate_call(
    strategy: Strategy, fields: dict[str, Any], loaded: LoadedModel
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `generate` is called with for a strategy: its GenerationConfig fields, and its other arguments.

    An early exit is handed over as a model of its own. transformers' `assistant_early_exit` shortens the model in
    place: that fails where its layers are not cut by its configuration (GPT-2, GPT-J), and leaves it short.
    """
    if not isinstance(strategy, Assisted):
        return fields, {}
    if strategy.draft is None:
        draft = _first_layers(loaded, strategy.assistant_early_exit or 1)
    else:
        draft = sharing_copy(load_second(strategy.draft, loaded, "strategy.draft"))
        _require_cache(draft, f"strategy.draft={strategy.draft}", "it")
    # transformers reads these from the draft, not from the fields of the call
    names = ("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold")
    own = {name: getattr(strategy, name) for name in names}
    draft.generation_config = generation_config(own | {"pad_token_id": loaded.pad_id})
    return {name: value for name, value in fields.items() if name != "assistant_early_exit"}, {"assistant_model": draft}


def _first_layers(loaded: LoadedModel, count: int) -> Any:
    """The model with its first `count` layers alone, its norm and head behind them; it shares the weights.

    Raises ConfigError for a model whose layers are not one list as long as its configuration says, or whose
    configuration derives what it says of them.
    """
    draft = sharing_copy(loaded.model)
    config = draft.config.get_text_config()
    lists = (module for module in draft.get_decoder().modules() if isinstance(module, nn.ModuleList))
    layers = next((each for each in lists if len(each) == config.num_hidden_layers), None)
    try:
        if layers is None:
            raise AttributeError(f"it has no list of {config.num_hidden_layers} layers")
        del layers[count:]
        config.num_hidden_layers = count
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:count]
    except AttributeError as error:
        raise ConfigError(
            f"strategy.draft=null: the first layers of {loaded.name} ({config.model_type}) cannot be a draft "
            f"({one_line(error)}); allowed is a model of its own"
        ) from error
    return draft


def decode_alone(
    requests: Sequence[Request],
    loaded: LoadedModel,
    *,
    sink: Callable[[Sequence[Outcome]], None],
    failure: Callable[[str, str], None],
    tick: Callable[[int], None] = lambda tokens: None,
) -> Counts:
    """Decode requests one after the other; the counts are prefills, forward passes and tokens of the model itself.

    `sink` gets each outcome when it is there, `failure` a cell and why it failed (its other requests are dropped), and
    `tick` how many tokens a forward pass delivered.
    """
    failed: set[str] = set()
    done = passes = tokens = 0

    def fail(cell: str, error: DecodebenchError) -> None:
        failed.add(cell)
        failure(cell, str(error))

    with torch.inference_mode(), quiet():
        for request in requests:
            if request.cell in failed:
                continue
            with guarded(partial(fail, request.cell)):  # `generate` raises a dozen classes
                outcome = _decode(request, loaded, tick)
                done, tokens = done + 1, tokens + outcome.computed_tokens
                passes += outcome.drafting.target_forwards if outcome.drafting else 0
                sink([outcome])
    return Counts(prefills=done, forward_passes=passes, tokens_computed=tokens)


@dataclass(kw_only=True)
class _Watch:
    """What each forward pass was fed, and the length of prompt and text after it."""

    tick: Callable[[int], None]
    stops: StopStrings | None
    state: int
    fed: list[list[int]] = field(default_factory=list)
    lengths: list[int]

    def forward(self, model: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        """A hook in front of each forward pass of the model."""
        self.fed.append(named["input_ids"][0].tolist())

    def stopping(self, input_ids: Tensor, scores: Any, **named: Any) -> Tensor:
        """Called by `generate` after each forward pass; stops with a stop string, wherever in the new tokens it is."""
        new = input_ids.shape[1] - self.lengths[-1]
        self.tick(new)
        self.lengths.append(int(input_ids.shape[1]))
        place = None
        if self.stops is not None:
            self.state, place = self.stops.walk(self.state, input_ids[0, -new:].tolist())
        return torch.full((len(input_ids),), place is not None, device=input_ids.device)

    def drafting(self, sequence: Sequence[int]) -> Drafting:
        """What the passes came to. Each was fed what it did not know yet (the prompt, then one token), and a draft."""
        drafted = accepted = 0
        known = self.lengths[0]
        for ids, (start, end) in zip(self.fed, pairwise(self.lengths), strict=True):
            draft = ids[known:]
            drafted += len(draft)
            # A rejected token is never the one chosen in its place: what the draft and the text share was accepted.
            same = [a == b for a, b in zip(draft, sequence[start:end], strict=False)]
            accepted += (*same, False).index(False)
            known = 1
        return Drafting(target_forwards=len(self.fed), drafted_tokens=drafted, accepted_tokens=accepted)


def _decode(request: Request, loaded: LoadedModel, tick: Callable[[int], None]) -> Outcome:
    from transformers import StoppingCriteriaList

    prompt_ids, stops = request.prompt_ids, request.facts.stops
    state = stops.after_prompt(prompt_ids) if stops else 0
    watch = _Watch(tick=tick, stops=stops, state=state, lengths=[len(prompt_ids)])
    fields = generation_config_fields(
        request.strategy,
        eos_ids=request.facts.eos_ids,
        pad_id=loaded.pad_id,
        limit=request.limit,
        facts=request.facts,
    )
    # transformers looks for stop strings at the last of the new tokens alone
    fields |= {"return_dict_in_generate": True, "output_logits": True, "stop_strings": None}
    fields, named = generate_call(request.strategy, fields, loaded)
    ids = torch.tensor([prompt_ids], device=loaded.device)
    hook = loaded.model.register_forward_pre_hook(watch.forward, with_kwargs=True)
    try:
        with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
            torch.manual_seed(_seed(request))
            out = loaded.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=generation_config(fields),
                stopping_criteria=StoppingCriteriaList([watch.stopping]),
                **named,
            )
    finally:
        hook.remove()
    token_ids = tuple(out.sequences[0].tolist()[len(prompt_ids) :])
    if stops and (match := stops.find(prompt_ids, token_ids)):
        token_ids = token_ids[: match.last + 1]  # what was checked along with it
    return Outcome(
        request=request,
        rank=0,
        token_ids=token_ids,
        token_logprobs=_logprobs(out.logits[: len(token_ids)], token_ids, request.prompt_id),
        computed_tokens=sum(map(len, watch.fed)),
        score=None,
        drafting=watch.drafting((*prompt_ids, *token_ids)),
    )


def _seed(request: Request) -> int:
    """A seed for the global generator that belongs to the request: `generate` takes no generator of its own."""
    first, second = stream_key(request.seed, request.prompt_ids)
    first, second = stream_key(first << 32 | second, (request.sample,))
    return first << 32 | second


def _logprobs(logits: Sequence[Tensor], token_ids: Sequence[int], prompt_id: str) -> tuple[float, ...]:
    """Log-probs of the tokens under the raw logits ([1, V] for each)."""
    chosen = [torch.log_softmax(row.float(), -1)[0, token] for row, token in zip(logits, token_ids, strict=True)]
    logprobs = torch.stack(chosen)
    if not bool(torch.isfinite(logprobs).all()):
        raise ModelError(f"the model's logits are NaN or infinite in prompt {prompt_id}")
    return tuple(logprobs.tolist())
