"""cells -> requests: what only the loaded model can tell of a cell, its tokens, ends, limits and what does not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from decodebench.decoding.solo import fitted
from decodebench.deploy import generation_config_fields
from decodebench.engine import Request
from decodebench.errors import ConfigError, PromptError
from decodebench.models import (
    LoadedModel,
    asks_for_the_date,
    context_length,
    encode,
    load_second,
    model_facts,
    prompt_doubts,
    vocabulary,
)
from decodebench.plan import Job
from decodebench.records import Prompt
from decodebench.store import Key
from decodebench.strategies import check_penalties, guided, new_token_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cell ready to decode: its requests, its prompts' texts by id, and the GenerationConfig fields of its first
    prompt for the manifest; `warnings` say what is odd about it.
    """

    job: Job
    requests: tuple[Request, ...]
    texts: Mapping[str, str]
    generation_config: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def keys(self, request: Request) -> list[Key]:
        """The texts that a request returns."""
        first = request.sample * self.job.strategy.returns
        return [(request.cell, request.prompt_id, first + rank) for rank in range(self.job.strategy.returns)]


_ANOTHER = "\ue000"
"""A text that no prompt has (for private use)."""


def prepare(job: Job, loaded: LoadedModel) -> Prepared:
    """The requests of a cell. Raises ConfigError or PromptError for what only the loaded model can tell."""
    facts = model_facts(loaded, stop_ids(job, loaded), job.strategy.stop, job.strategy.stop_keep)
    facts = replace(facts, encode_prompt=lambda text: encode(loaded, text, job.template, job.date))
    _check_date(job, loaded)
    if not job.strategy.packs:
        job = replace(job, strategy=fitted(job.strategy, loaded, facts))
    strategy = guided(job.strategy, facts)
    strategy.check(facts)
    check_penalties(strategy, facts)
    key = f"strategy.{strategy.second_model_key}"
    second = load_second(strategy.second_model, loaded, key) if strategy.second_model else None
    requests = []
    doubts: dict[str, list[str]] = {}
    others = encode(loaded, _ANOTHER, job.template, job.date) if job.template == "chat" else None
    for prompt in job.prompts:
        ids = encode(loaded, prompt.text, job.template, job.date)
        for doubt in prompt_doubts(loaded.tokenizer, prompt.text, job.template, ids, loaded.eos_ids, others):
            doubts.setdefault(doubt, []).append(prompt.id)
        limit = new_token_limit(strategy, len(ids), f"prompt {prompt.id}", PromptError)
        _check_prompt(job, prompt, len(ids), limit, loaded.context_length)
        longest = max(map(len, strategy.row_prompts(ids, facts)))
        _check_context("strategy.negative_prompt", longest, limit, loaded.context_length)
        if second is not None:
            _check_context(f"{key}={strategy.second_model}", len(ids), limit, context_length(second.config))
        for sample in range(strategy.samples):
            requests.append(
                Request(
                    cell=job.cell.id,
                    strategy=strategy,
                    prompt_id=prompt.id,
                    prompt_ids=ids,
                    sample=sample,
                    limit=limit,
                    seed=job.cell.seed,
                    facts=facts,
                )
            )
    fields = generation_config_fields(
        job.strategy, eos_ids=facts.eos_ids, pad_id=loaded.pad_id, limit=requests[0].limit, facts=facts
    )
    texts = {prompt.id: prompt.text for prompt in job.prompts}
    warnings = tuple(
        f"prompts={job.cell.prompts}: {len(ids)} of {len(job.prompts)} prompts ({_first(ids)}) {doubt}"
        for doubt, ids in doubts.items()
    )
    return Prepared(job=job, requests=tuple(requests), texts=texts, generation_config=fields, warnings=warnings)


def _first(ids: Sequence[str], most: int = 3) -> str:
    """The first ids of a list, and that there are more."""
    return ", ".join([*ids[:most], *(["..."] if len(ids) > most else [])])


def _check_date(job: Job, loaded: LoadedModel) -> None:
    """Raise ConfigError for a date that was given, and that the chat template does not ask for."""
    day = job.cell.config["prompts"].get("date")
    if day is not None and loaded.tokenizer.chat_template and not asks_for_the_date(loaded):
        raise ConfigError(
            f"prompts.date={day}: has no effect, the chat template of {loaded.name} does not ask for the date; allowed "
            "is null"
        )


def stop_ids(job: Job, loaded: LoadedModel) -> tuple[int, ...]:
    """The token ids that end a text of this cell."""
    eos = job.strategy.eos
    if eos == "none":
        return ()
    if eos == "model":
        for name, off in (("min_new_tokens", 0), ("exponential_decay_length_penalty", None)):
            value = getattr(job.strategy, name)
            if value != off and not loaded.eos_ids:
                allowed = "null" if off is None else off
                raise ConfigError(
                    f"strategy.{name}={value}: has no effect, "
                    f"{loaded.name} has no end token; allowed is {allowed}, or strategy.eos=[id]"
                )
        return loaded.eos_ids
    last = vocabulary(loaded.model) - 1
    if max(eos) > last:
        raise ConfigError(f"strategy.eos={list(eos)}: {loaded.name} has token ids 0 to {last}")
    return tuple(eos)


def _check_prompt(job: Job, prompt: Prompt, length: int, limit: int, context: int | None) -> None:
    """Raise PromptError where a prompt of so many tokens leaves a context too small for the new ones."""
    if context is not None and length >= context:
        raise PromptError(
            f"prompts={job.cell.prompts}: prompt {prompt.id} alone has {length} tokens, and the context of "
            f"model={job.model.name} only {context}; allowed are shorter prompts, or a longer context"
        )
    if context is not None and length + limit > context:
        raise PromptError(
            f"prompts={job.cell.prompts}: prompt {prompt.id} has {length} tokens, with {limit} new ones "
            f"{length + limit}: more than the {context} of the context of model={job.model.name}; allowed is "
            f"strategy.max_new_tokens up to {context - length}"
        )


def _check_context(what: str, length: int, limit: int, context: int | None) -> None:
    """Raise ConfigError where what beside the prompt is needed leaves a context too small for the new tokens."""
    if context is not None and length + limit > context:
        raise ConfigError(
            f"{what}: {length} tokens to start from and {limit} new ones are more than the context of {context}; "
            f"allowed is strategy.max_new_tokens up to {context - length}, or fewer tokens to start from"
        )
