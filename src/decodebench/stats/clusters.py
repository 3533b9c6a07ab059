"""Prompts that are not independent of each other: the same text under two ids, passages of one speech.

A cluster is what is drawn at random as a whole: where prompts have clusters, intervals resample these, and tests and
ranks take them as their units (Liang and Zeger 1986). A cluster of one prompt is the prompt, so that data without
clusters give the numbers that they gave.
"""

from collections.abc import Hashable, Mapping, Sequence

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


def effective_clusters(number_P: npt.NDArray[np.intp]) -> float:
    """How many clusters of equal size these are worth: P^2 / sum of the squared sizes of the clusters (Kish 1965,
    "Survey sampling"); P where each prompt is one of its own. As few independent prompts are the P worth at worst."""
    sizes_C = np.bincount(number_P)
    return len(number_P) ** 2 / float((sizes_C**2).sum()) if len(number_P) else 0.0


def joined(*labels: Mapping[str, Hashable]) -> dict[str, str]:
    """The clusters of prompts that several kinds of labels name, by prompt id: two are in one cluster where any kind
    has the same label for both, or where others link them (the connected components). A kind need not label all
    prompts. A cluster is named by the first of its prompts."""
    parent = {prompt_id: prompt_id for kind in labels for prompt_id in kind}

    def root(prompt_id: str) -> str:
        while parent[prompt_id] != prompt_id:
            parent[prompt_id] = parent[parent[prompt_id]]
            prompt_id = parent[prompt_id]
        return prompt_id

    place = {prompt_id: at for at, prompt_id in enumerate(parent)}
    for kind in labels:
        first: dict[Hashable, str] = {}
        for prompt_id, label in kind.items():
            one, other = sorted((root(first.setdefault(label, prompt_id)), root(prompt_id)), key=place.__getitem__)
            parent[other] = one
    return {prompt_id: root(prompt_id) for prompt_id in parent}
