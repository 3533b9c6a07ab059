"""Decoding strategies: one class for each yaml in conf/strategy, one file for each class or family.

In: a `View` of the rows of a strategy's requests (`step/`). Out: `Moves`. `base` is what every strategy has and
answers, `lengths` how long its texts may be; ARCHITECTURE.md says which file holds which family. Nothing here knows of
models, caches or batches.
"""

from decodebench.strategies.assisted import Assisted, PromptLookup
from decodebench.strategies.base import Strategy
from decodebench.strategies.beam import Beam
from decodebench.strategies.beam_sample import BeamSample
from decodebench.strategies.composed import Mirostat, Sample
from decodebench.strategies.constrained_beam import ConstrainedBeam
from decodebench.strategies.contrastive import AdaptiveContrastive, ContrastiveSearch
from decodebench.strategies.contrastive_decoding import ContrastiveDecoding
from decodebench.strategies.diverse_beam import DiverseBeam
from decodebench.strategies.dola import DoLa
from decodebench.strategies.domains import is_on
from decodebench.strategies.greedy import Greedy
from decodebench.strategies.guidance import guided
from decodebench.strategies.lengths import most_new_tokens, new_token_limit
from decodebench.strategies.one_step import Kept, kept_first, scores_after_penalties
from decodebench.strategies.penalty_texts import check_penalties, penalty_fields
from decodebench.strategies.sampling import (
    XTC,
    DynamicTemperature,
    Epsilon,
    Eta,
    MinP,
    PLess,
    Sampler,
    TailFree,
    Temperature,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    Typical,
)
from decodebench.strategies.selection import MBR, BestOfN, SelfConsistency
from decodebench.strategies.step import EMPTY, ModelFacts, Moves, State, View
from decodebench.strategies.stochastic_beam import StochasticBeam

__all__ = [
    "EMPTY",
    "MBR",
    "XTC",
    "AdaptiveContrastive",
    "Assisted",
    "Beam",
    "BeamSample",
    "BestOfN",
    "ConstrainedBeam",
    "ContrastiveDecoding",
    "ContrastiveSearch",
    "DiverseBeam",
    "DoLa",
    "DynamicTemperature",
    "Epsilon",
    "Eta",
    "Greedy",
    "Kept",
    "MinP",
    "Mirostat",
    "ModelFacts",
    "Moves",
    "PLess",
    "PromptLookup",
    "Sample",
    "Sampler",
    "SelfConsistency",
    "State",
    "StochasticBeam",
    "Strategy",
    "TailFree",
    "Temperature",
    "TopH",
    "TopK",
    "TopNSigma",
    "TopP",
    "Typical",
    "View",
    "check_penalties",
    "guided",
    "is_on",
    "kept_first",
    "most_new_tokens",
    "new_token_limit",
    "penalty_fields",
    "scores_after_penalties",
]
