"""A race: the prompts that choose come in rounds, and a setting that could hardly be the best on all of them any more
is not decoded any further.

From Synchronized Successive Rejects (arXiv 2606.07726) comes that all settings still in it see the same prompts in each
round, so that they are compared in pairs. That one rejects the worst at the end of each phase, shown or not; here a
setting leaves only by a test, so that the chance of losing the winner is bounded.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from decodebench.choosing.bounds import Bound
from decodebench.choosing.half import Half, sign
from decodebench.choosing.split import hashed_clusters
from decodebench.stats import ALPHA, Tail, sign_floor, t_p_values

FIRST = 16
"""Clusters of prompts in the first round: with fewer no difference can be shown among tens of settings."""


def rounds_of(cluster_of: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The ids of prompts in rounds, whole clusters in each, given the cluster of each prompt. Every round doubles what
    was decoded before it; the last has what is left, fewer than that or as many. Fewer than `2 * FIRST` clusters are
    one round: nothing is raced."""
    clusters = hashed_clusters(cluster_of)
    ends, end = [], FIRST
    while 2 * end <= len(clusters):
        ends.append(end)
        end *= 2
    parts = [
        set(clusters[start:stop])
        for start, stop in zip([0, *ends], [*ends, len(clusters)], strict=True)
        if clusters[start:stop]
    ]
    return tuple(tuple(id_ for id_, of in cluster_of.items() if of in part) for part in parts)


def still_in(
    strategies: Sequence[str], half: Half, by: str, *, prompts: int, looks: int, bounds: Sequence[Bound] = ()
) -> list[str]:
    """The settings that could still have the best value on all `prompts` that choose, of which `half` has those decoded
    so far.

    Each is compared with the best one so far (of those that meet the bounds), paired by prompt and one-sided. What is
    tested is not the difference on all prompts there are but that on these, of which a part is known: the standard
    error of a sample of a finite population, smaller by sqrt(1 - decoded / prompts) (Cochran 1977, "Sampling
    techniques", section 2.6). At 5% over all `looks` at the race and all settings that could be the best one so far
    (Bonferroni), so that with 95% the setting that all texts would have chosen is in it to the end. Settings without a
    value leave, they could not be chosen; where none meets the bounds, all stay.
    """
    direction = half.direction(by)
    known = [one for one in strategies if not isinstance(half.rows(one, by), str)]
    meeting = [one for one in known if all(bound.missed_by(one, half) == 0 for bound in bounds)]
    if not meeting:
        return known
    lead = max(meeting, key=lambda one: sign(direction) * (half.value(one, by) or 0.0))
    level = ALPHA / looks / max(len(known) - 1, 1)
    tail: Tail = "below" if direction == "higher" else "above"
    unknown = math.sqrt(max(0.0, 1 - len(half.prompts) / prompts))

    def is_behind(one: str) -> bool:
        found = half.paired(one, lead, by)
        if found.reason or found.value is None or found.standard_error is None or found.changed is None:
            return False
        (p,) = t_p_values(
            np.array([found.value]), np.array([found.standard_error * unknown]), np.array([found.df]), tail=tail
        )
        return bool(max(p, sign_floor(np.array([found.changed]), tail=tail)[0]) <= level)

    return [one for one in known if one == lead or not is_behind(one)]
