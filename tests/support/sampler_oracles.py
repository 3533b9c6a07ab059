"""Slow oracles of sampler rules that transformers lacks: plain loops over token -> probability, by the definitions."""

import math
from collections.abc import Callable
from itertools import pairwise

from decodebench.strategies import XTC, DynamicTemperature, PLess, Sample, TailFree, TopNSigma
from decodebench.strategies.sampling import Sampler

Probabilities = dict[int, float]
"""Token -> probability, what was dropped left out."""


def softmax(scores: dict[int, float]) -> Probabilities:
    largest = max(scores.values())
    weights = {token: math.exp(score - largest) for token, score in scores.items()}
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


def renormalized(p: Probabilities) -> Probabilities:
    return {token: share / sum(p.values()) for token, share in p.items()}


def ordered(p: Probabilities) -> list[int]:
    return sorted(p, key=lambda token: (-p[token], token))


def tail_free(p: Probabilities, z: float) -> Probabilities:
    tokens = ordered(p)
    first = [p[a] - p[b] for a, b in pairwise(tokens)]
    second = [abs(a - b) for a, b in pairwise(first)]
    if sum(second) <= 1e-6:
        second = [1.0] * len(second)
    kept, running = len(tokens), 0.0
    for i, one in enumerate(second):
        running += one / sum(second)
        if running > z and i >= 1:
            kept = i
            break
    return renormalized({token: p[token] for token in tokens[:kept]})


def n_sigma(p: Probabilities, n: float) -> Probabilities:
    scores = {token: math.log(share) for token, share in p.items()}
    mean = sum(scores.values()) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores.values()) / len(scores))
    return renormalized({t: p[t] for t, score in scores.items() if score >= max(scores.values()) - n * deviation})


def p_less(p: Probabilities, kind: str) -> Probabilities:
    least = sum(share**2 for share in p.values())
    if kind == "norm":
        least = (len(p) * least - 1) / max(1, len(p) - 1)
    return renormalized({token: share for token, share in p.items() if share >= min(least, max(p.values())) - 1e-12})


def exclude_top(p: Probabilities, threshold: float) -> Probabilities:
    choices = [token for token in ordered(p) if p[token] >= threshold]
    return renormalized({token: share for token, share in p.items() if token not in choices[:-1]})


def dynamic_temperature(p: Probabilities, least: float, most: float, exponent: float) -> Probabilities:
    entropy = -sum(share * math.log(share) for share in p.values())
    share_of_most = entropy / math.log(len(p)) if len(p) > 1 else 0.0
    temperature = least + (most - least) * share_of_most**exponent
    return softmax({token: math.log(share) / temperature for token, share in p.items()})


def at(p: Probabilities, temperature: float) -> Probabilities:
    return softmax({token: math.log(share) / temperature for token, share in p.items()})


ORACLES: list[tuple[Sampler, Callable[[Probabilities], Probabilities]]] = [
    (TopNSigma(top_n_sigma=1.0), lambda p: n_sigma(p, 1.0)),
    (TopNSigma(top_n_sigma=2.5, temperature=1.7), lambda p: n_sigma(at(p, 1.7), 2.5)),
    (TailFree(tfs_z=0.95), lambda p: tail_free(p, 0.95)),
    (TailFree(tfs_z=0.4, temperature=0.75), lambda p: tail_free(at(p, 0.75), 0.4)),
    (PLess(), lambda p: p_less(p, "plain")),
    (PLess(p_less="norm", temperature=1.7), lambda p: p_less(at(p, 1.7), "norm")),
    (XTC(xtc_probability=1.0, xtc_threshold=0.1), lambda p: exclude_top(p, 0.1)),
    (XTC(xtc_probability=1.0, xtc_threshold=0.003, temperature=1.7), lambda p: exclude_top(at(p, 1.7), 0.003)),
    (DynamicTemperature(), lambda p: dynamic_temperature(p, 0.5, 1.5, 1.0)),
    (
        DynamicTemperature(temperature=0.9, dynatemp_range=0.6, dynatemp_exponent=0.5),
        lambda p: dynamic_temperature(p, 0.3, 1.5, 0.5),
    ),
]


def chained(order: list[str]) -> Sample:
    """A chain of five rules at numbers that all cut."""
    return Sample(
        temperature=1.7,
        top_k=None,
        top_p=0.83,
        tfs_z=0.91,
        top_n_sigma=2.1,
        xtc_probability=1.0,
        xtc_threshold=0.07,
        order=order,
    )


STEPS: dict[str, Callable[[Probabilities], Probabilities]] = {
    "temperature": lambda p: at(p, 1.7),
    "top_p": lambda p: renormalized(
        {t: p[t] for i, t in enumerate(ordered(p)) if sum(p[s] for s in ordered(p)[:i]) < 0.83}
    ),
    "tfs_z": lambda p: tail_free(p, 0.91),
    "top_n_sigma": lambda p: n_sigma(p, 2.1),
    "xtc": lambda p: exclude_top(p, 0.07),
}
