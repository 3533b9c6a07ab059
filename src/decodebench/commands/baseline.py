"""`baseline RUN`: what a later check needs of a run, in one small file."""

import shutil
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from decodebench.commands.arguments import Arguments
from decodebench.errors import ConfigError

if TYPE_CHECKING:
    from decodebench.regression import Baseline

_SEEDS = (2, 100)
"""A standard deviation needs two; what lies above the second is a slip of the hand."""


def baseline(words: Sequence[str]) -> None:
    """Write the baseline of a stored run."""
    parser = Arguments(
        "baseline",
        does="Keep what a later `check` needs of a stored run in one text file, made to be committed: its texts and\n"
        "tokens, the metrics of every prompt, and what it was made with. A baseline that is there is replaced.",
        takes="the path of a run folder",
        examples=["baseline results/NAME -o baselines/NAME", "baseline results/mine --seeds 5"],
    )
    parser.positional("RUN", "the folder of a run")
    parser.flag("-o", "--output", metavar="FILE", help="where it goes (default: baselines/<name of the run's folder>)")
    parser.flag(
        "--seeds", metavar="N", help="also run its strategies that draw with N other seeds: the noise of each metric"
    )
    arguments = parser.read(words)
    seeds = _seeds(arguments.seeds)
    run_dir = Path(arguments.run)
    path = Path(arguments.output or Path("baselines") / run_dir.resolve().name)

    from decodebench.regression import make_baseline, refuse_other_file, write_baseline

    refuse_other_file(path)
    made = make_baseline(run_dir)
    if seeds is not None:
        made = _with_seeds(made, run_dir.resolve(), seeds)
    write_baseline(path, made)
    print(f"baseline: {path} ({_contents(made)}; {path.stat().st_size / 1000:,.0f} kB)")


def _seeds(value: str | None) -> int | None:
    if value is None:
        return None
    least, most = _SEEDS
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise ConfigError(f"--seeds={value}: allowed is a number of seeds from {least} to {most}")
    return int(value)


def _with_seeds(made: "Baseline", run_dir: Path, number: int) -> "Baseline":
    """Run what draws with other seeds, in a folder beside the run which goes when it is read; one that was stopped goes
    on there."""
    drawing = [arm for arm in made.arms if not arm.is_search]
    if not drawing:
        raise ConfigError(
            f"--seeds={number}: has no effect, no strategy of {run_dir.name} draws; allowed is no --seeds"
        )

    from decodebench.regression import run_key, with_noise
    from decodebench.run import rerun

    known = {seed for arm in made.arms for seed in arm.texts}
    others = list(islice((seed for seed in count() if seed not in known), number))
    configs = [arm.config for arm in drawing]
    name = f".{run_dir.name}-seeds-{run_key(configs, others)}"
    which = ", ".join(dict.fromkeys(arm.strategy for arm in drawing))
    print(f"running {which} with the seeds {', '.join(map(str, others))}", flush=True)
    folder = rerun(configs, results=str(run_dir.parent), name=name, seeds=others, goes_on=True)
    try:
        return with_noise(made, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _contents(made: "Baseline") -> str:
    """What it holds, in words."""
    texts = sum(len(found) for arm in made.arms for of in arm.texts.values() for found in of.values())
    prompts = sum(map(len, made.prompts.values()))
    seeds = made.made.get("noise_seeds")
    noise = f"the noise of {len(seeds)} seeds" if seeds else "no seed noise: --seeds 5 measures it"
    strategies = "1 strategy" if len(made.arms) == 1 else f"{len(made.arms)} strategies"
    return f"{strategies}, {prompts:,} prompts, {texts:,} texts; {noise}"
