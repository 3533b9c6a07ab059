"""Constrained beam search: texts in which given words appear (Post and Vilar 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from decodebench.errors import ConfigError
from decodebench.strategies.beam import NEVER, Beam, best_of_beams, logprobs
from decodebench.strategies.penalty_texts import bad_ids, encoded
from decodebench.strategies.step import ModelFacts, State, View, upload

LACKS = -1.0e8
"""Added to the score of a text that ends at the limit without all words: it ranks behind all that have them."""

Words = Sequence[Sequence[int]]
"""The tokens of each word."""


@dataclass(frozen=True, kw_only=True)
class ConstrainedBeam(Beam):
    """Beam search for texts that contain every one of `force_words`, by dynamic beam allocation.

    Source: Post and Vilar 2018. A text has met the tokens of the words that it contains, and of a word that it has
    begun at its end. Candidates are the best continuations of all beams, the next token of each missing word in every
    beam, and the best token of every beam. The num_beams places are shared out evenly among banks, one for each number
    of tokens met; the highest bank gets what is left over, and places for which a bank has no candidates go to the next
    lower one (from the lowest to the highest). A text ends at an end token, or with a stop string, only when it has all
    words.

    Beyond the paper, a candidate that leaves fewer tokens up to the limit than its missing words need comes after all
    others. So texts have all words wherever limit and penalties leave room. Where they do not, texts that lack words
    run to the limit, and rank behind all that have them; their score is the usual one.
    """

    force_words: Any = field(default_factory=lambda: ["."])

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_texts("force_words")
        words = self.force_words
        texts = isinstance(words, Sequence) and not isinstance(words, str) and len(words) > 0
        texts = texts and len(set(words)) == len(words)
        self.require("force_words", texts, "a list of different texts, one at least")
        for text in self.stop or ():
            inside = any(text in word[:-1] for word in words)
            self.require("force_words", not inside, f"texts without a strategy.stop before their end ({text!r})")

    @property
    def in_transformers(self) -> bool:
        return False

    def check(self, facts: ModelFacts) -> None:
        super().check(facts)
        words = self._words(facts)
        for text, ids in zip(self.force_words, words, strict=True):
            self.require("force_words", not {*ids} & {*facts.eos_ids}, f"texts without end tokens; {text!r} has one")
        for text, ids in zip(self.force_words, words, strict=True):
            bad = next((bad for bad in bad_ids(self, facts) if has(ids, bad)), None)
            self.require("force_words", bad is None, f"texts that strategy.bad_words lets come; {text!r} is not")
        needed = sum(map(len, words))
        if self.max_new_tokens is not None and needed > self.max_new_tokens:
            raise ConfigError(
                f"strategy.force_words={self.force_words}: has {needed} tokens; "
                f"allowed is up to strategy.max_new_tokens={self.max_new_tokens}"
            )

    def _words(self, facts: ModelFacts) -> Words:
        return encoded("force_words", tuple(self.force_words), facts)

    def start(self, requests: int, device: torch.device) -> State:
        state = super().start(requests, device)
        return state | {name: state[name].to(torch.float64) for name in ("running", "finished")}

    def _candidates(self, view: View, running: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The continuations of each request, [R, C]: those that have a place in a bank, then the others, best first."""
        words = self._words(view.facts)
        tokens = sum(map(len, words))
        row_RN = self._running_rows(view, *running.shape).view_as(running)
        score_RC, beam_RC, token_RC = self._proposed(view.select(row_RN.flatten()), running, words)
        parents = view.select(row_RN.gather(1, beam_RC).flatten())
        met_RC = met_tokens(words, *met_words(words, parents, token_RC.flatten())).view_as(token_RC)
        new_RC = parents.new_B.view_as(token_RC) + 1
        left_RC = parents.limit_B.view_as(token_RC) - new_RC

        finishes_RC = parents.finishes(token_RC.flatten(), torch.arange(token_RC.numel(), device=view.device))
        score_RC = score_RC.masked_fill(finishes_RC.view_as(token_RC) & (met_RC < tokens), -torch.inf)
        late_RC = tokens - met_RC > left_RC
        order = (score_RC + late_RC * LACKS).argsort(dim=1, descending=True, stable=True)
        fits_RC = (score_RC > NEVER / 2) & ~late_RC
        placed_RC = places(met_RC.gather(1, order), fits_RC.gather(1, order), tokens + 1, running.shape[1])
        order = order.gather(1, (~placed_RC).to(torch.int8).argsort(dim=1, stable=True))
        # What ends at the limit is divided by length**length_penalty; what sets it back must be LACKS afterwards.
        lacks_RC = (late_RC & (left_RC <= 0)) * LACKS * new_RC.to(torch.float32) ** self.length_penalty
        return (score_RC + lacks_RC).gather(1, order), beam_RC.gather(1, order), token_RC.gather(1, order)

    def _proposed(self, rows: View, running: Tensor, words: Words) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates in no order: score, beam, token, [R, C]; what is proposed twice has -inf the second time."""
        requests, beams = running.shape
        count = self._candidate_count(rows.eos_ids.numel())
        scores, at, log_z_B1 = logprobs(self, rows)
        score_BC, token_BC = scores.top(at, count)
        best = best_of_beams(score_BC - log_z_B1, token_BC, running, count)

        next_BW = next_tokens(words, *met_words(words, rows))
        more_BK = torch.cat([token_BC[:, :1], next_BW.clamp_min(0)], dim=1)
        score_BK = scores.of_tokens(at[:, None], more_BK) - log_z_B1
        score_BK[:, 1:].masked_fill_(next_BW < 0, -torch.inf)
        more = (
            (score_BK.view(requests, beams, -1) + running[:, :, None]).flatten(1),
            torch.arange(beams, device=rows.device).repeat_interleave(more_BK.shape[1]).expand(requests, -1),
            more_BK.reshape(requests, -1),
        )
        score_RC, beam_RC, token_RC = (torch.cat(pair, dim=1) for pair in zip(best, more, strict=True))
        which_RC = beam_RC * scores.vocabulary + token_RC
        again_RC = (which_RC[:, :, None] == which_RC[:, None]).tril(-1).any(-1)
        return score_RC.masked_fill(again_RC, -torch.inf), beam_RC, token_RC

    def _runs_on(self, score_RC: Tensor, ends_RC: Tensor, beams: int) -> tuple[Tensor, Tensor]:
        """The first that do not end, in the order of the candidates; the best of them first."""
        first = ends_RC.to(torch.int8).argsort(dim=1, stable=True)[:, :beams]
        running, order = (score_RC + ends_RC * NEVER).gather(1, first).sort(dim=1, descending=True, stable=True)
        return running, first.gather(1, order)

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        order, finished = super().ranking(view, state)
        if finished is not None:
            lacks = (finished < LACKS / 2) & (finished > NEVER / 2)
            finished = finished - lacks * LACKS
        return order, finished


def met_words(words: Words, rows: View, token_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which words each row's new text has (with one more token, where it is given), and how much of each it ends with.

    [B, W] each: whether the word's tokens are there in a row, and the length of its longest proper beginning that
    ends the text.
    """
    text_BL, length_B = rows.prefix_BL, rows.length_B
    if token_B is not None:
        text_BL = torch.nn.functional.pad(text_BL, (0, 1), value=-1).scatter(1, length_B[:, None], token_B[:, None])
        length_B = length_B + 1
    has, begun = [], []
    for word in words:
        word_T = upload(word, text_BL.device)
        start_L = torch.arange(max(0, text_BL.shape[1] - len(word) + 1), device=text_BL.device)
        found_BL = start_L >= rows.prompt_length_B[:, None]
        for at, token in enumerate(word):
            found_BL = found_BL & (text_BL[:, at : at + len(start_L)] == token)
        has.append(found_BL.any(1))
        most_B = torch.zeros_like(length_B)
        for part in range(1, len(word)):
            start_B1 = (length_B - part)[:, None]
            tail = text_BL.gather(1, (start_B1 + torch.arange(part, device=text_BL.device)).clamp_min(0))
            ends = (tail == word_T[:part]).all(1) & (start_B1.squeeze(1) >= rows.prompt_length_B)
            most_B = torch.where(ends, part, most_B)
        begun.append(most_B)
    return torch.stack(has, dim=1), torch.stack(begun, dim=1)


def met_tokens(words: Words, has_BW: Tensor, begun_BW: Tensor) -> Tensor:
    """How many tokens of the words are met: those of the words that are there, and of one that is begun, [B]."""
    length_W = upload([len(word) for word in words], has_BW.device)
    return (has_BW * length_W).sum(1) + begun_BW.masked_fill(has_BW, 0).amax(1)


def next_tokens(words: Words, has_BW: Tensor, begun_BW: Tensor) -> Tensor:
    """The token that goes on with each word where it is missing, [B, W]; -1 where it is there."""
    longest = max(map(len, words))
    table_WT = upload([[*word, *[-1] * (longest - len(word))] for word in words], has_BW.device)
    next_BW = table_WT.expand(len(has_BW), -1, -1).gather(2, begun_BW[:, :, None]).squeeze(2)
    return next_BW.masked_fill(has_BW, -1)


def places(bank_RC: Tensor, fits_RC: Tensor, banks: int, beams: int) -> Tensor:
    """Which candidates have one of the `beams` places, by dynamic beam allocation; they come best first.

    `bank_RC` is the number of tokens met, of 0 to banks - 1; only those that fit are placed.
    """
    in_bank_RCK = (bank_RC[:, :, None] == torch.arange(banks, device=bank_RC.device)) & fits_RC[:, :, None]
    there_RK = in_bank_RCK.sum(1)
    size_RK = torch.full_like(there_RK, beams // banks)
    size_RK[:, -1] += beams % banks
    for bank in 2 * list(reversed(range(banks))):  # the second time for what the lowest gave to the highest
        excess_R = (size_RK[:, bank] - there_RK[:, bank]).clamp_min(0)
        size_RK[:, bank] -= excess_R
        size_RK[:, bank - 1] += excess_R
    rank_RCK = in_bank_RCK.cumsum(1)
    return (in_bank_RCK & (rank_RCK <= size_RK[:, None])).any(2)


def has(ids: Sequence[int], part: Sequence[int]) -> bool:
    """Whether some tokens have others in a row."""
    return any(tuple(ids[at : at + len(part)]) == tuple(part) for at in range(len(ids) - len(part) + 1))
