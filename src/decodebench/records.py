"""The records that pass from stage to stage: conf -> cells -> generations -> measurements -> report.

No torch here: a stage that only reads records starts in milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 1
"""Version of the columns of generations, measurements and latency, and of manifest.json (docs/run_folder.md)."""

FinishReason = Literal["eos", "stop", "length", "end"]
Direction = Literal["higher", "lower", "none"]
Verdict = Literal["better", "worse", "higher", "lower", "indistinguishable", "cannot tell"]

HUMAN = "human"
"""The strategy of the human references: the human continuations of the prompts, measured as a cell of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A text to continue. `references` are its accepted answers, or a human continuation; prompts that name the same
    `cluster` are not independent of each other (one document, one speech).
    """

    id: str
    text: str
    references: tuple[str, ...] = ()
    cluster: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def reference(self) -> str | None:
        """The first of the references: what stands for the human text of this prompt; None where there is none."""
        return self.references[0] if self.references else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrompt:
    """A prompt of a run, with what texts are held against: a row of prompts.parquet. `prompts` is the label of its set
    in the manifest, the other fields are those of `Prompt`.
    """

    prompts: str
    prompt_id: str
    text: str
    references: tuple[str, ...]
    cluster: str | None
    language: str | None

    @classmethod
    def of(cls, prompts: str, prompt: Prompt) -> "StoredPrompt":
        """The row of a prompt of the set with this label."""
        return cls(
            prompts=prompts,
            prompt_id=prompt.id,
            text=prompt.text,
            references=prompt.references,
            cluster=prompt.cluster,
            language=prompt.language,
        )

    @property
    def prompt(self) -> Prompt:
        """The prompt of this row; a table keeps no tags."""
        return Prompt(
            id=self.prompt_id,
            text=self.text,
            references=self.references,
            cluster=self.cluster,
            language=self.language,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the grid: model x prompt set x strategy x seed.

    `id` is a hash of what changes the tokens; `model`, `prompts` and `strategy` are names in conf/, each with the
    numbers that tell it from its namesakes in the run; `config` is the resolved configuration (plain containers), kept
    with the run.
    """

    id: str
    model: str
    prompts: str
    strategy: str
    seed: int
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """What checking several tokens at a time came to for one text, counted while it was decoded.

    `target_forwards` are passes of the model itself, `drafted_tokens` those that it was given to check, and
    `accepted_tokens` those of them that were delivered.
    """

    target_forwards: int
    drafted_tokens: int
    accepted_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One returned text. `sample` counts independent samples; for searches it is the rank (0 is the best).

    `token_ids` are the delivered tokens, the EOS that ended the text included; `token_logprobs` (nats) are of the raw
    model, one for each of them; `text` has no special tokens and no prompt. `computed_tokens` counts the tokens fed
    through the model as if the request ran alone (prompt included); a search books all of it on rank 0.
    `score` is the search's own ranking score, None for samplers. `target_forwards`, `drafted_tokens` and
    `accepted_tokens` are those of `Drafting`, None for strategies that take one token at a time.

    `token_margins` say how far each token of greedy search was ahead of the next best one, after penalties; None
    elsewhere. `prompt_ids_sha256` tells the token ids apart that were fed as the prompt (`models.ids_sha256`); None for
    texts that were given without tokens, and in runs from before there was this column.

    A text that a stop string ended (`finish_reason` "stop") keeps all tokens up to the one that completes the string,
    as another keeps its EOS: they were computed and delivered, and have log-probs. `text` ends before the string (with
    `stop_keep` behind it), and `content_tokens` says how many of the tokens have a part in it; a token in which the
    string begins has one. None of other texts.

    `finish_reason` "end" is that of a text that was given, not generated: a human continuation, or a text of a file.
    Such a text may have no tokens, or tokens without log-probs.
    """

    cell: str
    model: str
    strategy: str
    seed: int
    prompt_id: str
    sample: int
    prompt: str
    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    finish_reason: FinishReason
    delivered_tokens: int
    computed_tokens: int
    score: float | None = None
    is_search: bool = False
    target_forwards: int | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    token_margins: tuple[float, ...] | None = None
    prompt_ids_sha256: str | None = None
    content_tokens: int | None = None

    @property
    def content_ids(self) -> tuple[int, ...]:
        """The delivered tokens without the EOS, or the stop string, that ended the text."""
        if self.content_tokens is not None:
            return self.token_ids[: self.content_tokens]
        return self.token_ids[:-1] if self.finish_reason == "eos" else self.token_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a scorer says of one text that follows its prompt: a row of readings.parquet.

    `token_ids` are the text in the scorer's own tokens; `token_logprobs` and `token_entropies` (nats) are of each of
    them, given the prompt and the tokens before it. `embedding` is the mean of the last hidden states over the text's
    tokens, `prompt_embedding` over the prompt's; empty where there is no token.
    """

    cell: str
    prompt_id: str
    sample: int
    scorer: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    token_entropies: tuple[float, ...]
    embedding: tuple[float, ...]
    prompt_embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a task says of one text: a row of judgements.parquet.

    `answer` is what was taken from the text before it was compared (extracted and normalised; None: nothing was found),
    `value` how good it is (1 right, 0 wrong, or a score between), None where the judge gave none: `reason` says why.

    Where the thinking of a reasoning model is left out (`task.thinking`), `thinking_unclosed` says that it never ended,
    which leaves an empty answer; lengths are in characters, that of the answer before anything is extracted from it.
    """

    cell: str
    prompt_id: str
    sample: int
    answer: str | None
    value: float | None
    reason: str | None
    thinking_unclosed: bool | None = None
    thinking_characters: int | None = None
    answer_characters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One timed call of `model.generate` for one strategy: a row of latency.parquet. Seconds and bytes are raw."""

    cell: str
    model: str
    strategy: str
    prompt_id: str
    round: int
    e2e_s: float
    ttft_s: float | None
    ttft_reason: str | None
    new_tokens: int
    peak_bytes: int | None
    peak_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One metric of one cell. `value`, or the interval, may be None: `reason` then says why."""

    cell: str
    model: str
    strategy: str
    metric: str
    value: float | None
    reason: str | None
    unit: str
    direction: Direction
    n: int
    ci_low: float | None
    ci_high: float | None
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The mean of a metric over the units `start` to `stop` (exclusive, counted from 0) of a cell's texts."""

    cell: str
    model: str
    strategy: str
    curve: str
    unit: str
    start: int
    stop: int
    value: float | None
    reason: str | None
    n: int
    ci_low: float | None
    ci_high: float | None
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`strategy` minus `against` in one metric, paired by prompt: a row of differences.parquet.

    The seeds of a strategy are averaged within each prompt. `comparisons` is how many strategies were compared in this
    metric; `p_holm` and the interval are corrected for them. `detectable` is the smallest difference that would be
    found four times out of five. `reason` says why a value or a verdict is missing.
    """

    model: str
    prompts: str
    strategy: str
    against: str
    metric: str
    value: float | None
    reason: str | None
    unit: str
    direction: Direction
    n: int
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None
    comparisons: int
    detectable: float | None
    verdict: Verdict
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """The place of a strategy among those of a run over the metrics that were chosen: a row of ranking.parquet.

    `front`: no other strategy is as good in every chosen metric and better in one. `strength` is that of the
    Bradley-Terry model (log odds, mean 0), `mean_rank` the mean of the ranks within each prompt and metric (1 is the
    best). Strategies with the same `tie` cannot be told apart. `reason` says why a number is missing, or what the
    chosen metrics favour.
    """

    model: str
    prompts: str
    strategy: str
    metrics: tuple[str, ...]
    front: bool
    strength: float | None
    strength_low: float | None
    strength_high: float | None
    mean_rank: float | None
    mean_rank_low: float | None
    mean_rank_high: float | None
    tie: int | None
    n: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCell:
    """A cell that could not be decoded, with the one line that says why."""

    cell: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellWarning:
    """One line on what is odd about some cells that were decoded all the same; `metric` is the one that counted it,
    None where it was seen before decoding.
    """

    warning: str
    cells: tuple[str, ...]
    metric: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a run did: requests are returned texts; tokens are those fed through the model, prompts included."""

    requests_total: int = 0
    requests_stored_before: int = 0
    requests_decoded: int = 0
    prefills: int = 0
    forward_passes: int = 0
    tokens_alone: int = 0
    tokens_computed: int = 0
