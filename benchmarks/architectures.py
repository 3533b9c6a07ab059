"""Every strategy of conf/strategy on tiny random models of many architectures: what runs, what is refused and why.

Of each architecture: the cells that were decoded and those that were refused, with the reasons; of how many prompts the
greedy text is that of a plain loop in float64 without a cache; and whether the exit at the last layer gives the model's
own logits.

    python benchmarks/architectures.py [--only Granite] [--quick]
"""

import argparse
import logging
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from decodebench.engine import find_layers
from decodebench.models import LoadedModel, encode
from decodebench.plan import Plan, catalogue, conf_dir, job_config, plan
from decodebench.records import Generation
from decodebench.run.stages import decode, load_model
from decodebench.run.underway import RunUnderWay

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from architectures import ARCHITECTURES, VOCABULARY, build
from tiny import build_tokenizer

PROMPTS = ("The old boat", "오늘은 비가 와서", "She")
NEW_TOKENS = 12
QUICK = ("greedy", "top_p", "contrastive_search", "contrastive_decoding", "dola")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an architecture came to; `refused` are the cells by reason."""

    decoded: int
    refused: dict[str, list[str]]
    equal: int
    exit_error: str | None


def configs(folder: Path, strategies: Sequence[str]) -> list[Any]:
    """The grid model x strategies, as the command line would give it."""
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    overrides = [
        *("model=local", f"model.path='{folder}'", "prompts=file", f"++prompts.path='{prompts}'", "name=architectures"),
        *(f"results='{folder}'", "latency=skip", f"++strategy.max_new_tokens={NEW_TOKENS}", "++engine.threads=1"),
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return [job_config(compose("config", [f"strategy={name}", *overrides])) for name in strategies]


def plain_greedy(model: Any, ids: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """The likeliest token, again and again: whole sequences, no cache."""
    text: list[int] = []
    while len(text) < NEW_TOKENS and not (text and text[-1] in ends):
        logits_V = model(input_ids=torch.tensor([[*ids, *text]])).logits[0, -1]
        text.append(int(logits_V.argmax()))
    return tuple(text)


def decoded(grid: Plan) -> tuple[LoadedModel, list[Generation], dict[str, str]]:
    """The grid decoded into its folder: the model, the texts, and why cells failed."""
    with RunUnderWay.of(grid, adds=False) as run:
        model = load_model(run, grid.jobs)
        if model is None:
            raise SystemExit(next(iter(run.progress.failed.values())).error)
        decode(run, model)
        return model.loaded, run.texts(), {cell: failed.error for cell, failed in run.progress.failed.items()}


def measured(name: str, strategies: Sequence[str]) -> Row:
    """Build, save, load and decode an architecture as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        build(name).save_pretrained(folder)
        build_tokenizer("gpt2").save_pretrained(folder)
        grid = plan(configs(Path(folder), strategies))
        loaded, texts, failed = decoded(grid)
    refused = defaultdict(list)
    for job in grid.jobs:
        if job.cell.id in failed:
            refused[failed[job.cell.id]].append(job.cell.strategy)
    greedy = {text.prompt: text.token_ids for text in texts if text.strategy == "greedy"}
    exact: Any = build(name).double()
    exact.set_experts_implementation("eager")  # the grouped product of experts knows no float64
    with torch.inference_mode():
        equal = sum(plain_greedy(exact, encode(loaded, text), loaded.eos_ids) == ids for text, ids in greedy.items())
    no_exit = find_layers(loaded.model, loaded.device, VOCABULARY).no_exit
    return Row(decoded=len(grid.jobs) - len(failed), refused=refused, equal=equal, exit_error=no_exit)


def main() -> None:
    """Print a table, a row for each architecture, and the reasons under it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only the architectures with this in their name")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    strategies = QUICK if options.quick else tuple(catalogue())
    print(
        f"| architecture | cells decoded of {len(strategies)} | refused | greedy = float64 loop | last exit = logits |"
    )
    print("|---|---|---|---|---|")
    reasons: dict[str, list[str]] = {}
    for name in (name for name in ARCHITECTURES if options.only in name):
        row = measured(name, strategies)
        for why in row.refused:
            reasons.setdefault(why, []).append(name)
        cells = ", ".join(cell for cells in row.refused.values() for cell in cells) or "none"
        exits = "yes" if row.exit_error is None else "no"
        print(f"| {name} | {row.decoded} | {cells} | {row.equal} of {len(PROMPTS)} | {exits} |", flush=True)
    print()
    for why, names in reasons.items():
        print(f"- {', '.join(names)}: {why}")


if __name__ == "__main__":
    main()
