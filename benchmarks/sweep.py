"""What a grid of strategies costs: one `generate` after the other, `generate` in batches, and the packed engine.

The three do the same work in one process, in turn, so their ratios hold although the machine's speed drifts. Beside the
seconds stands the floor: the matrix products for as many tokens as the engine fed, 128 at a time, at the rate that
is measured here, and the reads of keys and values that its rows attended to, at the bandwidth that is measured here.

"one more" is the packed engine with a sampler of 3 samples more than the ladder has. `--peers` adds other harnesses,
each in an environment and a process of its own (peers.py says how they are run): their seconds are those of the whole
process, and beside them stands the decoding alone, as they report it.

    python benchmarks/sweep.py --quick                 two to three minutes
    python benchmarks/sweep.py --dtype bfloat16        the whole ladder, 16 strategies x 8 prompts x 64 tokens
    python benchmarks/sweep.py --random gptj_6b --no-loop --dtype float16     on a GPU, without a download
    python benchmarks/sweep.py --dtype bfloat16 --no-loop --peers lm_eval optimum_benchmark
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from decodebench.deploy.generate import generation_config, generation_config_fields
from decodebench.engine import Decoder, choose_rows
from decodebench.models.device import peak_memory, synchronize
from decodebench.strategies import Strategy
from peers import REQUIREMENTS, Peer
from work import Work, one_more, packaged_work, random_work


def notebook_loop(work: Work) -> None:
    """What the notebook did: every strategy, every prompt, one call of `generate`."""
    for strategy in work.strategies.values():
        fields = generation_config_fields(strategy, eos_ids=(), pad_id=work.pad_id, limit=work.new_tokens)
        config = generation_config(fields)
        for prompt in work.prompts:
            ids = torch.tensor([prompt], device=work.device)
            work.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)


def batched_generate(work: Work) -> None:
    """What a careful user does: for every strategy one left-padded batch of all prompts."""
    longest = max(map(len, work.prompts))
    rows = [[work.pad_id] * (longest - len(p)) + list(p) for p in work.prompts]
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in work.prompts], device=work.device)
    ids = torch.tensor(rows, device=work.device)
    for strategy in work.strategies.values():
        fields = generation_config_fields(strategy, eos_ids=(), pad_id=work.pad_id, limit=work.new_tokens)
        work.model.generate(ids, attention_mask=mask, generation_config=generation_config(fields))


class Packed:
    """The engine, with what it counted; `more` strategies are decoded along with those of the work."""

    def __init__(self, max_rows: int, more: Mapping[str, Strategy] = MappingProxyType({})) -> None:
        self.max_rows = max_rows
        self.more = more
        self.counts: dict[str, int] = {}

    def __call__(self, work: Work) -> None:
        work = replace(work, strategies=work.strategies | dict(self.more))
        forward = choose_rows(work.model, work.device, work.vocabulary)
        rows = forward.make_rows(work.model, work.device)
        texts: list[Any] = []

        def failure(cell: str, why: str) -> None:
            raise RuntimeError(f"{cell}: {why}")

        requests = work.requests()
        Decoder(rows, max_rows=self.max_rows, sink=texts.extend, failure=failure).run(requests)
        wanted = sum(request.strategy.returns for request in requests)
        if len(texts) != wanted or any(len(t.token_ids) != work.new_tokens for t in texts):
            raise RuntimeError(f"{len(texts)} texts of {wanted}, or texts of another length than {work.new_tokens}")
        self.counts = {
            "texts": len(texts),
            "forward_passes": rows.forward_passes,
            "tokens_computed": rows.tokens_computed,
            "cached_tokens_read": rows.cached_tokens_read,
            "kv_bytes_per_token": forward.kv_bytes_per_token or 0,
            "tokens_alone": sum(t.computed_tokens for t in texts),
        }


def matrix_floor(work: Work, tokens: int, rows: int = 128) -> tuple[float, float]:
    """Seconds of the linear layers for so many tokens, `rows` at a time; and the measured rate in FLOP/s."""
    seconds = flops = 0.0
    timed: dict[tuple[int, int], float] = {}
    with torch.inference_mode():
        for layer in work.model.modules():
            if not isinstance(layer, torch.nn.Linear):
                continue
            shape = (layer.in_features, layer.out_features)
            if shape not in timed:
                x = torch.randn(rows, layer.in_features, dtype=layer.weight.dtype, device=work.device)
                timed[shape] = _median_seconds(lambda x=x, layer=layer: layer(x), work.device)
            seconds += timed[shape]
            flops += 2.0 * rows * shape[0] * shape[1]
    return seconds * tokens / rows, flops / seconds


def copy_bandwidth(device: torch.device, mebibytes: int = 512) -> float:
    """Bytes per second of a large copy, read and written bytes counted."""
    source = torch.ones(mebibytes * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source), device)


def _median_seconds(call: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    seconds = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def measure(work: Work, contenders: dict[str, Callable[[Work], None]], rounds: int) -> dict[str, Any]:
    """Run the contenders in turn, `rounds` times; seconds of each round and the peak memory of each contender."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    peak: dict[str, int | None] = {}
    for number in range(rounds):
        for name, contender in contenders.items():
            with torch.inference_mode(), peak_memory(work.device) as read:
                before, _ = read()
                synchronize(work.device)
                start = time.perf_counter()
                contender(work)
                synchronize(work.device)
                seconds[name].append(time.perf_counter() - start)
                after, _ = read()
            if before is not None and after is not None:
                peak[name] = max(peak.get(name) or 0, after - before)
            print(f"round {number + 1}: {name:18s} {seconds[name][-1]:8.1f} s", flush=True)
    return {"seconds": seconds, "peak_bytes": peak}


def ratios(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, float | None]]:
    """Each contender over the base, round by round: the geometric mean, and its 95% t interval over the rounds.

    Of one round there is no interval.
    """
    result: dict[str, dict[str, float | None]] = {}
    for name, values in seconds.items():
        logs = [math.log(a / b) for a, b in zip(values, seconds[base], strict=True)]
        mean = statistics.fmean(logs)
        result[name] = {"ratio": math.exp(mean), "low": None, "high": None}
        if len(logs) > 1:
            from scipy import stats

            half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
            result[name] |= {"low": math.exp(mean - half), "high": math.exp(mean + half)}
    return result


def parse() -> argparse.Namespace:
    """The options; exits on what cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer strategies, prompts and tokens")
    parser.add_argument("--no-loop", action="store_true", help="leave the notebook's loop out")
    parser.add_argument("--no-batched", action="store_true", help="leave batched `generate` out")
    parser.add_argument("--peers", nargs="+", choices=tuple(REQUIREMENTS), default=[], help="other harnesses beside us")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument(
        "--random", choices=("gptj_6b", "tiny"), help="random weights of this shape, made on the device"
    )
    parser.add_argument("--rounds", type=int, default=1, help="each contender in turn, so many times")
    parser.add_argument("--max-rows", type=int, default=512)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.random and options.peers:
        parser.error("--peers: they read the packaged model from its folder; leave --random out")
    return options


def peer_figures(peers: Mapping[str, Peer], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Of each peer, in each round: seconds of its process, and of the decoding alone; and that over packed."""
    return {
        name: {
            "process_s": seconds[name],
            "generation_s": peer.generation_s,
            "ratio_generation": ratios({name: peer.generation_s, "packed": seconds["packed"]}, "packed")[name],
            "installed": list(REQUIREMENTS[name]),
        }
        for name, peer in peers.items()
    }


def main() -> None:
    options = parse()
    peers = {name: Peer(name) for name in options.peers}
    if options.random:
        work = random_work(options.random, options.dtype, quick=options.quick)
    else:
        work = packaged_work(options.dtype, quick=options.quick)
    packed = Packed(options.max_rows)
    contenders: dict[str, Callable[[Work], None]] = {} if options.no_loop else {"loop": notebook_loop}
    contenders |= {} if options.no_batched else {"batched": batched_generate}
    contenders |= {"packed": packed, "one more": Packed(options.max_rows, one_more(work.new_tokens)), **peers}
    measured = measure(work, contenders, options.rounds)
    for name in peers:
        measured["peak_bytes"].pop(name, None)  # it would be the peak of this process, which did not decode
    against = ratios(measured["seconds"], "packed")
    products_s, flop_rate = matrix_floor(work, packed.counts["tokens_computed"])
    bandwidth = copy_bandwidth(work.device)
    reads_s = packed.counts["cached_tokens_read"] * packed.counts["kv_bytes_per_token"] / bandwidth
    floor_s = products_s + reads_s
    packed_s = statistics.median(measured["seconds"]["packed"])
    figures = {
        "seconds": measured["seconds"],
        "ratio_loop": against.get("loop"),
        "ratio_batched": against.get("batched"),
        "ratio_one_more": against["one more"],
        "peers": peer_figures(peers, measured["seconds"]),
        "floor_s": floor_s,
        "products_s": products_s,
        "cache_reads_s": reads_s,
        "floor_ratio": packed_s / floor_s,
        "peak_bytes": measured["peak_bytes"],
        "counts": packed.counts,
        "work": {"dtype": work.dtype, "strategies": list(work.strategies), "new_tokens": work.new_tokens},
        "machine": {"device": str(work.device), "threads": torch.get_num_threads(), "torch": torch.__version__},
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(work, figures, against, flop_rate, bandwidth)


def show(
    work: Work, figures: dict[str, Any], against: dict[str, dict[str, float | None]], flop_rate: float, bandwidth: float
) -> None:
    """Print the figures as a table; the rates are in FLOP/s and bytes/s."""
    print(f"\n{work.dtype} on {work.device}, {len(work.strategies)} strategies, {len(work.prompts)} prompts, ", end="")
    print(f"{work.new_tokens} tokens; {platform.machine()}, {torch.get_num_threads()} threads")
    print(f"packed: {figures['counts']}")
    width = max(map(len, against))
    for name, ratio in against.items():
        _show_line(name, width, figures["seconds"][name], ratio, figures["peak_bytes"].get(name))
    for name, peer in figures["peers"].items():
        print(f"{name}, decoding alone, as it reports it:")
        _show_line(name, width, peer["generation_s"], peer["ratio_generation"], None)
    print(f"{'floor':{width}s} {figures['floor_s']:8.1f} s   measured / floor {figures['floor_ratio']:.2f}   (", end="")
    print(f"products {figures['products_s']:.1f} s at {flop_rate / 1e9:.0f} GFLOP/s, ", end="")
    print(f"cache {figures['cache_reads_s']:.2f} s at {bandwidth / 1e9:.1f} GB/s)")


def _show_line(name: str, width: int, seconds: list[float], ratio: dict[str, float | None], peak: int | None) -> None:
    line = f"{name:{width}s} {statistics.median(seconds):8.1f} s   {ratio['ratio']:6.2f} x packed "
    line += "(one round: no interval)" if ratio["low"] is None else f"[{ratio['low']:.2f}, {ratio['high']:.2f}]"
    print(line + (f"   peak over the model {peak / 1e9:.2f} GB" if peak is not None else ""))


if __name__ == "__main__":
    main()
