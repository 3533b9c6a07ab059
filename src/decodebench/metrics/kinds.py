"""The two kinds of metrics: those that are a mean over prompts, and those of a whole set of texts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from decodebench.metrics.corpus import Corpus, Stats, Text
from decodebench.metrics.texts import Unit
from decodebench.records import Direction
from decodebench.stats import SUBSETS, Finish, identity

Level = Literal["text", "set", "prompt", "samples", "corpus"]
"""Where the value arises: `text`: of each text, averaged; `set`: one ratio of sums over all texts (both from the
counted texts: every sample, but only rank 0 of a search); `prompt`: the sum over all that was returned for a prompt;
`samples`: between all texts that a prompt returned, averaged over prompts; `corpus`: of a set with one counted text for
each prompt, averaged over the samples."""

Need = Literal["logprobs", "generated", "reading", "human", "judged"]
"""What the records must have for a metric to exist at all."""

WITHOUT: dict[Need, str] = {
    "logprobs": "the texts have no log-probabilities",
    "generated": "the texts were given, not generated",
    "reading": "no scorer has read the texts (scorer.id=self, or another model)",
    "human": "the prompts have no references",
    "judged": "the texts were not judged",
}
"""The reason where a need is not met."""

Group = Literal[
    "task",
    "repetition",
    "the whole set",
    "between samples",
    "likelihood",
    "length",
    "rules",
    "cost",
    "against people's texts",
    "on the first units alone",
    "other",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""What a report shows together, in its order; `other` is for what the tables do not have."""
HUMAN_GROUP: Group = "against people's texts"
LEADING_GROUP: Group = "on the first units alone"

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """What a row says of any metric: what it is, and where a report shows it.

    Within its `group` a metric comes in the order of the tables. `headline` is its place in the short table, from 1 on
    (None: not there). `drawn`: has a panel of its own in the plot of all metrics; not so what says what another says.
    These three are read of the tables' own rows; what is made of a row is placed by its name (`names`).
    """

    name: str
    direction: Direction
    group: Group
    unit: str = "1"
    version: str = "1"
    headline: int | None = None
    drawn: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(MetricRow):
    """A metric that is made of means over prompts: what it keeps of a text, and how that becomes one value.

    `per_text` gives the K numbers that suffice (None: this text has no value and is left out); they are averaged (level
    `prompt`: summed) within each prompt, then over prompts; `finish` makes the value of the K means. At the level
    `samples` it is `per_prompt` that gives them, from all texts of a prompt; `per_k` in its place gives them for k of
    these texts (and 1, or -1 where less is better): such a row is measured for several k. `missing` is the reason where
    nothing is left. `by_unit`: depends on the unit that texts are cut into; `{unit}` stands for its name. `share`: in
    most runs 0 or 1 for each text. `repeats`: measured on leading units too, so that long texts do not repeat more for
    being long.
    """

    level: Level
    per_text: Callable[[Text], Stats | None] = lambda text: None
    per_prompt: Callable[[Sequence[Text]], Stats | None] | None = None
    per_k: Callable[[Sequence[Text], int, int], Stats | None] | None = None
    finish: Finish = identity
    missing: str = "no text"
    needs: tuple[Need, ...] = ()
    by_unit: bool = False
    share: bool = False
    repeats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValue:
    """A metric of a whole set, ready to be taken of some of its prompts: `of` gets their places in `prompt_ids`.

    `n` is how many of them have anything to add (an n-gram, a character, an embedding).
    `subsets` is for how many of them there is time; `no_interval` says why it is not taken of any.
    """

    of: Callable[[Index], float | None]
    prompt_ids: tuple[str, ...]
    n: int
    subsets: int = SUBSETS
    no_interval: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMetric(MetricRow):
    """A metric of a set of texts, which no mean over prompts gives.

    `prepare` does once what all subsets share; it gives a reason where there can be no value, and `missing` is the
    reason where the subset of all prompts has none. `within` are the ends that neither the value nor its
    interval can leave.
    """

    prepare: Callable[[Corpus], SetValue | str]
    level: Level = "corpus"
    missing: str = "no text"
    needs: tuple[Need, ...] = ()
    by_unit: bool = False
    repeats: bool = False
    within: tuple[float, float] = (0.0, math.inf)


AnyMetric = Metric | SetMetric


def named(metric: AnyMetric, unit: Unit) -> str:
    """The name of a metric with the unit that it is counted in, where that matters and is not tokens."""
    return f"{metric.name}_{unit}" if metric.by_unit and unit != "tokens" else metric.name


def unmet(needs: Sequence[Need], corpus: Corpus) -> str | None:
    """Why these records cannot have the metric; None where they can."""
    need = next((need for need in needs if not _met(need, corpus)), None)
    if need == "human" and corpus.is_human:
        return "these are the references themselves"
    if need == "reading" and corpus.unread is not None:
        return f"the scorer could not read the texts ({corpus.unread})"
    if need == "judged" and corpus.is_human:
        return "human references are not judged"
    return None if need is None else WITHOUT[need]


def _met(need: Need, corpus: Corpus) -> bool:
    if need == "human":
        return corpus.human is not None
    if need == "reading":
        return any(text.reading is not None for text in corpus.texts)
    if need == "judged":
        return corpus.judged_whole is not None or any(text.judgement is not None for text in corpus.texts)
    if need == "generated":
        return any(text.generation.finish_reason != "end" for text in corpus.texts)
    return any(text.generation.token_logprobs for text in corpus.texts) or not any(
        text.generation.finish_reason == "end" for text in corpus.texts
    )
