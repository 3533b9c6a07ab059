"""Strategies as a user might write them, for tests: `strategy._target_=own_strategies.Slow`."""

import os
import time
from dataclasses import dataclass

from decodebench.strategies import Greedy, Moves, State, Temperature, View


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
