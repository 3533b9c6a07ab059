"""Strategies with made values on made prompts, as choosing sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from decodebench.choosing import Half
from decodebench.metrics import Scored
from decodebench.records import Direction
from decodebench.scoring import Arm


@dataclass(frozen=True)
class Made:
    """A metric without texts."""

    name: str
    direction: Direction = "higher"
    version: str = "1"
    level: str = "text"


def arm(
    strategy: str, values: Mapping[str, Sequence[float] | None], ids: Sequence[str], **directions: Direction
) -> Arm:
    """An arm with these values of each metric, one for each prompt (None: the metric has no value)."""
    scored = {}
    for name, of_prompts in values.items():
        metric = Made(name, directions.get(name, "higher"))
        if of_prompts is None:
            scored[name] = Scored(metric=metric, name=name, unit="1", reason="nothing to count")
        else:
            scored[name] = Scored(
                metric=metric,
                name=name,
                unit="1",
                value=float(np.mean(of_prompts)),
                n=len(of_prompts),
                prompt_ids=tuple(ids),
                rows_PK=np.asarray(of_prompts, dtype=np.float64)[:, None],
            )
    return Arm(strategy=strategy, seeds=[scored])


def half(
    values: Mapping[str, Mapping[str, Sequence[float] | None]],
    clusters: Mapping[str, str] | None = None,
    ids: Sequence[str] = (),
    **directions: Direction,
) -> Half:
    """A half: by strategy and metric the values of its prompts p0, p1, ..."""
    longest = max(len(of) for metrics in values.values() for of in metrics.values() if of is not None)
    ids = ids or [f"p{n}" for n in range(longest)]
    arms = {strategy: arm(strategy, metrics, ids, **directions) for strategy, metrics in values.items()}
    return Half(arms=arms, prompts=tuple(ids), clusters=clusters or {})
