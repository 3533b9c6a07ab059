"""Strategies as a user might write them, for tests: `strategy._target_=own_strategies.Slow`."""

import builtins
import os
import time
from dataclasses import dataclass
from typing import Any

import torch

from decodebench.strategies import Greedy, Moves, PromptLookup, State, Temperature, View
from decodebench.strategies.greedy import advance_alone


@dataclass(frozen=True, kw_only=True)
class Slow(Temperature):
    """Sleeps SLOW_S seconds at each step, so that there is time to kill it."""

    def step(self, view: View, state: State) -> Moves:
        time.sleep(float(os.environ.get("SLOW_S", "0")))
        return super().step(view, state)


@dataclass(frozen=True, kw_only=True)
class Broken(Greedy):
    """Raises at its third token."""

    def step(self, view: View, state: State) -> Moves:
        if int(view.new_B.max()) >= 2:
            raise ValueError("broken on purpose")
        return super().step(view, state)


@dataclass(frozen=True, kw_only=True)
class BrokenLookup(PromptLookup):
    """One that `generate` refuses."""

    def generation_config(self) -> dict[str, Any]:
        return super().generation_config() | {"max_matching_ngram_size": -1}


@dataclass(frozen=True, kw_only=True)
class EveryThirdSecond(Greedy):
    """Greedy, but every third token is the second likeliest: a search that transformers does not have."""

    offset: int = 0

    @property
    def in_transformers(self) -> bool:
        return False

    def step(self, view: View, state: State) -> Moves:
        ids = view.scores.top(view.physical_B, 2)[1]
        is_second = (view.new_B + self.offset) % 3 == 2
        return advance_alone(view, torch.where(is_second, ids[:, 1], ids[:, 0]))


@dataclass(frozen=True, kw_only=True)
class Raises(Greedy):
    """Greedy, but whoever asks it for the attribute or method `where` gets an error of the class `kind`."""

    where: str = ""
    kind: str = "LookupError"

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "where"):
            raise getattr(builtins, object.__getattribute__(self, "kind"))(f"broken in {name}")
        return object.__getattribute__(self, name)
