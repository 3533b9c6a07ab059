"""Laws of the known model by the definitions of the sampling rules, and whether draws follow a law.

No token with an expected count below 0.001 may be seen (all of them together are expected 4e-5 times), every one of 20
or more must be (it is missed with a probability of 2e-9), and chi-square has a false-alarm probability of 1e-6.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from known_logits import ID, VOCABULARY, logits_of

FALSE_ALARM = 1e-6

Rules = Sequence[tuple[str, Any]]
"""Names and numbers of sampling rules, in their order."""


def normal(weights_V: np.ndarray) -> np.ndarray:
    """Weights as probabilities."""
    return weights_V / weights_V.sum()


def probabilities(table: Mapping[str, float], **lowered: float) -> np.ndarray:
    """`[64]`, with some logits lowered."""
    logits_V = np.array(logits_of(table))
    for token, by in lowered.items():
        logits_V[ID[token]] -= by
    return normal(np.exp(logits_V))


def kept_prefix(p_V: np.ndarray, order_V: np.ndarray, mass: float) -> np.ndarray:
    """The first tokens of an order whose mass is `mass` or more, as few as possible."""
    count = int(np.searchsorted(np.cumsum(p_V[order_V]), mass)) + 1
    return np.isin(np.arange(len(p_V)), order_V[:count])


def after(p_V: np.ndarray, name: str, number: Any) -> np.ndarray:
    """The probabilities after one rule, by its definition."""
    is_left = p_V > 0
    log_V = np.log(p_V, where=is_left, out=np.full_like(p_V, -np.inf))
    entropy = -float((p_V[is_left] * log_V[is_left]).sum())
    if name == "temperature":
        return normal(np.where(is_left, p_V ** (1 / number), 0))
    if name == "dynatemp":
        reach, exponent = number
        share = entropy / math.log(is_left.sum())
        return after(p_V, "temperature", 1 - reach + 2 * reach * share**exponent)
    if name == "xtc":
        top_V = p_V >= number
        keep_V = ~top_V | (p_V == p_V[top_V].min())
    else:
        keep_V = {
            "top_k": lambda: p_V >= np.sort(p_V)[-min(number, len(p_V))],
            "top_p": lambda: kept_prefix(p_V, np.argsort(-p_V), number),
            "min_p": lambda: p_V >= number * p_V.max(),
            "typical_p": lambda: kept_prefix(p_V, np.argsort(np.abs(-log_V - entropy)), number),
            "top_n_sigma": lambda: log_V >= log_V.max() - number * log_V[is_left].std(),
        }[name]()
    return normal(np.where(keep_V, p_V, 0))


def law(rules: Rules, p_V: np.ndarray) -> np.ndarray:
    """The probabilities after these rules."""
    for name, number in rules:
        p_V = after(p_V, name, number)
    return p_V


def misfit(drawn: Sequence[Sequence[int]], law_V: np.ndarray) -> str:
    """What is wrong with the first tokens of these texts under this law: nothing, or the test that they fail."""
    counts_V = np.bincount([text[0] for text in drawn], minlength=VOCABULARY)
    expected_V = law_V * len(drawn)
    if counts_V[expected_V < 1e-3].any():
        return "a token that is not kept"
    if (counts_V[expected_V >= 20] == 0).any():
        return "a kept token never came"
    often = expected_V >= 5
    seen, expected = [*counts_V[often]], [*expected_V[often]]
    seen[0] += counts_V[~often].sum()  # the tail, 5e-8 of the mass
    expected[0] += expected_V[~often].sum()
    distance = sum((s - e) ** 2 / e for s, e in zip(seen, expected, strict=True))
    is_likely = len(seen) == 1 or chi2.sf(distance, len(seen) - 1) > FALSE_ALARM
    return "" if is_likely else f"chi-square {distance:.1f}"
