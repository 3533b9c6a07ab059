"""Human continuations -> texts of a cell of their own, with the log-probs that the generating model gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from decodebench.errors import noted
from decodebench.models import SELF, LoadedModel, decode, fastest_exact_products, ids_sha256
from decodebench.plan import Job, reference_id
from decodebench.reading import Item, prompt_tokens, read_texts, text_tokens
from decodebench.records import HUMAN, Generation, Prompt
from decodebench.strategies import most_new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """References as texts, and by the id of their cell why the model could not read those of a prompt set."""

    texts: tuple[Generation, ...]
    unread: Mapping[str | None, str]


def reference_texts(
    jobs: Sequence[Job], manifest: Mapping[str, Any], stored: Sequence[Generation], loaded: LoadedModel
) -> References:
    """The references of all prompts of these cells, which share the loaded model; `stored` ones are not read again.

    A reference is cut to what the model's cells on its prompts may generate at most, by `manifest`; those that failed
    do not count, and where all did, there are none.
    """
    known = {(g.cell, g.prompt_id): g for g in stored}
    sets = {reference_id(job.cell.config, job.prompts_sha256): job for job in jobs}
    texts: list[Generation] = []
    unread: dict[str | None, str] = {}
    for cell, job in sets.items():
        limits = _limits(cell, manifest)
        prompts = [prompt for prompt in job.prompts if prompt.reference] if limits else []
        with noted(unread, cell):
            new = [_given(prompt, prompt.reference or "", job, cell, limits, loaded) for prompt in prompts]
            texts += _read(new, known, loaded, job)
    return References(texts=tuple(texts), unread=unread)


def _limits(cell: str, manifest: Mapping[str, Any]) -> list[tuple[int | None, int | None]]:
    """`max_new_tokens` and `max_total_tokens` of the cells that have these references beside them and did not fail."""
    failed = {entry["cell"] for entry in manifest["failed"]}
    return [
        (entry["config"]["strategy"].get("max_new_tokens"), entry["config"]["strategy"].get("max_total_tokens"))
        for entry in manifest["cells"]
        if entry["id"] not in failed
        and reference_id(entry["config"], manifest["prompts"][entry["prompts"]]["sha256"]) == cell
    ]


def _given(
    prompt: Prompt,
    reference: str,
    job: Job,
    cell: str,
    limits: Sequence[tuple[int | None, int | None]],
    loaded: LoadedModel,
) -> Generation:
    """A reference as a text, cut to the longest that the cells may generate; its log-probs are still to come."""
    fed = prompt_tokens(loaded, prompt.text, job.template, job.date)
    before = len(fed)
    longest = max(most_new_tokens(new, total, before) for new, total in limits)
    token_ids = text_tokens(loaded, reference)
    kept = token_ids[:longest]
    return Generation(
        cell=cell,
        model=job.cell.model,
        strategy=HUMAN,
        seed=0,
        prompt_id=prompt.id,
        sample=0,
        prompt=prompt.text,
        text=reference if kept == token_ids else decode(loaded, kept),
        token_ids=kept,
        token_logprobs=(),
        finish_reason="end",
        delivered_tokens=len(kept),
        computed_tokens=before + len(kept),
        prompt_ids_sha256=ids_sha256(fed),
    )


def _read(
    new: Sequence[Generation],
    known: Mapping[tuple[str, str], Generation],
    loaded: LoadedModel,
    job: Job,
) -> list[Generation]:
    """The texts with their log-probs: those that are known for these tokens and prompts, or from a pass."""
    logprobs = {g.prompt_id: old.token_logprobs for g in new if (old := known.get(_key(g))) and _same(g, old)}
    items = [
        Item(
            cell=g.cell,
            prompt_id=g.prompt_id,
            sample=0,
            prompt_ids=prompt_tokens(loaded, g.prompt, job.template, job.date),
            token_ids=g.token_ids,
        )
        for g in new
        if g.prompt_id not in logprobs
    ]
    if items:
        with fastest_exact_products(loaded.device, loaded.model.dtype):
            logprobs |= {r.prompt_id: r.token_logprobs for r in read_texts(loaded, items, scorer=SELF)}
    return [replace(g, token_logprobs=logprobs[g.prompt_id]) for g in new]


def _key(text: Generation) -> tuple[str, str]:
    return text.cell, text.prompt_id


def _same(new: Generation, old: Generation) -> bool:
    same = (new.token_ids, new.prompt_ids_sha256) == (old.token_ids, old.prompt_ids_sha256)
    return same and len(old.token_logprobs) == len(old.token_ids)
