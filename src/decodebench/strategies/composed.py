"""The composable sampler, where every rule is a number that can be off; and mirostat, whose rule follows the text."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from decodebench.strategies import chain, truncation
from decodebench.strategies.candidates import Rule
from decodebench.strategies.edits import edited
from decodebench.strategies.greedy import advance_alone
from decodebench.strategies.sampling import Sampler
from decodebench.strategies.step import Moves, State, View

_DOMAINS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "top_k": (lambda k: k >= 1, "1 or more"),
    "top_p": (lambda p: 0 < p <= 1, "above 0, at most 1"),
    "min_p": (lambda p: 0 < p <= 1, "above 0, at most 1"),
    "top_h": (lambda h: 0 < h <= 1, "above 0, at most 1"),
    "typical_p": (lambda p: 0 < p < 1, "above 0, below 1"),
    "epsilon_cutoff": (lambda p: 0 < p < 1, "above 0, below 1"),
    "eta_cutoff": (lambda p: 0 < p < 1, "above 0, below 1"),
    "top_n_sigma": (lambda n: n > 0, "above 0"),
    "tfs_z": (lambda z: 0 < z < 1, "above 0, below 1"),
    "p_less": (lambda kind: kind in ("plain", "norm"), "plain, norm"),
    "xtc_probability": (lambda p: 0 < p <= 1, "above 0, at most 1"),
}
"""What each number of `Sample` may be where it is not null."""


@dataclass(frozen=True, kw_only=True)
class Sample(Sampler):
    """Any rules of the other samplers in one chain. Null turns one off; top-k and then top-p are the notebook's.

    `order` null is transformers' order: temperature, top_h, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff;
    then what transformers lacks: top_n_sigma, tfs_z, p_less, xtc. A list of these names is another order (llama.cpp has
    the temperature last). Each rule works on what the rules before it left. With `dynatemp_range` the temperature is
    dynamic.
    """

    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    top_h: float | None = None
    top_k: int | None = 50
    top_p: float | None = 0.95
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    top_n_sigma: float | None = None
    tfs_z: float | None = None
    p_less: str | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    order: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (allows, allowed) in _DOMAINS.items():
            value = getattr(self, name)
            self.require(name, value is None or allows(value), f"{allowed}, or null (off)")
        reach, exponent = self.dynatemp_range, self.dynatemp_exponent
        allowed = f"above 0, below strategy.temperature={self.temperature}, or null (off)"
        self.require("dynatemp_range", reach is None or 0 < reach < self.temperature, allowed)
        paired = exponent is None if reach is None else exponent is not None and exponent > 0
        self.require("dynatemp_exponent", paired, "above 0 where strategy.dynatemp_range is on, else null")
        threshold = self.xtc_threshold
        off = self.xtc_probability is None
        paired = threshold is None if off else threshold is not None and 0 < threshold <= 0.5
        self.require("xtc_threshold", paired, "above 0, at most 0.5 where strategy.xtc_probability is on, else null")
        names = [rule.name for rule in (self._at_temperature(), *self.truncations())]
        listed = self.order is None or (isinstance(self.order, list) and sorted(map(str, self.order)) == sorted(names))
        self.require("order", listed, f"null, or a list that has each rule that is on once: {', '.join(names)}")

    def _at_temperature(self) -> Rule:
        if self.dynatemp_range is None or self.dynatemp_exponent is None:
            return chain.AtTemperature(self.temperature)
        return chain.AtDynamicTemperature(self.temperature, self.dynatemp_range, self.dynatemp_exponent)

    def truncations(self) -> tuple[Rule, ...]:
        makers: dict[Callable[[Any], Rule], Any] = {
            truncation.KeepTopH: self.top_h,
            truncation.KeepTopK: self.top_k,
            truncation.KeepTopP: None if self.top_p == 1 else self.top_p,
            truncation.KeepMinP: self.min_p,
            truncation.KeepTypical: self.typical_p,
            truncation.KeepEpsilon: self.epsilon_cutoff,
            truncation.KeepEta: self.eta_cutoff,
            truncation.KeepNSigma: self.top_n_sigma,
            truncation.KeepTailFree: self.tfs_z,
            truncation.KeepPLess: self.p_less,
        }
        rules = [make(number) for make, number in makers.items() if number is not None]
        if self.xtc_probability is not None and self.xtc_threshold is not None:
            rules.append(truncation.ExcludeTopChoices(self.xtc_probability, self.xtc_threshold))
        return tuple(rules)

    def rules(self) -> tuple[Rule, ...]:
        rules = (self._at_temperature(), *self.truncations())
        if self.order is None:
            return rules
        by_name = {rule.name: rule for rule in rules}
        return tuple(by_name[name] for name in self.order)


@dataclass(frozen=True, kw_only=True)
class Mirostat(Sampler):
    """Mirostat v2: tokens of at most mu bits of surprisal, mu steered to a mean surprise of tau (Basu et al. 2021).

    After the temperature, keep the tokens with -log2(p) <= mu, or else the likeliest alone, and draw one. Then mu
    becomes mu - eta * (s - tau), from 2 tau at the start. The observed surprise s, in bits, is that of the drawn token
    among those that were kept, as in llama.cpp; the paper's is that under the model.
    """

    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("mirostat_tau", self.mirostat_tau > 0, "above 0")
        self.require("mirostat_eta", self.mirostat_eta > 0, "above 0")

    def truncations(self) -> tuple[Rule, ...]:
        return ()

    def start(self, requests: int, device: torch.device) -> State:
        return {"mu_B": torch.full((requests,), 2 * self.mirostat_tau, dtype=torch.float64, device=device)}

    def step(self, view: View, state: State) -> Moves:
        scores, rows = edited(self, view)
        mu_B = state["mu_B"]
        rules = (*self.rules(), truncation.KeepSurprise(mu_B))
        token_B, logprob_B = chain.draw(rules, scores, rows, view.draws, view.questions)
        surprise_B = -logprob_B / math.log(2)
        return replace(
            advance_alone(view, token_B), state={"mu_B": mu_B - self.mirostat_eta * (surprise_B - self.mirostat_tau)}
        )

    @property
    def in_transformers(self) -> bool:
        return False
