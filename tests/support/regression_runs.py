"""Stored runs without a model, for the tests of checks: greedy and a sampler over twelve prompts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from decodebench.records import Generation
from decodebench.store.tables import read_records, write_records
from sample_run import cell, generation, manifest, save

PROMPTS = tuple(f"p{n:02d}" for n in range(12))
METRICS = {"unit": "tokens", "leading": 32, "compat": None, "against": None, "rank_by": None}


def stored_run(folder: Path, strategies: Sequence[str] = ("greedy", "sample"), **changes: Any) -> Path:
    """A finished run. Texts are of three or four tokens."""
    cells = [_cell(name) for name in strategies]
    texts = [_text(name, n, prompt) for name in strategies for n, prompt in enumerate(PROMPTS)]
    model = {"source": "tiny", "fingerprint": "aa", "dtype": "float32", "device": "cpu", "vocabulary": 100}
    known: dict[str, Any] = {"status": "complete", "models": {"tiny": model}, "name": folder.name}
    known["prompts"] = {"some": {"sha256": "ab", "count": len(PROMPTS), "template": None}}
    save(folder, manifest(cells, **known | changes), (), ())
    write_records(folder / "generations.parquet", Generation, texts)
    return folder


def _cell(name: str) -> dict[str, Any]:
    config = {"model": {"name": "tiny"}, "prompts": {"name": "some"}, "strategy": {"name": name}, "metrics": METRICS}
    return cell(
        name,
        model="tiny",
        prompts="some",
        config={**config, "seed": 0},
        generation_config={"do_sample": name != "greedy"},
    )


def _text(name: str, n: int, prompt: str) -> Generation:
    tokens = tuple(range(10 + n, 13 + n + n % 2))
    return generation(
        name,
        prompt,
        model="tiny",
        text=" ".join(map(str, tokens)),
        token_ids=tokens,
        token_logprobs=(-1.0,) * len(tokens),
        delivered_tokens=len(tokens),
        finish_reason="length",
        is_search=name == "greedy",
    )


def lengthened(folder: Path, tokens: int = 2) -> Path:
    """The same run with longer texts; that one of two prompts gets one token more still keeps the values apart."""
    path = folder / "generations.parquet"
    longer = []
    for n, each in enumerate(read_records(path, Generation)):
        ids = (*each.token_ids, *range(50, 50 + tokens + n % 2))
        longer.append(
            replace(each, token_ids=ids, token_logprobs=(-1.0,) * len(ids), delivered_tokens=len(ids), text=f"{ids}")
        )
    write_records(path, Generation, longer)
    return folder
