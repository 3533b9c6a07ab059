"""A real engine on the known models, and what its texts are held against: laws, and the tokens of our own decoding."""

import os
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from decodebench.deploy.engines import ENGINES, Translation, asked, translate
from decodebench.deploy.engines.running import run_engine
from decodebench.models.config import ModelConfig
from decodebench.models.loading import load
from decodebench.strategies import ModelFacts, Strategy
from engine_runs import requests_of, run
from known_engines import convert_known
from known_law import misfit, probabilities
from known_logits import BIGRAM, CONSTANT, EOS, ID, TIE, TOKENS, UNK, VOCABULARY, always, build_known, ids, logits_of


def random_table(letters: str = "ABCDEFGH") -> dict[str, dict[str, float]]:
    """By the last token: random probabilities of a few letters and the end, so that no two texts are equally likely."""
    numbers = random.Random(0)
    table = {}
    for token in letters:
        weights = {to: numbers.random() ** 3 for to in (*letters, "EOS")}
        table[token] = {to: weight / sum(weights.values()) for to, weight in weights.items()}
    return table


def penalized(
    table: Mapping[str, float], seen: str, repetition: float = 1.0, presence: float = 0.0, frequency: float = 0.0
) -> np.ndarray:
    """The probabilities `[64]` after penalties of the tokens that were seen; all these have positive logits."""
    lowered = {}
    for token, count in Counter(seen).items():
        logit = logits_of(table)[ID[token]]
        assert logit > 0
        lowered[token] = logit - logit / repetition + presence + frequency * count
    return probabilities(table, **lowered)


def wrong(drawn: Sequence[str], law_V: np.ndarray) -> str:
    """What is wrong with single tokens that were drawn, under their law: nothing, or what `misfit` says."""
    return misfit([[ID.get(token, UNK)] for token in drawn], law_V)


@dataclass(frozen=True, kw_only=True)
class Held:
    """An engine that `python` has, and the known models in its format, made below `folder` when they are asked for."""

    engine: str
    python: str
    folder: Path

    def raw(self, model: str, settings: Mapping[str, Any], prompts: Sequence[str], draws: int = 1) -> list[list[str]]:
        """Texts of each prompt with these settings, without an end token behind them."""
        wanted = [ids(prompt) for prompt in prompts]
        ran = run_engine(self.engine, self._converted[model], settings, wanted, draws, seed=7, python=self.python)
        return [[_letters(text) for text in texts] for texts in ran.texts]

    def texts(
        self, model: str, strategy: Strategy, prompts: Sequence[str], draws: int = 1, **changed: Any
    ) -> list[list[str]]:
        """Texts by a strategy, as it is exported, with what is `changed` in the settings."""
        translation = self.translated(strategy)
        assert not translation.missing, translation.missing
        return self.raw(model, {**translation.settings, **changed}, prompts, draws)

    def translated(self, strategy: Strategy) -> Translation:
        """The strategy in the engine's terms."""
        return translate(ENGINES[self.engine], asked(strategy, texts=1, longest=64))

    def refused(self, strategy: Strategy) -> set[str]:
        """What of a strategy is not translatable."""
        return {line.key for line in self.translated(strategy).missing}

    def ours(self, model: str, strategy: Strategy, prompt: str) -> list[str]:
        """The texts of our own decoding, the best first, without an end token behind them."""
        facts = ModelFacts(vocabulary=VOCABULARY, encode=lambda text: tuple(ids(text)), decode=_shown)
        eos = () if strategy.eos == "none" else (EOS,) if strategy.eos == "model" else tuple(strategy.eos)
        lengths = (strategy.max_new_tokens, strategy.max_total_tokens and strategy.max_total_tokens - len(prompt))
        limit = min(length for length in lengths if length)
        requests = requests_of({"c": strategy}, {"p": tuple(ids(prompt))}, limit=limit, eos_ids=eos, facts=facts)
        found = run(self._loaded[model], requests)
        assert not found.failures
        return [_letters(found.tokens[key]) for key in sorted(found.tokens)]

    @cached_property
    def _converted(self) -> dict[str, Path]:
        return {
            name: convert_known(self.engine, folder, self.folder / self.engine / name, self.python)
            for name, folder in self._known.items()
        }

    @cached_property
    def _known(self) -> dict[str, Path]:
        tables = {"constant": always(CONSTANT), "tie": always(TIE), "bigram": BIGRAM, "random": random_table()}
        return {name: build_known(self.folder / name, table) for name, table in tables.items()}

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        configs = {
            name: ModelConfig(name=name, source="local", path=str(folder), device="cpu", dtype="float32")
            for name, folder in self._known.items()
        }
        return {name: load(config).model for name, config in configs.items()}


def held(engine: str, folder: Path) -> Held:
    """The engine of the interpreter that the environment names for it, else of this one."""
    python = os.environ.get(f"DECODEBENCH_{engine.upper()}_PYTHON", sys.executable)
    return Held(engine=engine, python=python, folder=folder)


def _shown(tokens: Sequence[int]) -> str:
    return "".join(TOKENS[token] for token in tokens)


def _letters(tokens: Sequence[int]) -> str:
    return _shown(tokens[:-1] if tokens and tokens[-1] == EOS else tokens)
