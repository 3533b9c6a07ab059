"""A small run folder made by hand, for the tests of the report and of the notebook: no model is needed."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from decodebench.records import HUMAN, SCHEMA_VERSION, Generation, Measurement, Reading, Timing
from decodebench.report.comparison import compare
from decodebench.report.folder import load
from decodebench.report.markdown import markdown
from decodebench.report.page import page
from decodebench.store.tables import write_json, write_records

NO_TTFT = "the first token of a beam search is known only at its end"
NO_INTERVAL = "one prompt only: an interval needs two"
TOO_FEW = "2 prompts: an interval needs at least 10"
PROMPTS = {
    "greeting": "야! 너는 AI지? 정말로 말을 알아듣니?",
    "markup": '<b>"Fish & chips"</b>, said the `chef`,',
}
TEXTS = {
    "greedy": "네, 저는 <script>alert('x')</script> 알아듣습니다.\n그리고 ``` 도 압니다.",
    "beam": "그럼요 & 물론이죠 \x00\x1b[31m |pipe|",
}


def cell(name: str, **changes: Any) -> dict[str, Any]:
    """A cell of the manifest; its id is `id-` and the strategy's name unless it is changed."""
    entry = {"id": f"id-{name}", "model": "gemma", "prompts": "seed_ko", "strategy": name, "seed": 0}
    return {**entry, "config": {"strategy": {"name": name}}, "generation_config": None, **changes}


def manifest(cells: Sequence[dict[str, Any]], failed: Sequence[dict[str, str]] = (), **changes: Any) -> dict[str, Any]:
    """A manifest with every key that the report reads."""
    model = {"source": "gemma3-270m.gguf", "device": "cpu", "dtype": "float32", "parameters": 268_098_176}
    model |= {"licence": "Gemma Terms of Use", "forward": "cached", "exactness": "same bits for any batch"}
    counts = {"requests_total": 4, "requests_stored_before": 1, "requests_decoded": 3, "prefills": 2}
    counts |= {"forward_passes": 40, "tokens_alone": 200, "tokens_computed": 150}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": "sample run",
        "created": "2026-01-02T03:04:05+00:00",
        "command": "python -m decodebench -m strategy=greedy,beam,broken",
        "seed": [0],
        "git_commit": "0123abc",
        "versions": {"torch": "2.13.0"},
        "machine": {"platform": "Linux", "cpu": "a CPU", "threads": 2},
        "models": {"gemma": model},
        "prompts": {"seed_ko": {"sha256": "ab" * 32, "count": 2, "template": None}},
        "cells": list(cells),
        "failed": list(failed),
        "counts": counts,
        "seconds": {"load": 3.2, "decode": 12.0},
    } | changes


def generation(name: str, prompt_id: str, sample: int = 0, **changes: Any) -> Generation:
    """Three tokens with log-probabilities -1, -2 and -3: their mean is -2."""
    values: dict[str, Any] = {
        "cell": f"id-{name}",
        "model": "gemma",
        "strategy": name,
        "seed": 0,
        "prompt_id": prompt_id,
        "sample": sample,
        "prompt": PROMPTS.get(prompt_id, prompt_id),
        "text": TEXTS.get(name, name),
        "token_ids": (5, 6, 1),
        "token_logprobs": (-1.0, -2.0, -3.0),
        "finish_reason": "eos",
        "delivered_tokens": 3,
        "computed_tokens": 12,
        "is_search": name == "beam",
    }
    return Generation(**values | changes)


def measurement(name: str, metric: str, value: float | None, **changes: Any) -> Measurement:
    """A measurement with an interval of a tenth to each side, unless the changes say otherwise."""
    values: dict[str, Any] = {
        "cell": f"id-{name}",
        "model": "gemma",
        "strategy": name,
        "metric": metric,
        "value": value,
        "reason": None,
        "unit": "share",
        "direction": "higher",
        "n": 2,
        "ci_low": None if value is None else value - 0.1,
        "ci_high": None if value is None else value + 0.1,
        "version": "1",
    }
    return Measurement(**values | changes)


def save(
    folder: Path,
    manifest: dict[str, Any],
    generations: Iterable[Generation],
    measurements: Iterable[Measurement],
    timings: Iterable[Timing] = (),
) -> Path:
    """Write a run folder as the earlier stages would; no latency.parquet where nothing was timed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
    tables: dict[str, Iterable[Generation | Measurement | Timing]] = {
        "generations": generations,
        "measurements": measurements,
        "latency": timings,
    }
    for name, records in tables.items():
        if rows := [asdict(record) for record in records]:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


def golden(folder: Path) -> Path:
    """Two prompts; greedy is whole, beam has no time to first token, the third cell failed."""
    cells = [cell("greedy"), cell("beam"), cell("broken")]
    failed = [{"cell": "id-broken", "error": "ModelError: logits are NaN <at> step 3"}]
    seconds: dict[str, Any] = {"unit": "s", "direction": "lower", "ci_low": None, "ci_high": None}
    measurements = [
        measurement("greedy", "diversity", 0.25),
        measurement("beam", "diversity", 0.5),
        measurement("greedy", "rep_4", 0.75, direction="lower"),
        measurement("beam", "rep_4", 0.4, direction="lower"),
        measurement("greedy", "distinct_2_characters", 0.3),
        measurement("beam", "distinct_2_characters", 0.6),
        measurement("greedy", "ttft_s", 0.04, reason=NO_INTERVAL, **seconds),
        measurement("beam", "ttft_s", None, reason=NO_TTFT, **seconds),
        measurement("greedy", "e2e_s", 1.5, reason=NO_INTERVAL, **seconds),
        measurement("beam", "e2e_s", 4.0, reason=NO_INTERVAL, **seconds),
    ]
    generations = [
        generation(name, prompt_id, sample)
        for prompt_id in PROMPTS
        for name, samples in (("greedy", 1), ("beam", 2))
        for sample in range(samples)
    ]
    timing = Timing(
        cell="id-greedy",
        model="gemma",
        strategy="greedy",
        prompt_id="greeting",
        round=0,
        e2e_s=1.5,
        ttft_s=0.04,
        ttft_reason=None,
        new_tokens=64,
        peak_bytes=None,
        peak_reason="not measured on a CPU",
    )
    return save(folder, manifest(cells, failed), generations, measurements, [timing])


def pages(run_dir: Path) -> tuple[str, str]:
    """report.md and report.html without the plots, which take most of the time."""
    run = load(run_dir)
    comparison = compare(run)
    return markdown(run, comparison, []), page(run, comparison, [])


def unscored(folder: Path, *, prompts: int = 12) -> Path:
    """A finished run that nothing was measured of: 2 strategies x 2 seeds, what people wrote, and a scorer's readings.

    Texts have 40 + at + 2 seed tokens (greedy), 40 + 2 at (top_p) and 38 (people), for the prompt numbered `at`; greedy
    has a vocabulary of 4, the others of 25. All log-probs are -1, -2 and -3; the scorer's entropy is 1.5.
    """
    settings = {"strategy": {}, "metrics": {"unit": "tokens", "leading": 32, "compat": None}}
    cells = [
        cell(name, id=f"{name[0]}{seed}", seed=seed, config=settings) for name in ("greedy", "top_p") for seed in (0, 1)
    ]
    people = {"id": "h", "model": "gemma", "prompts": "seed_ko", "strategy": HUMAN}
    texts = [_written(entry, at, entry["seed"]) for entry in cells for at in range(prompts)]
    references = [_written(people, at, 0) for at in range(prompts)]
    whole = manifest(cells, references=[people])
    whole["models"]["gemma"]["vocabulary"] = 25
    write_json(folder / "manifest.json", whole)
    write_records(folder / "generations.parquet", Generation, texts)
    write_records(folder / "references.parquet", Generation, references)
    write_records(folder / "readings.parquet", Reading, map(_read, (*texts, *references)))
    return folder


def _written(entry: dict[str, Any], at: int, seed: int) -> Generation:
    name = entry["strategy"]
    length, words = {"greedy": (40 + at + 2 * seed, 4), "top_p": (40 + 2 * at, 25), HUMAN: (38, 25)}[name]
    numbers = random.Random(f"{name} {seed} {at}")
    ids = tuple(numbers.randrange(words) for _ in range(length))
    return generation(
        name,
        f"p{at:02}",
        cell=entry["id"],
        seed=seed,
        text=" ".join(f"w{id_}" for id_ in ids),
        token_ids=ids,
        token_logprobs=(-1.0, -2.0, -3.0) * (length // 3) + (-2.0,) * (length % 3),
        finish_reason="end" if name == HUMAN else "length",
        delivered_tokens=length,
        computed_tokens=length + 2,
    )


def _read(text: Generation) -> Reading:
    numbers = random.Random(text.text)
    return Reading(
        cell=text.cell,
        prompt_id=text.prompt_id,
        sample=text.sample,
        scorer="self",
        token_ids=text.token_ids,
        token_logprobs=text.token_logprobs,
        token_entropies=(1.5,) * len(text.token_ids),
        embedding=(numbers.random(), numbers.random(), 1.0),
        prompt_embedding=(1.0, 0.0, 0.0),
    )
