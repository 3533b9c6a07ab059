"""The texts of a run, side by side: for each prompt what every cell made of it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decodebench.records import Generation
from decodebench.report.comparison import Comparison, Row
from decodebench.report.folder import Run
from decodebench.report.formats import number

OPEN_PROMPTS = 3
"""How many prompts a page shows at once; the others are folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTexts:
    """A prompt, and for each cell that continued it the returned texts in the order of their sample or rank."""

    prompt_id: str
    prompts: str
    prompt: str
    columns: tuple[tuple[Row, tuple[Generation, ...]], ...]


def by_prompt(run: Run, comparison: Comparison) -> Iterator[PromptTexts]:
    """The prompts in the order in which they were stored; the cells in the order of the manifest.

    Prompts of two sets, or two wordings under one id, are never mixed.
    """
    set_of = {row.cell: row.prompts for row in comparison.rows}
    found: dict[tuple[str, str, str], dict[str, list[Generation]]] = {}
    for each in (*run.generations, *run.references):
        key = (set_of[each.cell], each.prompt_id, each.prompt)
        found.setdefault(key, {}).setdefault(each.cell, []).append(each)
    for (prompts, prompt_id, prompt), cells in found.items():
        columns = [
            (row, tuple(sorted(cells[row.cell], key=lambda text: text.sample)))
            for row in comparison.rows
            if row.cell in cells
        ]
        yield PromptTexts(prompt_id=prompt_id, prompts=prompts, prompt=prompt, columns=tuple(columns))


def facts(text: Generation) -> str:
    """Which text it is, its length, why it stopped, and the mean log-probability of its tokens under the raw model."""
    stopped = {"eos": "ended", "length": "cut", "stop": "stopped", "end": "as given"}.get(
        text.finish_reason, text.finish_reason
    )
    scored = [each for each in text.token_logprobs if each is not None]
    mean = f" · mean logprob {number(math.fsum(scored) / len(scored))}" if scored else ""
    count = f"{text.delivered_tokens} token{'' if text.delivered_tokens == 1 else 's'}, "
    known = text.token_ids or text.finish_reason != "end"  # a text that was given may have no tokens
    return f"{_kind(text)} {text.sample} · {count if known else ''}{stopped}{mean}"


def more(texts: Sequence[Generation]) -> str:
    """What comes after the first text: `4 more ranks`, `1 more sample`."""
    return f"{len(texts) - 1} more {_kind(texts[0])}{'' if len(texts) == 2 else 's'}"


def _kind(text: Generation) -> str:
    return "rank" if text.is_search else "sample"
