"""Rows of two models that advance together: a strategy may read what a second model says of the same texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from decodebench.engine.probe import Forward
from decodebench.engine.rows import Prefix, Rows
from decodebench.strategies.step import Scores


@dataclass(frozen=True, kw_only=True)
class PairedPrefix(Prefix):
    """A sequence that both models have read."""

    amateur: Prefix


class PairedRows:
    """The rows of a model, with those of a second one (the amateur) that are admitted, fed and moved alike.

    For the rest, its counts too, these are the first model's rows. Where a row lies depends on the parents alone, so
    it lies at the same place in both.
    """

    def __init__(self, main: Rows, amateur: Rows) -> None:
        self._main = main
        self._amateur = amateur

    def __getattr__(self, name: str) -> Any:
        return getattr(self._main, name)

    @property
    def amateur(self) -> Scores:
        """The second model's raw logits."""
        return self._amateur.scores

    @property
    def capture_failure(self) -> str | None:
        """As `Rows.capture_failure`, of either."""
        return self._main.capture_failure or self._amateur.capture_failure

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """As `Rows.prefill`, by both models."""
        pairs = zip(self._main.prefill(prompts), self._amateur.prefill(prompts), strict=True)
        return [PairedPrefix(**vars(own), amateur=other) for own, other in pairs]

    def admit(self, prefixes: Sequence[PairedPrefix]) -> list[int]:
        """As `Rows.admit`, in both."""
        return self._same(self._main.admit(prefixes), self._amateur.admit([p.amateur for p in prefixes]))

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """As `Rows.advance`, by both models."""
        return self._same(self._main.advance(parents, tokens), self._amateur.advance(parents, tokens))

    def scrub(self, row: int) -> None:
        """As `Rows.scrub`, in both."""
        self._main.scrub(row)
        self._amateur.scrub(row)

    def _same(self, rows: list[int], others: list[int]) -> list[int]:
        if rows != others:
            raise RuntimeError("the rows of two models do not lie at the same places")
        return rows


def make_paired(
    models: tuple[Any, Any], forwards: tuple[Forward, Forward], device: torch.device, hidden_layers: Iterable[int] = ()
) -> Any:
    """New, empty rows of a model and a second one: a `Rows`. If one of them cannot use a cache, neither does."""
    if any(forward.path != "cached" for forward in forwards):
        forwards = (replace(forwards[0], path="whole sequence"), replace(forwards[1], path="whole sequence"))
    (first, second), (one, other) = forwards, models
    return PairedRows(first.make_rows(one, device, hidden_layers), second.make_rows(other, device))
