"""How the cost of a packed grid grows: seconds and memory against strategies, prompts, samples, new tokens and rows.

One thing grows at a time, the others stay at a base. Beside each series stands the exponent b of cost ~ x**b, fitted to
the logarithms: 1 is proportional, below 1 each further unit is cheaper than the last.

    python benchmarks/growth.py [--dtype bfloat16] [--random tiny] [--json FILE] [--plot FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decodebench.engine import Decoder, Forward, choose_rows
from decodebench.models.device import peak_memory, synchronize
from decodebench.strategies import Sample, Strategy, TopP
from work import Work, packaged_work, random_work


@dataclass(frozen=True, kw_only=True)
class Base:
    """What stands still while one thing grows."""

    strategies: int = 4
    prompts: int = 4
    samples: int = 3
    new_tokens: int = 24
    max_rows: int = 256


SERIES: dict[str, Sequence[int]] = {
    "strategies": (1, 2, 4, 8, 16, 32),
    "prompts": (1, 2, 4, 8),
    "samples": (1, 3, 6, 12, 24),
    "new_tokens": (8, 16, 32, 64, 128),
    "max_rows": (8, 16, 32, 64, 128, 256),
}


def grid(work: Work, base: Base) -> Work:
    """The work as a grid of samplers: temperatures rise from 0.5, every second one also cuts at top-p."""
    samplers: dict[str, Strategy] = {}
    for number in range(base.strategies):
        kind = Sample if number % 2 == 0 else TopP
        samplers[str(number)] = kind(
            temperature=0.5 + 0.8 * number / max(1, base.strategies - 1),
            num_return_sequences=base.samples,
            max_new_tokens=base.new_tokens,
            eos="none",
        )
    return replace(work, strategies=samplers, prompts=work.prompts[: base.prompts], new_tokens=base.new_tokens)


def cost(work: Work, forward: Forward, base: Base, repeats: int) -> dict[str, float]:
    """Median seconds, peak bytes over the start, tokens alone and computed of one point."""
    seconds, peaks = [], []
    requests = grid(work, base).requests()
    for _ in range(repeats):
        rows = forward.make_rows(work.model, work.device)
        texts: list[Any] = []

        def failure(cell: str, why: str) -> None:
            raise RuntimeError(f"{cell}: {why}")

        with peak_memory(work.device) as read:
            before, _ = read()
            synchronize(work.device)
            start = time.perf_counter()
            Decoder(rows, max_rows=base.max_rows, sink=texts.extend, failure=failure).run(requests)
            synchronize(work.device)
            seconds.append(time.perf_counter() - start)
            after, _ = read()
        if before is not None and after is not None:
            peaks.append(after - before)
    return {
        "seconds": statistics.median(seconds),
        "peak_bytes": max(peaks) if peaks else float("nan"),
        "tokens_alone": sum(t.computed_tokens for t in texts),
        "tokens_computed": rows.tokens_computed,
    }


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The slope of log y over log x."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def plot(figures: dict[str, dict[str, Any]], file: Path) -> None:
    """Seconds of every series, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(figures), 3.2), layout="constrained")
    for axis, (name, series) in zip(figure.subplots(1, len(figures)), figures.items(), strict=True):
        axis.plot(series["x"], series["seconds"], "o-", color="#0072B2")
        axis.set(xscale="log", yscale="log", xlabel=name, ylabel="seconds")
        axis.set_title(f"x^{series['exponent']:.2f}", fontsize=10)
        axis.set_xticks(series["x"], [str(x) for x in series["x"]])
        ends = (min(series["seconds"]), max(series["seconds"]))
        axis.set_yticks(ends, [f"{seconds:.1f}" for seconds in ends])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--random", choices=("gptj_6b", "tiny"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most", type=int, help="leave points above this out (to try the script)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    work = random_work(options.random, options.dtype, quick=False) if options.random else None
    work = work or packaged_work(options.dtype, quick=False)
    forward = choose_rows(work.model, work.device, work.vocabulary)
    measure: Callable[[Base], dict[str, float]] = lambda base: cost(work, forward, base, options.repeats)  # noqa: E731
    measure(Base(strategies=1, new_tokens=4))  # warm-up

    figures: dict[str, dict[str, Any]] = {}
    print(f"{work.dtype} on {work.device}, {torch.get_num_threads()} threads; base {Base()}")
    for name, wanted in SERIES.items():
        xs = [x for x in wanted if options.most is None or x <= options.most]
        points = [measure(replace(Base(), **{name: x})) for x in xs]
        series = {key: [p[key] for p in points] for key in points[0]}
        figures[name] = {"x": xs, **series, "exponent": exponent(xs, series["seconds"])}
        print(f"\n{name}: seconds ~ x^{figures[name]['exponent']:.2f}")
        for x, point in zip(xs, points, strict=True):
            shared = 1 - point["tokens_computed"] / point["tokens_alone"]
            memory = f"{point['peak_bytes'] / 1e6:7.0f} MB"
            print(f"  {x:5d}  {point['seconds']:8.2f} s  {memory}  {shared:5.0%} of the tokens shared", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.plot:
        plot(figures, options.plot)


if __name__ == "__main__":
    main()
