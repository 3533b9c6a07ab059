"""Two halves of the prompts: one chooses, the other reports. Whoever reports the best of many on the prompts that it
was chosen on reports luck with it (arXiv 2610.09239: 13 to 20 points on 16 prompts, 1 to 5 on 256)."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from decodebench.errors import ConfigError
from decodebench.stats import MIN_PROMPTS

SELECT, CONFIRM = "select", "confirm"
_SIDE = re.compile(rf" \(({SELECT}|{CONFIRM})( \d+)?\)$")
WELL = 64
"""Prompts to confirm on that remove the overstatement on average (arXiv 2610.09239)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The ids of the prompts that choose and of those that report; the same ones where the `kind` is "none"."""

    kind: Literal["half", "none"]
    select: tuple[str, ...]
    confirm: tuple[str, ...]

    @property
    def limits(self) -> str | None:
        """What this split cannot show, in a sentence; None where it is as it should be."""
        if self.kind == "none":
            return (
                "Nothing is confirmed: the prompts that chose are those that report, so that the best looks too good."
            )
        if len(self.confirm) < WELL:
            return (
                f"{len(self.confirm)} prompts confirm: only large differences can be shown. Of {2 * WELL} prompts "
                f"or more, {WELL} or more confirm."
            )
        return None


def split_prompts(cluster_of: Mapping[str, str], kind: Literal["half", "none"] = "half") -> Split:
    """Split prompts, given the cluster of each one by its id, whole clusters to either side.

    The first clusters by hash confirm, until they are half of the prompts. Raises ConfigError where a side would have
    fewer than 10 clusters: nothing could be said of it.
    """
    if kind == "none":
        return Split(kind=kind, select=tuple(cluster_of), confirm=tuple(cluster_of))
    clusters = hashed_clusters(cluster_of)
    confirming: set[str] = set()
    for cluster in clusters:
        if 2 * sum(of in confirming for of in cluster_of.values()) >= len(cluster_of):
            break
        confirming.add(cluster)
    sides = sorted((len(confirming), len(clusters) - len(confirming)))
    if sides[0] < MIN_PROMPTS:
        each = "prompts" if len(clusters) == len(cluster_of) else "clusters of prompts"
        raise ConfigError(
            f"choose.split=half: {len(clusters)} {each} make halves of {sides[0]} and {sides[1]}; allowed are "
            f"{MIN_PROMPTS} or more in each, or choose.split=none, which reports without confirming"
        )
    return Split(
        kind=kind,
        select=tuple(id_ for id_, of in cluster_of.items() if of not in confirming),
        confirm=tuple(id_ for id_, of in cluster_of.items() if of in confirming),
    )


def hashed_clusters(cluster_of: Mapping[str, str]) -> list[str]:
    """The clusters of prompts in the order of their smallest hashed id, which knows nothing of texts nor of the order
    of the prompts. `cluster_of` has the cluster of each prompt by its id."""
    hashed: dict[str, bytes] = {}
    for id_, of in cluster_of.items():
        found = hashlib.sha256(id_.encode()).digest()
        hashed[of] = min(found, hashed.get(of, found))
    return sorted(hashed, key=lambda of: hashed[of])


def named(prompts: str, side: str, number: int | None = None) -> str:
    """The name of a prompt set that a half was decoded as on its own; `number` is that of a race's round."""
    return f"{prompts} ({side})" if number is None else f"{prompts} ({side} {number})"


def side_of(prompts: str) -> str | None:
    """The half that a prompt set of such a name is; None for any other."""
    found = _SIDE.search(prompts)
    return found[1] if found else None
