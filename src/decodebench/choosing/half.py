"""What was measured of each strategy on one half of the prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from decodebench.errors import ConfigError
from decodebench.records import Direction
from decodebench.scoring import Arm, Pooled
from decodebench.stats import Array, Estimate, Finish, Interval, paired, ratio_intervals


@dataclass(frozen=True, kw_only=True)
class Half:
    """The arms of the strategies by name, the ids of the prompts that count, and the cluster of each of these; of a
    race, the ids of the prompts of each round, and how many rounds each strategy was in."""

    arms: Mapping[str, Arm]
    prompts: tuple[str, ...]
    clusters: Mapping[str, str]
    rounds: tuple[tuple[str, ...], ...] = ()
    in_rounds: Mapping[str, int] = field(default_factory=dict)

    def direction(self, metric: str) -> Direction:
        """Which side of a metric is better. Raises ConfigError for one that was not measured, or that has no side."""
        known = {
            name: pooled.direction
            for arm in self.arms.values()
            for name in arm.names()
            if (pooled := arm.pooled(name)) is not None
        }
        usable = [name for name, direction in known.items() if direction != "none"]
        if metric not in usable:
            why = "neither more nor less of it is better" if metric in known else "was not measured"
            near = get_close_matches(metric, usable, n=3, cutoff=0.5) or usable[:3]
            raise ConfigError(
                f"choose.by={metric}: {why}; allowed are the {len(usable)} metrics that were measured and have a "
                f"direction, such as {', '.join(near)}"
            )
        return known[metric]

    def rows(self, strategy: str, metric: str) -> tuple[dict[str, Array], Finish] | str:
        """What a metric keeps of each prompt here, and what makes a value of their means; or why there is none."""
        pooled = self._pooled(strategy, metric)
        if pooled is None or pooled.value is None:
            return "was not measured" if pooled is None else pooled.reason or "has no value"
        if not pooled.rows:
            return "is a value of all prompts together: no half of them has it"
        rows = {prompt: pooled.rows[prompt] for prompt in self.prompts if prompt in pooled.rows}
        return (rows, pooled.finish) if rows else "has no value on these prompts"

    def value(self, strategy: str, metric: str) -> float | None:
        """The value of a metric on these prompts; where no half has one (a time, a whole set) that of all."""
        found = self.rows(strategy, metric)
        if isinstance(found, str):
            pooled = self._pooled(strategy, metric)
            return None if pooled is None else pooled.value
        rows, finish = found
        value = float(finish(*np.mean(list(rows.values()), axis=0)))
        return value if np.isfinite(value) else None

    def intervals(self, strategies: Sequence[str], metric: str) -> list[Interval]:
        """The interval of each strategy's `value`, for a metric that has rows."""
        found = [self._known(strategy, metric) for strategy in strategies]
        return ratio_intervals(
            [(np.array(list(rows.values())), finish) for rows, finish in found],
            [self._clusters(list(rows)) for rows, _ in found],
        )

    def paired(self, strategy: str, other: str, metric: str) -> Estimate:
        """One strategy minus the other, over the prompts of both."""
        rows, finish = self._known(strategy, metric)
        others, _ = self._known(other, metric)
        shared = [prompt for prompt in rows if prompt in others]
        a_PK, b_PK = (np.array([side[prompt] for prompt in shared]) for side in (rows, others))
        return paired(a_PK, b_PK, finish, self._clusters(shared))

    def together(self, strategies: Sequence[str], metric: str) -> tuple[list[tuple[Array, Finish]], list[str]]:
        """The rows of several strategies on the prompts that all of them have, and the clusters of these."""
        found = [self._known(strategy, metric) for strategy in strategies]
        shared = [prompt for prompt in self.prompts if all(prompt in rows for rows, _ in found)]
        return [(np.array([rows[p] for p in shared]), finish) for rows, finish in found], self._clusters(shared)

    def _known(self, strategy: str, metric: str) -> tuple[dict[str, Array], Finish]:
        found = self.rows(strategy, metric)
        assert not isinstance(found, str), "a strategy without values is left out before"
        return found

    def _pooled(self, strategy: str, metric: str) -> Pooled | None:
        return self.arms[strategy].pooled(metric) if strategy in self.arms else None

    def _clusters(self, prompts: Sequence[str]) -> list[str]:
        return [self.clusters.get(prompt, prompt) for prompt in prompts]


def sign(direction: Direction) -> int:
    """What a value is multiplied with so that more of it is better."""
    return 1 if direction == "higher" else -1
