"""What the host has to do for a GPU at each step, counted without one: operations handed over, and waits.

A tiny GPT-J is decoded on the pretended GPU of tests/support/pretend_cuda.py, with the ladder's 16 strategies. An
operation is about one kernel, which takes the host some microseconds to launch; views are not counted. A captured
forward pass is one operation more.

    python benchmarks/launches.py [--vocabulary 6000]
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from decodebench.engine import Decoder, choose_rows
from decodebench.engine.block import Block
from work import RANDOM_SHAPES, Work, spread_logits, strategies

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from pretend_cuda import CUDA, PretendCuda, pretend_cuda

NEW_TOKENS = 16
PROMPTS = ((5, 9, 2, 30), (7, 7, 11, 30, 4, 8, 3))
_VIEWS = """
view slice unsqueeze squeeze expand select t transpose permute detach detach_ split split_with_sizes unbind alias
reshape flatten unfold as_strided _unsafe_view _reshape_alias lift_fresh
"""
VIEWS = frozenset(_VIEWS.split())
"""Operations that compute nothing."""


class Counting(PretendCuda):
    """The pretended GPU, which also counts what it is asked to compute."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += func.overloadpacket.__name__ not in VIEWS
        return super().__torch_dispatch__(func, types, args, kwargs)


def counted(work: Work, gpu: Counting, patch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, int]]]:
    """Operations and waits of each step: of every strategy, and of the whole loop."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    names = {id(strategy): name for name, strategy in work.strategies.items()}

    def noted(name: str, call: Any, *arguments: Any) -> Any:
        before = gpu.operations, len(gpu.waits)
        result = call(*arguments)
        found[name].append((gpu.operations - before[0], len(gpu.waits) - before[1]))
        return result

    step, whole = Block.step, Decoder._step
    patch.setattr(Block, "step", lambda block, rows: noted(names[id(block.strategy)], step, block, rows))
    patch.setattr(Decoder, "_step", lambda decoder: noted("the whole step", whole, decoder))
    forward = choose_rows(work.model, CUDA, work.vocabulary)
    print(f"captured: {forward.graphs} ({forward.graphs_reason})")
    rows = forward.make_rows(work.model, CUDA)
    failures: list[str] = []
    decoder = Decoder(rows, max_rows=512, sink=lambda outcomes: None, failure=lambda cell, why: failures.append(why))
    decoder.run(work.requests())
    if failures:
        raise RuntimeError(failures[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=6000)
    options = parser.parse_args()
    from transformers import AutoModelForCausalLM, GPTJConfig

    config = GPTJConfig(
        **RANDOM_SHAPES["tiny"] | {"vocab_size": options.vocabulary}, bos_token_id=None, eos_token_id=None
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    spread_logits(model)
    patch = pytest.MonkeyPatch()
    with pretend_cuda(patch, Counting()) as gpu:
        work = Work(
            model=gpu.put(model),
            device=CUDA,
            dtype="float32",
            pad_id=0,
            strategies=strategies(NEW_TOKENS),
            prompts=PROMPTS,
            new_tokens=NEW_TOKENS,
        )
        found = counted(work, gpu, patch)
    patch.undo()
    print(f"{'':28s} operations   waits   (median of the steps after the first two)")
    for name, steps in found.items():
        operations, waits = zip(*steps[2:], strict=True)
        print(f"{name:28s} {statistics.median(operations):10.0f} {statistics.median(waits):7.0f}")


if __name__ == "__main__":
    main()
