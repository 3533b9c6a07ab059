"""Samplers: a temperature, a set of kept tokens, and a draw from it with the request's own noise.

A sampler differs from another only in its rules (truncation.py) and their order (chain.py).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from decodebench.strategies import chain, truncation
from decodebench.strategies.base import Strategy
from decodebench.strategies.candidates import Rule
from decodebench.strategies.domains import if_on, require_domain
from decodebench.strategies.edits import edited
from decodebench.strategies.greedy import advance_alone
from decodebench.strategies.step import Moves, State, View


@dataclass(frozen=True, kw_only=True)
class Sampler(Strategy):
    """Draws one token a step; `num_return_sequences` independent samples for each prompt."""

    temperature: float = 1.0
    num_return_sequences: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("temperature", self.temperature > 0, "above 0 (for temperature 0 use strategy=greedy)")
        self.require("num_return_sequences", self.num_return_sequences >= 1, "1 or more")

    @property
    def samples(self) -> int:
        return self.num_return_sequences

    @abstractmethod
    def truncations(self) -> tuple[Rule, ...]:
        """What follows the temperature, in order."""

    def rules(self) -> tuple[Rule, ...]:
        """All rules in the order in which they apply."""
        return chain.AtTemperature(self.temperature), *self.truncations()

    def first_rules(self) -> tuple[Rule, ...]:
        """Those of the first step, where there is a state that rules follow later."""
        return self.rules()

    def step(self, view: View, state: State) -> Moves:
        scores, rows = edited(self, view)
        return advance_alone(view, chain.draw(self.rules(), scores, rows, view.draws, view.questions)[0])

    @property
    def in_transformers(self) -> bool:
        return chain.in_transformers(self.rules())

    def generation_config(self) -> dict[str, Any]:
        """transformers' fields; of a chain that it does not have only those that hold of every sampler."""
        fields = {"do_sample": True, "num_beams": 1, "num_return_sequences": self.num_return_sequences}
        for rule in self.rules() if self.in_transformers else ():
            fields |= rule.fields() or {}
        return fields


@dataclass(frozen=True, kw_only=True)
class Temperature(Sampler):
    """Pure (ancestral) sampling at a temperature: every token is kept."""

    def truncations(self) -> tuple[Rule, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class DynamicTemperature(Sampler):
    """Sampling at a temperature between `temperature` - `dynatemp_range` and `temperature` + `dynatemp_range`.

    It is the higher the less certain the model is: entropy over its largest possible value, to the power
    `dynatemp_exponent` (llama.cpp's temp_ext; banned tokens are not counted). Every token is kept.
    """

    dynatemp_range: float = 0.5
    dynatemp_exponent: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = f"0 (off) or more, below strategy.temperature={self.temperature}"
        self.require("dynatemp_range", 0 <= self.dynatemp_range < self.temperature, allowed)
        self.require("dynatemp_exponent", self.dynatemp_exponent > 0, "above 0")

    def truncations(self) -> tuple[Rule, ...]:
        return ()

    def rules(self) -> tuple[Rule, ...]:
        if self.dynatemp_range == 0:
            return super().rules()
        return (chain.AtDynamicTemperature(self.temperature, self.dynatemp_range, self.dynatemp_exponent),)


@dataclass(frozen=True, kw_only=True)
class TopK(Sampler):
    """Sampling from the k likeliest tokens (Fan et al. 2018)."""

    top_k: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "top_k")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "top_k") is None else (truncation.KeepTopK(self.top_k),)


@dataclass(frozen=True, kw_only=True)
class TopP(Sampler):
    """Nucleus sampling (Holtzman et al. 2020)."""

    top_p: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "top_p")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "top_p") is None else (truncation.KeepTopP(self.top_p),)


@dataclass(frozen=True, kw_only=True)
class MinP(Sampler):
    """Min-p sampling (Nguyen et al. 2024)."""

    min_p: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "min_p")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "min_p") is None else (truncation.KeepMinP(self.min_p),)


@dataclass(frozen=True, kw_only=True)
class Typical(Sampler):
    """Locally typical sampling (Meister et al. 2023)."""

    typical_p: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "typical_p")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "typical_p") is None else (truncation.KeepTypical(self.typical_p),)


@dataclass(frozen=True, kw_only=True)
class TopH(Sampler):
    """Top-H sampling: the likeliest tokens that carry a share of the entropy (Potraghloo et al. 2025)."""

    top_h: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "top_h")

    def truncations(self) -> tuple[Rule, ...]:
        return (truncation.KeepTopH(self.top_h),)


@dataclass(frozen=True, kw_only=True)
class Epsilon(Sampler):
    """Epsilon sampling: tokens with at least a probability (Hewitt et al. 2022)."""

    epsilon_cutoff: float = 0.0003

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "epsilon_cutoff")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "epsilon_cutoff") is None else (truncation.KeepEpsilon(self.epsilon_cutoff),)


@dataclass(frozen=True, kw_only=True)
class Eta(Sampler):
    """Eta sampling: tokens with at least a probability that falls with the entropy (Hewitt et al. 2022)."""

    eta_cutoff: float = 0.0003

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "eta_cutoff")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "eta_cutoff") is None else (truncation.KeepEta(self.eta_cutoff),)


@dataclass(frozen=True, kw_only=True)
class TopNSigma(Sampler):
    """Top-n-sigma sampling: scores at most n standard deviations below the largest (Tang et al. 2024)."""

    top_n_sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "top_n_sigma")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "top_n_sigma") is None else (truncation.KeepNSigma(self.top_n_sigma),)


@dataclass(frozen=True, kw_only=True)
class TailFree(Sampler):
    """Tail-free sampling: the tokens before the sorted probabilities turn flat (Bricken 2019)."""

    tfs_z: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "tfs_z")

    def truncations(self) -> tuple[Rule, ...]:
        return () if if_on(self, "tfs_z") is None else (truncation.KeepTailFree(self.tfs_z),)


@dataclass(frozen=True, kw_only=True)
class PLess(Sampler):
    """P-less sampling: tokens at least as likely as two draws are to agree; no number (Tan et al. 2025).

    `plain` is the sum of p squared; `norm` takes off what it would be with all tokens equally likely, and keeps more.
    """

    p_less: str = "plain"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "p_less")

    def truncations(self) -> tuple[Rule, ...]:
        return (truncation.KeepPLess(self.p_less),)


@dataclass(frozen=True, kw_only=True)
class XTC(Sampler):
    """Exclude top choices: with a probability, all tokens at or above a threshold but the least likely of them go.

    Source: p-e-w 2024. The tail stays: see strategy=sample for XTC after min_p.
    """

    xtc_probability: float = 0.5
    xtc_threshold: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_domain(self, "xtc_probability")
        require_domain(self, "xtc_threshold")

    def truncations(self) -> tuple[Rule, ...]:
        if None in (if_on(self, "xtc_probability"), if_on(self, "xtc_threshold")):
            return ()
        return (truncation.ExcludeTopChoices(self.xtc_probability, self.xtc_threshold),)
