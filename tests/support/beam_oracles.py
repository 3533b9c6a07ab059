"""What the tests of beam searches share: a beam search in plain Python, and how often outcomes may come."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from scipy.stats import binom

from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode
from decodebench.strategies import Strategy
from engine_runs import CACHED, PROMPTS, WHOLE, requests_of, run

Text = tuple[int, ...]
LogProbs = Callable[[Text], list[float]]
"""The log-prob of each token after a new text."""

LIMIT = 12
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
"""The tiny models' own and some that come up, so that texts end before the limit too."""


def log_probs_of(model: Any, prompt: Sequence[int], strategy: Strategy | None = None) -> LogProbs:
    """Log-probs by forward passes over whole texts; with the repetition penalty of the strategy (on log-probs) and
    its repeated n-grams and early end tokens forbidden, each by its definition."""
    known: dict[Text, list[float]] = {}

    def read(text: Text) -> list[float]:
        if text not in known:
            with torch.inference_mode():
                logits = model(torch.tensor([[*prompt, *text]])).logits[0, -1]
            known[text] = _penalized(torch.log_softmax(logits, -1).tolist(), [*prompt, *text], len(text), strategy)
        return known[text]

    return read


def _penalized(scores: list[float], ids: list[int], new: int, strategy: Strategy | None) -> list[float]:
    if strategy is None:
        return scores
    for token in set(ids):
        scores[token] *= strategy.repetition_penalty
    size = strategy.no_repeat_ngram_size
    if size:
        for at in range(len(ids) - size + 1):
            if ids[at : at + size - 1] == ids[len(ids) - size + 1 :]:
                scores[ids[at + size - 1]] = -math.inf
    if new < strategy.min_new_tokens:
        for token in EOS_IDS:
            scores[token] = -math.inf
    return scores


@dataclass(kw_only=True)
class PlainBeam:
    """The bookkeeping of a beam search: texts that run, texts that have ended, and whether it is over.

    `early` is transformers' early_stopping. A step gets candidates (accumulated score, text) in order; those that end
    among the first `beams` may be kept, by score / length**penalty, and the best others run on.
    """

    beams: int
    limit: int
    eos_ids: Sequence[int]
    penalty: float = 1.0
    early: bool | str = True
    running: list[tuple[float, Text]] = field(default_factory=lambda: [(0.0, ())])
    finished: list[tuple[float, Text]] = field(default_factory=list)
    over: bool = False

    def ends(self, text: Text) -> bool:
        return text[-1] in self.eos_ids or len(text) >= self.limit

    def advance(self, candidates: Sequence[tuple[float, Text]], runs_on: Sequence[tuple[float, Text]] = ()) -> None:
        """`runs_on`: what runs on, where that is not simply the best."""
        length = len(candidates[0][1])
        for score, text in candidates[: self.beams]:
            if self.ends(text):
                self.finished.append((score / length**self.penalty, text))
        self.finished = sorted(self.finished, key=lambda found: -found[0])[: self.beams]
        going = [candidate for candidate in candidates if not self.ends(candidate[1])]
        self.running = sorted(runs_on or going, key=lambda found: -found[0])[: self.beams]
        full = len(self.finished) == self.beams
        if not going:
            self.over = True
        elif full:
            longest = self.limit if self.early == "never" and self.penalty > 0 else length
            hopeless = self.running[0][0] / longest**self.penalty <= self.finished[-1][0]
            self.over = self.early is True or hopeless


def prompts_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names}


def assert_texts_by_hand(
    loaded: LoadedModel,
    strategies: Mapping[str, Any],
    by_hand: Callable[[Any, Text], list[tuple[float, Text]]],
    **near: float,
) -> None:
    """Three prompts and all strategies in one batch give the texts and scores that `by_hand(strategy, prompt)` has."""
    prompts = prompts_of(loaded, "ko", "en", "short")
    done = run(loaded.model, requests_of(dict(strategies), prompts, limit=LIMIT, eos_ids=EOS_IDS))
    assert done.failures == {}
    lengths = set()
    for name, strategy in strategies.items():
        for prompt_id, prompt in prompts.items():
            expected = by_hand(strategy, prompt)[: strategy.returns]
            mine = [done.outcomes[name, prompt_id, 0, rank] for rank in range(strategy.returns)]
            assert [o.token_ids for o in mine] == [text for _, text in expected], (name, prompt_id)
            assert [o.score for o in mine] == pytest.approx([score for score, _ in expected], **near)
            lengths |= {len(o.token_ids) for o in mine}
    assert min(lengths) < LIMIT == max(lengths), "no text ended early, or all did"


def assert_the_batch_changes_nothing(loaded: LoadedModel, strategies: dict[str, Strategy], **rules: Any) -> None:
    """Alone (1 row), in narrow batches and together, with and without the cache: the same texts in the same order."""
    requests = requests_of(strategies, prompts_of(loaded, "ko", "en", "short"), eos_ids=EOS_IDS, limit=LIMIT, **rules)
    together = run(loaded.model, requests)
    assert together.failures == {}
    assert len(together.outcomes) == sum(request.strategy.returns for request in requests)
    for forward, max_rows in ((CACHED, 1), (CACHED, 7), (WHOLE, 7), (WHOLE, 128)):
        other = run(loaded.model, requests[::-1], forward=forward, max_rows=max_rows)
        assert other.tokens == together.tokens, (forward.path, max_rows)


def assert_counts(
    seen: Counter[Any], expected: Mapping[Any, float], *, false_alarm: float = 1e-6, among: Hashable = ""
) -> None:
    """Outcomes came as often as their probabilities say: exact binomial tails; all of them share the false alarm."""
    draws = sum(seen.values())
    assert set(seen) <= set(expected), among
    assert math.isclose(sum(expected.values()), 1.0, abs_tol=1e-6), among
    for outcome, p in expected.items():
        least = min(binom.cdf(seen[outcome], draws, p), binom.sf(seen[outcome] - 1, draws, p))
        assert least > false_alarm / (2 * len(expected)), (among, outcome, seen[outcome], draws * p)
