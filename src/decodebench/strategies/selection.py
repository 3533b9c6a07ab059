"""Choosing among samples: n candidates are drawn as strategy=sample draws them, and one is returned.

Candidate i of a request has the tokens of sample i of strategy=sample with the same numbers and seed. In a grid they
are the same physical rows, so that choosing among samples which are there anyway costs nothing more.
"""

import re
import unicodedata
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from decodebench.strategies.base import Strategy
from decodebench.strategies.composed import Sample
from decodebench.strategies.step import EMPTY, Ending, ModelFacts, Moves, State, View, ending, text_of, true_or_all
from decodebench.strategies.utilities import chrf, cosine, expected, ngram_f1, of_pairs

LAST_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
"""A number: a minus sign that is none between two words, digits with or without commas, decimals."""


@dataclass(frozen=True, kw_only=True)
class Selection(Strategy):
    """Draws n candidates and returns the one that `choose` names; a request owns a row for each candidate."""

    n: int = 8
    temperature: float = 0.75
    top_k: int | None = 50
    top_p: float | None = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_count()
        _ = self.rule  # raises what strategy=sample raises

    def _check_count(self) -> None:
        self.require("n", self.n >= 1, "1 or more")

    @cached_property
    def rule(self) -> Sample:
        """What draws a candidate: strategy=sample with these numbers, penalties too."""
        own = {f.name for f in fields(self)}
        return Sample(
            num_return_sequences=self.n, **{f.name: getattr(self, f.name) for f in fields(Sample) if f.name in own}
        )

    @property
    def rows(self) -> int:
        return self.n

    @property
    def width(self) -> int:
        return self.n

    @property
    def in_transformers(self) -> bool:
        return False

    @abstractmethod
    def choose(self, view: View, state: State) -> tuple[int, float]:
        """Which candidate of one finished request is returned, and its score; view and state have its n rows."""

    def start(self, requests: int, device: torch.device) -> State:
        return {"ended_B": torch.zeros(requests * self.n, dtype=torch.bool, device=device)}

    def step(self, view: View, state: State) -> Moves:
        row_B = torch.arange(len(view.physical_B), device=view.device)
        running = true_or_all(~state["ended_B"])
        candidates = replace(view, draws=view.draws.of_samples(row_B % self.n))
        moves = self.rule.step(candidates.select(running), {})
        nothing_B = torch.full_like(row_B, EMPTY)
        emit_B, feed_B = (
            nothing_B.index_copy(0, running, own).masked_fill(state["ended_B"], EMPTY)
            for own in (moves.emit_B, moves.feed_B)
        )
        return Moves(
            parent_B=row_B,
            emit_B=emit_B,
            feed_B=feed_B,
            state={"ended_B": feed_B == EMPTY},
        )

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        ended_R = state["ended_B"].view(-1, self.n).all(1)
        chosen_R1 = torch.zeros(len(ended_R), 1, dtype=torch.int64)
        score_R1 = torch.full((len(ended_R), 1), torch.nan, dtype=torch.float64)
        for r in ended_R.nonzero().squeeze(1).tolist():
            rows = torch.arange(r * self.n, (r + 1) * self.n, device=view.device)
            chosen, score = self.choose(view.select(rows), {name: kept[rows] for name, kept in state.items()})
            chosen_R1[r, 0], score_R1[r, 0] = chosen, score
        return chosen_R1, score_R1

    def generation_config(self) -> dict[str, Any]:
        """How a candidate is drawn; transformers chooses none."""
        return self.rule.generation_config() | {"num_return_sequences": 1}


@dataclass(frozen=True, kw_only=True)
class BestOfN(Selection):
    """The likeliest of n samples: the largest raw log-prob / length**length_penalty, which is the score.

    Source: sample-and-rank (Adiwardana et al. 2020). The length counts the end token. With 1 it is the mean log-prob of
    a token, as in OpenAI's `best_of`; with 0 that of the whole text, as in vLLM's, which favours short texts.
    """

    length_penalty: float = 1.0

    def choose(self, view: View, state: State) -> tuple[int, float]:
        score_N = normalized_logprob(view, self.length_penalty)
        best = int(score_N.argmax())
        return best, float(score_N[best])


@dataclass(frozen=True, kw_only=True)
class SelfConsistency(Selection):
    """The answer that most of n samples give (Wang et al. 2023), in the sample of it with the largest mean log-prob.

    A sample's answer is the last match of `answer_pattern` that has content: its first group that took part, or the
    whole match. Null: the last number (without thousands separators), where there is none the last line with content.
    Answers are compared in NFC, without case, white space as single spaces. The score is the share of the n samples
    that give the answer. A sample without an answer does not vote; where none has one, the likeliest sample is
    returned with score 0. Equal votes go to the answer with the likelier sample, equal log-probs to the first.
    """

    answer_pattern: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = "a regular expression of Python that is not empty, or null (the last number, else the last line)"
        self.require("answer_pattern", self.answer_pattern is None or is_pattern(self.answer_pattern), allowed)

    def choose(self, view: View, state: State) -> tuple[int, float]:
        answers = [answer(text, self.answer_pattern) for text in texts(view)]
        votes = Counter(answers)
        votes[None] = 0
        logprob = normalized_logprob(view, 1.0).tolist()
        best = max(range(self.n), key=lambda i: (votes[answers[i]], logprob[i], -i))
        return best, votes[answers[best]] / self.n


@dataclass(frozen=True, kw_only=True)
class MBR(Selection):
    """Minimum Bayes risk: the sample that is most like the other n - 1, on average (the score).

    Source: Kumar and Byrne 2004; over samples, Eikema and Aziz 2020; of language models, Suzgun et al. 2023. `utility`,
    with the sample as hypothesis and each other one as pseudo-reference: chrf (sacrebleu, 0 to 100), ngram_f1 (of token
    n-grams up to `ngram`; null: 2), or embedding (cosine of the means of the model's last hidden states at the tokens
    of the text that it has read, which is all but the last). What ended the text (end token, stop string) is no part of
    it. Equal means go to the first sample.
    """

    utility: str = "chrf"
    ngram: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("utility", self.utility in ("chrf", "ngram_f1", "embedding"), "chrf, ngram_f1, or embedding")
        if self.utility == "embedding":
            self.refuse_guidance()
        ngram = self.ngram is None or (self.utility == "ngram_f1" and self.ngram >= 1)
        self.require("ngram", ngram, "1 or more with strategy.utility=ngram_f1, null with the others")

    def _check_count(self) -> None:
        self.require("n", self.n >= 3, "3 or more (of two, each would be the other's only judge)")

    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        return (*super().hidden_layers(facts), *((-1,) if self.utility == "embedding" else ()))

    def start(self, requests: int, device: torch.device) -> State:
        state = super().start(requests, device)
        if self.utility == "embedding":
            state["total_BH"] = torch.zeros(requests * self.n, 0, device=device)  # as wide as the model from step 1 on
        return state

    def step(self, view: View, state: State) -> Moves:
        moves = super().step(view, state)
        if self.utility != "embedding":
            return moves
        running = true_or_all(~state["ended_B"])
        read = view.select(running)
        # Before the first token the state is the prompt's; of a text that has ended there is none.
        of_text = ((read.new_B > 0) & ~state["ended_B"][running])[:, None]
        hidden_BH = torch.where(of_text, read.hidden_BH(-1).to(torch.float32), 0.0)
        total_BH = state["total_BH"]
        total_BH = torch.nn.functional.pad(total_BH, (0, hidden_BH.shape[1] - total_BH.shape[1]))
        return replace(moves, state=moves.state | {"total_BH": total_BH.index_add(0, running, hidden_BH)})

    def choose(self, view: View, state: State) -> tuple[int, float]:
        if self.utility == "chrf":
            utility = of_pairs(texts(view), chrf)
        elif self.utility == "ngram_f1":
            utility = of_pairs(contents(view), partial(ngram_f1, order=self.ngram or 2))
        else:
            utility = cosine(state["total_BH"])  # the cosine of sums is that of means
        score = expected(utility)
        best = max(range(self.n), key=lambda i: (score[i], -i))
        return best, score[best]


def normalized_logprob(view: View, length_penalty: float) -> Tensor:
    """The raw log-prob of each text, end token included, over its number of tokens**length_penalty, float64 [B]."""
    return view.logprob_BL.nansum(1, dtype=torch.float64) / view.new_B.to(torch.float64) ** length_penalty


def contents(view: View) -> list[tuple[int, ...]]:
    """The token ids of each text without its end token, or those of the stop string that ended it."""
    return [ids[: end.content] for ids, end in _endings(view)]


def texts(view: View) -> list[str]:
    """The texts as a user gets them."""
    return [text_of(view.facts, ids, end) for ids, end in _endings(view)]


def _endings(view: View) -> list[tuple[tuple[int, ...], Ending]]:
    """The token ids of each text, and how it ended."""
    rows = zip(view.prefix_BL.tolist(), view.prompt_length_B.tolist(), view.length_B.tolist(), strict=True)
    found = [(tuple(prefix[:start]), tuple(prefix[start:end])) for prefix, start, end in rows]
    return [(ids, ending(view.facts, prompt_ids, ids)) for prompt_ids, ids in found]


def is_pattern(pattern: str) -> bool:
    """Whether it is a regular expression, and not an empty one."""
    try:
        re.compile(pattern)
    except re.error:
        return False
    return bool(pattern)


def answer(text: str, pattern: str | None) -> str | None:
    """The answer in a text, in the form in which answers are compared; None where there is none."""
    text = unicodedata.normalize("NFC", text)
    if pattern is None:
        numbers = LAST_NUMBER.findall(text)
        return numbers[-1].replace(",", "") if numbers else last_of(text.splitlines())
    matches = re.finditer(unicodedata.normalize("NFC", pattern), text)
    return last_of([next((group for group in m.groups() if group is not None), m[0]) for m in matches])


def last_of(found: list[str]) -> str | None:
    """The last one that has content: NFC, without case, white space as single spaces."""
    answers = [unicodedata.normalize("NFC", " ".join(one.split()).casefold()) for one in found]
    return next((one for one in reversed(answers) if one), None)
