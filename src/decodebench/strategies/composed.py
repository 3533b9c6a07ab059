"""The composable sampler, where every rule is a number that can be off; and mirostat, whose rule follows the text."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from decodebench.strategies import chain, truncation
from decodebench.strategies.candidates import Rule
from decodebench.strategies.domains import DOMAINS, if_on, require_domain
from decodebench.strategies.edits import edited
from decodebench.strategies.greedy import advance_alone
from decodebench.strategies.sampling import Sampler
from decodebench.strategies.step import Moves, State, View

_MAKERS: Mapping[str, Callable[[Any], Rule]] = {
    "top_h": truncation.KeepTopH,
    "top_k": truncation.KeepTopK,
    "top_p": truncation.KeepTopP,
    "min_p": truncation.KeepMinP,
    "typical_p": truncation.KeepTypical,
    "epsilon_cutoff": truncation.KeepEpsilon,
    "eta_cutoff": truncation.KeepEta,
    "top_n_sigma": truncation.KeepNSigma,
    "tfs_z": truncation.KeepTailFree,
    "p_less": truncation.KeepPLess,
}
"""The rules of one number, in the order in which they apply where none is given."""


@dataclass(frozen=True, kw_only=True)
class Sample(Sampler):
    """Any rules of the other samplers in one chain. Null turns one off, and so does what other engines have for that
    (top_k 0, min_p 0, typical_p 1, ...); top-k and then top-p are the notebook's.

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
        for name in DOMAINS:
            if name != "xtc_threshold":
                require_domain(self, name, null=True)
        threshold = DOMAINS["xtc_threshold"]
        self._require_with("xtc_probability", "xtc_threshold", threshold.has, threshold.in_words())
        reach = self.dynatemp_range
        allowed = f"above 0, below strategy.temperature={self.temperature}, or 0, null (off)"
        self.require("dynatemp_range", reach is None or 0 <= reach < self.temperature, allowed)
        self._require_with("dynatemp_range", "dynatemp_exponent", lambda exponent: exponent > 0, "above 0")
        names = [rule.name for rule in (self._at_temperature(), *self.truncations())]
        listed = self.order is None or (isinstance(self.order, list) and sorted(map(str, self.order)) == sorted(names))
        self.require("order", listed, f"null, or a list that has each rule that is on once: {', '.join(names)}")

    def _require_with(self, switch: str, name: str, allows: Callable[[Any], bool], words: str) -> None:
        """Raise the error of a number that goes with another one, which is on with it alone, and may keep it at 0."""
        on, value = getattr(self, switch), getattr(self, name)
        ok = value is None if on is None else on == 0 if value is None else allows(value)
        self.require(name, ok, f"{words} where strategy.{switch} is on, else null")

    def _at_temperature(self) -> Rule:
        if not self.dynatemp_range or self.dynatemp_exponent is None:
            return chain.AtTemperature(self.temperature)
        return chain.AtDynamicTemperature(self.temperature, self.dynatemp_range, self.dynatemp_exponent)

    def truncations(self) -> tuple[Rule, ...]:
        on = {name: number for name in DOMAINS if (number := if_on(self, name)) is not None}
        rules = [make(on[name]) for name, make in _MAKERS.items() if name in on]
        if "xtc_probability" in on and "xtc_threshold" in on:
            rules.append(truncation.ExcludeTopChoices(on["xtc_probability"], on["xtc_threshold"]))
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

    def first_rules(self) -> tuple[Rule, ...]:
        return (*self.rules(), truncation.KeepSurprise(torch.tensor([2.0 * self.mirostat_tau], dtype=torch.float64)))

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
