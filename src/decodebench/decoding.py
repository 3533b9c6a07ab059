"""cells -> generations: the requests of the cells that share a model, decoded together and stored as they finish."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from decodebench.cells import Job
from decodebench.config import EngineConfig
from decodebench.deploy import generation_config_fields
from decodebench.device import free_bytes, peak_memory
from decodebench.engine import Decoder, Forward, Outcome, Request, Room, room
from decodebench.errors import ConfigError, ModelError, PromptError
from decodebench.models import LoadedModel, vocabulary
from decodebench.records import Counts, Generation, Prompt
from decodebench.store import Key, RunStore
from decodebench.tokens import decode, encode, model_facts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the rows were estimated to take, and what the process (on CUDA: the allocator) took while they decoded."""

    room: Room
    measured_bytes: int | None
    measured_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cell ready to decode: its requests, and the GenerationConfig fields of its first prompt for the manifest."""

    job: Job
    requests: tuple[Request, ...]
    generation_config: Mapping[str, Any]

    def keys(self, request: Request) -> list[Key]:
        """The texts that a request returns."""
        first = request.sample * self.job.strategy.returns
        return [(request.cell, request.prompt_id, first + rank) for rank in range(self.job.strategy.returns)]


def prepare(job: Job, loaded: LoadedModel) -> Prepared:
    """The requests of a cell. Raises ConfigError or PromptError for what only the loaded model can tell."""
    facts = model_facts(loaded, stop_ids(job, loaded))
    job.strategy.check(facts)
    requests = []
    for prompt in job.prompts:
        ids = encode(loaded, prompt.text, job.template)
        limit = new_token_limit(job, prompt, ids, loaded.context_length)
        for sample in range(job.strategy.samples):
            requests.append(
                Request(
                    cell=job.cell.id,
                    strategy=job.strategy,
                    prompt_id=prompt.id,
                    prompt_ids=ids,
                    sample=sample,
                    limit=limit,
                    seed=job.cell.seed,
                    facts=facts,
                )
            )
    fields = generation_config_fields(
        job.strategy, eos_ids=facts.eos_ids, pad_id=loaded.pad_id, limit=requests[0].limit
    )
    return Prepared(job=job, requests=tuple(requests), generation_config=fields)


def stop_ids(job: Job, loaded: LoadedModel) -> tuple[int, ...]:
    """The token ids that end a text of this cell."""
    eos = job.strategy.eos
    if eos == "none":
        return ()
    if eos == "model":
        if job.strategy.min_new_tokens and not loaded.eos_ids:
            raise ConfigError(
                f"strategy.min_new_tokens={job.strategy.min_new_tokens}: has no effect, "
                f"{loaded.name} has no end token; allowed is 0, or strategy.eos=[id]"
            )
        return loaded.eos_ids
    last = vocabulary(loaded.model) - 1
    if max(eos) > last:
        raise ConfigError(f"strategy.eos={list(eos)}: {loaded.name} has token ids 0 to {last}")
    return tuple(eos)


def new_token_limit(job: Job, prompt: Prompt, ids: Sequence[int], context_length: int | None) -> int:
    """How many tokens a prompt may be continued by. Raises PromptError where nothing fits the limits or the context."""
    strategy = job.strategy
    limits = [n for n in (strategy.max_new_tokens, _minus(strategy.max_total_tokens, len(ids))) if n is not None]
    limit = min(limits)
    if limit < max(1, strategy.min_new_tokens):
        raise PromptError(
            f"strategy.max_total_tokens={strategy.max_total_tokens}: prompt {prompt.id} has {len(ids)} tokens; "
            f"allowed is {len(ids) + max(1, strategy.min_new_tokens)} or more"
        )
    if context_length is not None and len(ids) + limit > context_length:
        raise PromptError(
            f"prompts={job.cell.prompts}: prompt {prompt.id} has {len(ids)} tokens, with {limit} new ones "
            f"{len(ids) + limit}: more than the {context_length} of the context of model={job.model.name}; allowed is "
            f"strategy.max_new_tokens up to {context_length - len(ids)}"
        )
    return limit


def _minus(total: int | None, prompt_length: int) -> int | None:
    return None if total is None else total - prompt_length


def waiting(prepared: Sequence[Prepared], store: RunStore) -> list[Request]:
    """The requests of which the store lacks a text."""
    return [r for p in prepared for r in p.requests if any(key not in store.generations for key in p.keys(r))]


def rows_that_fit(todo: Sequence[Request], loaded: LoadedModel, forward: Forward, engine: EngineConfig) -> Room | None:
    """How many rows the memory has room for; None where nothing is left to do.

    Raises ConfigError where `engine.memory_gb` is too little for one request.
    """
    if not todo:
        return None
    return room(
        todo,
        forward,
        vocabulary=vocabulary(loaded.model),
        logit_bytes=loaded.model.dtype.itemsize,
        free_bytes=free_bytes(loaded.device),
        memory_gb=engine.memory_gb,
        max_rows=engine.max_rows,
    )


def decode_cells(
    prepared: Sequence[Prepared],
    todo: Sequence[Request],
    fits: Room | None,
    loaded: LoadedModel,
    forward: Forward,
    *,
    store: RunStore,
    failure: Callable[[str, str], None],
) -> tuple[Counts, Memory | None]:
    """Decode the waiting requests; every finished one goes to the store at once.

    Returns what was done, and the memory of the rows: None where there was nothing to do.
    """
    by_cell = {p.job.cell.id: p for p in prepared}
    prompts = {(p.job.cell.id, prompt.id): prompt for p in prepared for prompt in p.job.prompts}
    total = sum(p.job.strategy.returns * len(p.requests) for p in prepared)
    to_decode = sum(r.strategy.returns for r in todo)
    before = Counts(requests_total=total, requests_stored_before=total - to_decode)
    if fits is None:
        return before, None
    hidden_layers = {layer for p in prepared for layer in _layers(p)}
    rows = forward.make_rows(loaded.model, loaded.device, hidden_layers)
    done = alone = 0

    with (
        peak_memory(loaded.device) as peak,
        logging_redirect_tqdm(),
        tqdm(total=sum(map(_expected, todo)), unit="tok", desc=f"decoding {to_decode} texts", disable=None) as bar,
    ):

        def sink(outcomes: Sequence[Outcome]) -> None:
            nonlocal done, alone
            store.append([_generation(o, by_cell[o.request.cell].job, prompts, loaded) for o in outcomes])
            done += len(outcomes)
            alone += sum(o.computed_tokens for o in outcomes)
            for outcome in (o for o in outcomes if o.rank == 0):  # a text that ended early: less is left to do
                fed = outcome.computed_tokens - len(outcome.request.prompt_ids)
                spared = max(0, _expected(outcome.request) - fed)
                bar.total = max(bar.n, (bar.total or 0) - spared)

        def tick(fed: int) -> None:
            bar.update(fed)

        start_bytes, _ = peak()
        with _memory_errors(fits.max_rows, store.run_dir.name):
            Decoder(rows, max_rows=fits.max_rows, sink=sink, failure=failure).run(todo, tick=tick)
        peak_bytes, why = peak()
    counts = replace(
        before,
        requests_decoded=done,
        prefills=rows.prefills,
        forward_passes=rows.forward_passes,
        tokens_alone=alone,
        tokens_computed=rows.tokens_computed,
    )
    measured = None if peak_bytes is None or start_bytes is None else peak_bytes - start_bytes
    return counts, Memory(room=fits, measured_bytes=measured, measured_reason=why)


@contextmanager
def _memory_errors(max_rows: int, name: str) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f"engine.max_rows={max_rows}: out of memory; finished texts are kept, and the same command with "
            f"name={name} and fewer rows (or a smaller engine.memory_gb) goes on"
        ) from error


def _layers(prepared: Prepared) -> tuple[int, ...]:
    """The layers whose hidden states a cell reads."""
    return prepared.job.strategy.hidden_layers(prepared.requests[0].facts)


def _expected(request: Request) -> int:
    """Rows fed for a request that runs to its limit: its last token is not fed."""
    return request.strategy.width * (request.limit - 1)


def _generation(
    outcome: Outcome, job: Job, prompts: Mapping[tuple[str, str], Prompt], loaded: LoadedModel
) -> Generation:
    request = outcome.request
    ended = bool(outcome.token_ids) and outcome.token_ids[-1] in request.facts.eos_ids
    content = outcome.token_ids[:-1] if ended else outcome.token_ids
    return Generation(
        cell=job.cell.id,
        model=job.cell.model,
        strategy=job.cell.strategy,
        seed=job.cell.seed,
        prompt_id=request.prompt_id,
        sample=request.sample * job.strategy.returns + outcome.rank,
        prompt=prompts[job.cell.id, request.prompt_id].text,
        text=decode(loaded, content),
        token_ids=outcome.token_ids,
        token_logprobs=outcome.token_logprobs,
        finish_reason="eos" if ended else "length",
        delivered_tokens=len(outcome.token_ids),
        computed_tokens=outcome.computed_tokens,
        score=outcome.score,
        is_search=job.strategy.is_search,
    )
