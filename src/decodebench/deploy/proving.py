"""A cell of a stored run, and the real engine with its settings -> whether the engine decodes as the cell does.

The engine is given the token ids of the run's prompts. Of greedy search and beam search whole texts are compared, of a
sampler the first tokens of many draws; texts of one seed never are, since a seed means something else in every engine.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from decodebench.deploy.engines import Engine, asked
from decodebench.deploy.engines.running import Ran, run_engine
from decodebench.deploy.expecting import expected_first, logits_behind
from decodebench.deploy.exporting import cell_of
from decodebench.deploy.handing import translated
from decodebench.deploy.verifying import Counts, Parting, Verdict, judge, parting
from decodebench.errors import ConfigError, PromptError, StoreError, allowed_names, worded
from decodebench.models import LoadedModel, ModelConfig, cpu_threads, encode, ids_sha256, load, model_facts
from decodebench.plan import build_strategy, typed
from decodebench.records import Generation
from decodebench.store import other_model, read_manifest, read_records
from decodebench.strategies import ModelFacts, Sampler, Strategy, scores_after_penalties

TOLERANCE = 1e-3
"""What float arithmetic may be off, as a share of the ratio of two probabilities."""

WIDER = (0.01, 0.03, 0.1, 0.3)
"""Tolerances that are tried where the engine's draws do not fit: other kernels, other weights."""

WINDOW = 64
"""The window that engines give a penalty by themselves: only longer prompts show it."""

_READ_PROMPTS = (
    *("repetition_penalty", "no_repeat_ngram_size", "presence_penalty", "frequency_penalty", "dry_multiplier"),
)

Engines = Callable[[str, str, Mapping[str, Any], Sequence[Sequence[int]], int, int, str], Ran]
"""Who runs an engine: `engines.running.run_engine`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found of an engine. Of a sampler a `verdict`, and the smallest tolerance of `WIDER` by which it would
    fit (`fits_within`; None: by none of them, or it fits); of a search the `partings` of its texts. `spelt` has the
    texts of the tokens in them."""

    engine: str
    version: str
    prompts: int
    draws: int
    tolerance: float
    longest_prompt: int
    reads_prompts: bool
    verdict: Verdict | None = None
    fits_within: float | None = None
    partings: tuple[Parting, ...] = ()
    spelt: Mapping[int, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: the same decoding, 1: another one, 2: the draws are too few to say."""
        if self.verdict is not None:
            return (0 if self.verdict.found else 2) if self.verdict.fits else 1
        return 1 if any(not one.close(self.tolerance) for one in self.partings) else 0


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What is verified: a strategy on the prompts of its run, with the model that ran it and the texts it gave."""

    strategy: Strategy
    loaded: LoadedModel
    facts: ModelFacts
    texts: tuple[Generation, ...]
    prompts: tuple[tuple[int, ...], ...]


def prove(
    run_dir: Path,
    name: str,
    engine: Engine,
    model: str,
    *,
    python: str = sys.executable,
    draws: int = 1000,
    prompts: int = 8,
    settings: Path | None = None,
    tolerance: float = TOLERANCE,
    run: Engines | None = None,
) -> Proof:
    """Run the engine on prompts of the run, and hold what it gives against the cell.

    `model` is the engine's own copy of the run's model. `settings` is a file of settings to verify; None: those that
    `export` writes. Of a strategy that reads its prompt the longest `prompts` are taken, else the first. Raises
    ConfigError for a cell that is none, for settings that the engine does not have, for a strategy that it cannot be
    told (without a file) or that no engine outside has, and what the engine says where it fails; ModelError,
    PromptError and StoreError for a model that is not the one that ran.
    """
    manifest = read_manifest(run_dir)
    cell = cell_of(manifest, name, "verify")
    with worded(f"verify {run_dir} {name}: what the manifest says of this cell cannot be used"):
        strategy = build_strategy(cell["config"]["strategy"])
        ends = tuple((cell.get("generation_config") or {})["eos_token_id"] or ())
    kind = asked(strategy, texts=1, longest=1).kind
    if strategy.guidance_scale != 1:
        raise ConfigError(
            f"strategy.guidance_scale={strategy.guidance_scale}: no engine outside is guided; allowed is 1"
        )
    if kind not in engine.neutral:
        translated(run_dir, cell, engine)  # which says so
    told = translated(run_dir, cell, engine).settings if settings is None else _read(settings, engine, kind)
    with _case(run_dir, manifest, cell, strategy, ends, prompts) as case:
        if isinstance(strategy, Sampler):
            first = _first_token(told, engine, kind, strategy)
            ran = (run or run_engine)(engine.name, model, first, case.prompts, draws, 0, python)
            return _sampled(case, strategy, _proof(case, engine, ran, draws, tolerance), ran)
        ran = (run or run_engine)(engine.name, model, told, case.prompts, 1, 0, python)
        return _searched(case, _proof(case, engine, ran, 1, tolerance), ran)


def _read(path: Path, engine: Engine, kind: str) -> Mapping[str, Any]:
    """The settings of a file. Raises ConfigError for one that is none, and for a key that the engine does not have."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--settings={path}: cannot be read ({error}); allowed is a settings.json") from error
    if not isinstance(told, dict):
        raise ConfigError(f"--settings={path}: allowed is a JSON object, as export writes it into settings.json")
    known = {
        *engine.neutral[kind],
        *(row.target for row in engine.rows.values()),
        engine.order_field,
        engine.texts_field,
    }
    names = sorted(name for name in known if name is not None)
    for key in told:
        if key not in names:
            raise ConfigError(f"--settings={path}: {engine.name} does not read {key}; {allowed_names(key, names)}")
    return told


def _first_token(told: Mapping[str, Any], engine: Engine, kind: str, strategy: Strategy) -> dict[str, Any]:
    """The settings for one token a draw: as they are, but for what ends a text."""
    changed, asks = dict(told), asked(strategy, texts=1, longest=1)
    most, least, stop = (engine.rows.get(key) for key in ("max_new_tokens", "min_new_tokens", "stop"))
    if most is not None and most.target is not None and most.refuses(1, asks) is None:
        changed[most.target] = 1  # where it cannot be told, whole texts are made, and their first tokens looked at
        if least is not None and changed.get(str(least.target)):
            changed[str(least.target)] = 1
    for name in (engine.texts_field, None if stop is None else stop.target):
        if name in changed and name in engine.neutral[kind]:
            changed[name] = engine.neutral[kind][name]
    return changed


@contextmanager
def _case(
    run_dir: Path,
    manifest: Mapping[str, Any],
    cell: Mapping[str, Any],
    strategy: Strategy,
    ends: tuple[int, ...],
    prompts: int,
) -> Iterator[_Case]:
    """The run's model in memory, known to be the one that ran, and so many of its prompts."""
    texts = {}
    for text in read_records(run_dir / "generations.parquet", Generation):
        if text.cell == cell["id"] and text.sample == 0:
            texts[text.prompt_id] = text
    if not texts:
        raise StoreError(f"verify {run_dir}: has no text of the cell {cell['id']}; allowed is a cell that did not fail")
    entry, around = manifest["models"][cell["model"]], manifest["prompts"].get(cell["prompts"], {})
    with cpu_threads(cell["config"].get("engine", {}).get("threads")):
        loaded = load(typed(ModelConfig, entry["config"], "model"))
        if other := other_model(entry, asdict(loaded.identity)):
            raise StoreError(
                f"verify {run_dir}: model={cell['model']} has other {other.parts} now than when it generated these "
                f"texts ({other.changes}); allowed is the same model, or a new run"
            )
        found = []
        for text in texts.values():
            ids = encode(loaded, text.prompt, around.get("template"), around.get("date"))
            if text.prompt_ids_sha256 not in (None, ids_sha256(ids)):
                raise PromptError(f"verify {run_dir}: other tokens were fed for the prompt {text.prompt_id} than now")
            found.append((text, ids))
        if _reads_prompts(strategy):
            found.sort(key=lambda pair: -len(pair[1]))
        found = found[:prompts]
        yield _Case(
            strategy=strategy,
            loaded=loaded,
            facts=model_facts(loaded, ends),
            texts=tuple(text for text, _ in found),
            prompts=tuple(ids for _, ids in found),
        )


def _reads_prompts(strategy: Strategy) -> bool:
    default = {"repetition_penalty": 1.0}
    return any(getattr(strategy, name) != default.get(name, 0) for name in _READ_PROMPTS)


def _sampled(case: _Case, sampler: Sampler, proof: Proof, ran: Ran) -> Proof:
    """The first tokens of many draws, held against what the sampler keeps."""
    counts_PV = [_counts(case, texts) for texts in ran.texts]
    logits_PV = [logits_behind(case.loaded, ids) for ids in case.prompts]

    def judged(tolerance: float) -> Verdict:
        prompts = zip(case.texts, case.prompts, logits_PV, strict=True)
        return judge(
            [expected_first(text.prompt_id, sampler, ids, of_V, case.facts, tolerance) for text, ids, of_V in prompts],
            counts_PV,
        )

    verdict, within = judged(proof.tolerance), None
    if not verdict.fits:
        within = next((one for one in WIDER if one > proof.tolerance and judged(one).fits), None)
    odd = [one.token for look in verdict.looks for one in (*look.outside, *look.unseen, *look.odd)]
    return replace(proof, verdict=verdict, fits_within=within, spelt=_spelt(case, odd))


def _counts(case: _Case, texts: Sequence[Sequence[int]]) -> Counts:
    """How often each token came first, `[V + 1]`. Raises ConfigError for a token that the run's model does not know."""
    size, ends = case.facts.vocabulary, case.facts.eos_ids
    counts_V = np.zeros(size + 1, dtype=np.int64)
    for text in texts:
        _refuse_unknown(case, text[:1])
        token = text[0] if text else ends[0] if ends else size
        counts_V[ends[0] if token in ends else token] += 1
    return counts_V


def _searched(case: _Case, proof: Proof, ran: Ran) -> Proof:
    """One text of each prompt, held against the stored one."""
    found = []
    for text, prompt, (theirs, *_) in zip(case.texts, case.prompts, ran.texts, strict=True):
        _refuse_unknown(case, theirs)
        content = len(text.content_ids)
        if text.finish_reason == "stop":  # the token in which the string begins has a part in the text
            content = max(0, content - 1)
        one = parting(text.prompt_id, text.token_ids, theirs, content=content, eos_ids=case.facts.eos_ids)
        if one is not None:
            found.append(replace(one, margin=_margin(case, text, prompt, one)))
    odd = [token for one in found for token in (one.ours, one.theirs) if token is not None]
    return replace(proof, partings=tuple(found), spelt=_spelt(case, odd))


def _margin(case: _Case, text: Generation, prompt: tuple[int, ...], one: Parting) -> float | None:
    """By how much our score of our token was larger there; a text that is at its end has its end token there."""
    end = case.facts.eos_ids[0] if case.facts.eos_ids else None
    ours = end if one.ours is None and text.finish_reason != "length" else one.ours
    theirs = end if one.theirs is None else one.theirs
    if ours is None or theirs is None:
        return None
    prefix = (*prompt, *text.token_ids[: one.at])
    logits_BV = logits_behind(case.loaded, prefix)[None]
    score_V = scores_after_penalties(case.strategy, logits_BV, [prefix], [len(prompt)], facts=case.facts)[0]
    return float(score_V[ours] - score_V[theirs])


def _refuse_unknown(case: _Case, tokens: Iterable[int]) -> None:
    """Raise ConfigError for a token that the run's model does not have."""
    for token in tokens:
        if not 0 <= token < case.facts.vocabulary:
            raise ConfigError(
                f"--model: the engine gave the token {token}, and {case.loaded.name} has {case.facts.vocabulary}; "
                "allowed is the same model in the engine's format"
            )


def _spelt(case: _Case, tokens: Iterable[int]) -> dict[int, str]:
    known = {token for token in tokens if token < case.facts.vocabulary}
    return {token: str(case.loaded.tokenizer.decode([token], skip_special_tokens=False)) for token in known}


def _proof(case: _Case, engine: Engine, ran: Ran, draws: int, tolerance: float) -> Proof:
    return Proof(
        engine=engine.name,
        version=ran.version,
        prompts=len(case.prompts),
        draws=draws,
        tolerance=tolerance,
        longest_prompt=max(map(len, case.prompts)),
        reads_prompts=_reads_prompts(case.strategy),
    )
