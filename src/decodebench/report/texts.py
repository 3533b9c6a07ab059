"""The texts of a run, side by side: for each prompt what every cell made of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from decodebench.errors import one_line
from decodebench.records import Generation, Judgement
from decodebench.report.comparison import Comparison, Row
from decodebench.report.folder import Run
from decodebench.report.formats import number

OPEN_PROMPTS = 3
"""How many prompts a page shows at once; the others are folded."""
MOST_OF_ANSWER = 80
"""Characters of an extracted answer that stand beside its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTexts:
    """A prompt, and for each cell that continued it the returned texts in the order of their sample or rank.

    Where the texts were judged, `judged` says what of each, by cell and sample, and `references` are what they were
    held against.
    """

    prompt_id: str
    prompts: str
    prompt: str
    columns: tuple[tuple[Row, tuple[Generation, ...]], ...]
    references: tuple[str, ...] = ()
    judged: Mapping[tuple[str, int], Judgement] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """How many of the texts have the full value: `3 of 12 right`; where values are graded, their mean."""
        values = [each.value for each in self.judged.values() if each.value is not None]
        if not values:
            return ""
        if set(values) <= {0, 1}:
            return f"{int(sum(values))} of {len(values)} right"
        return f"task {number(math.fsum(values) / len(values))}"

    @property
    def title(self) -> str:
        """Its set and id, and how many of its texts are right where they were judged."""
        return " · ".join(filter(None, (self.prompts, self.prompt_id, self.verdict)))

    @property
    def accepted(self) -> str:
        """The references that texts were held against, on one line; nothing where they were not judged."""
        return f"accepted: {'; '.join(map(one_line, self.references))}" if self.references else ""

    def said(self, text: Generation) -> str:
        """What the task says of a text of this prompt: `wrong · answer: Lyon`; nothing where it was not judged."""
        found = self.judged.get((text.cell, text.sample))
        if found is None:
            return ""
        if found.value is None:
            return f"not judged: {one_line(found.reason)}"
        value = {1.0: "right", 0.0: "wrong"}.get(found.value, f"task {number(found.value)}")
        answer = "no answer" if found.answer is None else f"answer: {one_line(found.answer, MOST_OF_ANSWER)}"
        return f"{value} · {answer}"


def by_prompt(run: Run, comparison: Comparison) -> Iterator[PromptTexts]:
    """The prompts in the order in which they were stored; the cells in the order of the manifest.

    Prompts of two sets, or two wordings under one id, are never mixed.
    """
    set_of = {row.cell: row.prompts for row in comparison.rows}
    found: dict[tuple[str, str, str], dict[str, list[Generation]]] = {}
    for each in (*run.generations, *run.references):
        key = (set_of[each.cell], each.prompt_id, each.prompt)
        found.setdefault(key, {}).setdefault(each.cell, []).append(each)
    judged: dict[tuple[str, str], dict[tuple[str, int], Judgement]] = {}
    for said in run.judgements:
        judged.setdefault((set_of[said.cell], said.prompt_id), {})[said.cell, said.sample] = said
    references = {(row.prompts, row.prompt_id): row.references for row in run.prompts}
    for (prompts, prompt_id, prompt), cells in found.items():
        columns = [
            (row, tuple(sorted(cells[row.cell], key=lambda text: text.sample)))
            for row in comparison.rows
            if row.cell in cells
        ]
        of_prompt = judged.get((prompts, prompt_id), {})
        yield PromptTexts(
            prompt_id=prompt_id,
            prompts=prompts,
            prompt=prompt,
            columns=tuple(columns),
            references=references.get((prompts, prompt_id), ()) if of_prompt else (),
            judged=of_prompt,
        )


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
