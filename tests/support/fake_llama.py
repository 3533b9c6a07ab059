"""An engine that is none: it reads a llama.cpp request as llama.cpp does, and draws first tokens from given logits.

Written from llama.cpp's definitions and apart from ours, so that the two are held against each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decodebench.deploy.engines.running import Ran

Floats = NDArray[np.float64]
ON = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"],
}
"""What it does where a request does not say."""


def probabilities(settings: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> Floats:
    """The next-token probabilities of a request, [V]; of the samplers those of `ON`."""
    told = {**ON, **settings}
    logits_V = np.asarray(logits_V, np.float64).copy()
    if told["temperature"] <= 0:
        return np.eye(len(logits_V))[int(logits_V.argmax())]
    for name in told["samplers"]:
        _RULES.get(name, _nothing)(told, logits_V, prompt)
    return softmax(logits_V)


def engine(logits_of: Callable[[Sequence[int]], Floats], *, eos_ids: Sequence[int] = (), seed: int = 0) -> Any:
    """What stands for `run_engine`: it draws texts token by token from these logits, up to `n_predict` or an end."""
    rng = np.random.default_rng(seed)
    known: dict[tuple[int, ...], Floats] = {}

    def drawn(settings: Mapping[str, Any], prompt: Sequence[int]) -> tuple[int, ...]:
        text: list[int] = []
        while len(text) < settings.get("n_predict", 16):
            prefix = (*prompt, *text)
            if prefix not in known:
                known[prefix] = probabilities(settings, logits_of(prefix), prefix).cumsum()
            text.append(int(np.searchsorted(known[prefix], rng.random() * known[prefix][-1], side="right")))
            if text[-1] in eos_ids:
                break
        return tuple(text)

    def run(
        engine: str,
        model: str,
        settings: Mapping[str, Any],
        prompts: Sequence[Sequence[int]],
        draws: int,
        seed: int,
        python: str,
    ) -> Ran:
        known.clear()
        return Ran(
            version="none", texts=tuple(tuple(drawn(settings, prompt) for _ in range(draws)) for prompt in prompts)
        )

    return run


def softmax(logits_V: Floats) -> Floats:
    p_V = np.exp(logits_V - logits_V.max())
    return p_V / p_V.sum()


def _penalties(told: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> None:
    """Once for each token among the last repeat_last_n; 0: none."""
    window = told["repeat_last_n"]
    for token in set(prompt[-window:]) if window else ():
        logits_V[token] *= told["repeat_penalty"] if logits_V[token] < 0 else 1 / told["repeat_penalty"]


def _temperature(told: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> None:
    logits_V /= told["temperature"]


def _top_k(told: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> None:
    if 0 < told["top_k"] < len(logits_V):
        logits_V[np.argsort(-logits_V, kind="stable")[told["top_k"] :]] = -np.inf


def _top_p(told: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> None:
    order = np.argsort(-logits_V, kind="stable")
    mass = softmax(logits_V)[order].cumsum()
    if told["top_p"] < 1:
        logits_V[order[int(np.searchsorted(mass, told["top_p"])) + 1 :]] = -np.inf


def _min_p(told: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> None:
    p_V = softmax(logits_V)
    logits_V[p_V < told["min_p"] * p_V.max()] = -np.inf


def _nothing(told: Mapping[str, Any], logits_V: Floats, prompt: Sequence[int]) -> None:
    """A rule that no test turns on."""


_RULES = {"penalties": _penalties, "temperature": _temperature, "top_k": _top_k, "top_p": _top_p, "min_p": _min_p}
