"""Prompts that are not independent of each other: the same text under two ids, questions about one passage.

A cluster is what is drawn at random as a whole: where prompts have clusters, intervals resample these, and tests and
ranks take them as their units (Liang and Zeger 1986). A cluster of one prompt is the prompt, so that data without
clusters give the numbers that they gave.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Clusters = Sequence[Hashable]
"""The cluster of each prompt, in the order of the prompts; None in its place: each prompt is one of its own."""


def cluster_numbers(clusters: Clusters | None, prompts: int) -> npt.NDArray[np.intp]:
    """The clusters of P prompts as numbers from 0, in the order of first appearance. ValueError for another number."""
    if clusters is None:
        return np.arange(prompts)
    if len(clusters) != prompts:
        raise ValueError(f"the clusters of {len(clusters)} prompts for {prompts}")
    number = {cluster: at for at, cluster in enumerate(dict.fromkeys(clusters))}
    return np.array([number[cluster] for cluster in clusters], dtype=np.intp)


def count_clusters(number_P: npt.NDArray[np.intp]) -> int:
    """How many there are, of their numbers."""
    return int(number_P.max(initial=-1)) + 1


def cluster_sums(values: npt.NDArray[np.float64], number_P: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """The sums of P rows (of any shape) within each cluster."""
    sums = np.zeros((count_clusters(number_P), *values.shape[1:]))
    np.add.at(sums, number_P, values)
    return sums


def effective_prompts(clusters: Clusters | None, prompts: int) -> float:
    """How many independent prompts these are worth where all of a cluster agree: n^2 / sum of the squared sizes of the
    clusters (Kish 1965, "Survey sampling"). That is the worst case."""
    sizes_C = np.bincount(cluster_numbers(clusters, prompts))
    return prompts**2 / float((sizes_C**2).sum()) if prompts else 0.0
