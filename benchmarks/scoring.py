"""How long all text metrics of a large run take, and how much memory: no model, the texts are made up.

python benchmarks/scoring.py                            1,000 prompts x 16 strategies x 200 tokens, one sample
python benchmarks/scoring.py --samples 3 --references   three samples for each prompt, and human references beside them
python benchmarks/scoring.py --unit words --quick       a small run, over words
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decodebench.metrics import UNITS
from decodebench.records import HUMAN, SCHEMA_VERSION, Generation
from decodebench.store.tables import write_json, write_records

VOCABULARY = 262_144
SCORE = (
    "import sys; from decodebench.scoring.run import score_run; from pathlib import Path; score_run(Path(sys.argv[1]))"
)


def texts(
    cell: str, prompts: int, samples: int, tokens: int, seed: int, *, human: bool = False
) -> Iterator[Generation]:
    """Texts of Zipfian tokens; strategies with higher seeds copy more of what they said before."""
    rng = np.random.default_rng(seed)
    for prompt in range(prompts):
        for sample in range(samples):
            ids = np.minimum(rng.zipf(1.3, tokens), VOCABULARY) - 1
            if not human and rng.random() < 0.05 * seed:
                start, period = rng.integers(0, tokens // 2), rng.integers(1, 30)
                ids[start:] = np.resize(ids[start : start + period], tokens - start)
            logprobs = -rng.exponential(2.0, tokens)
            yield Generation(
                cell=cell,
                model="none",
                strategy=HUMAN if human else cell,
                seed=0,
                prompt_id=f"{prompt:05}",
                sample=sample,
                prompt="",
                text=" ".join(f"w{token}" for token in ids),
                token_ids=tuple(map(int, ids)),
                token_logprobs=tuple(map(float, logprobs)),
                finish_reason="end" if human else "length",
                delivered_tokens=tokens,
                computed_tokens=tokens,
            )


def make_run(folder: Path, options: argparse.Namespace) -> None:
    """A run folder with these texts."""
    cells = [f"strategy{n}" for n in range(options.strategies)]
    size = (options.prompts, options.samples, options.tokens)
    folder.mkdir(parents=True, exist_ok=True)
    write_records(
        folder / "generations.parquet", Generation, (g for n, c in enumerate(cells) for g in texts(c, *size, n))
    )
    references = []
    if options.references:
        references = [{"id": HUMAN, "model": "none", "prompts": "made-up", "strategy": HUMAN}]
        people = texts(HUMAN, options.prompts, 1, options.tokens, 10_000, human=True)
        write_records(folder / "references.parquet", Generation, people)
    entry = {"model": "none", "prompts": "made-up", "seed": 0, "config": {"metrics": {"unit": options.unit}}}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "cells": [{"id": cell, "strategy": cell, **entry} for cell in cells],
        "failed": [],
        "models": {"none": {"vocabulary": VOCABULARY}},
        "references": references,
    }
    write_json(folder / "manifest.json", manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--strategies", type=int, default=16)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--unit", default="tokens", choices=UNITS)
    parser.add_argument("--references", action="store_true")
    parser.add_argument("--quick", action="store_true", help="12 prompts, 2 strategies, 50 tokens")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.strategies, options.tokens = 12, 2, 50
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        make_run(folder, options)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", SCORE, str(folder)], check=True)
        seconds = time.perf_counter() - start
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    amount = options.prompts * options.strategies * options.samples
    print(f"{amount:,} texts of {options.tokens} {options.unit}: {seconds:.1f} s in all, at most {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
