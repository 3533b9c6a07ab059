"""The timed pass: what one user waits, strategy by strategy, through `model.generate`.

Packing makes quality cheap and says nothing of latency. Here each strategy runs alone on one prompt, as its user would
call it, in rounds interleaved over the strategies so that a drift of the machine's speed meets them all.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from decodebench.config import LatencyConfig
from decodebench.device import peak_memory, synchronize
from decodebench.models import LoadedModel
from decodebench.records import Timing

Clock = Callable[[], float]

NO_STREAM = "beam search decides on its first token only when it has finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCall:
    """One strategy on one prompt: the fields of its GenerationConfig for exactly `LatencyConfig.new_tokens` tokens."""

    cell: str
    model: str
    strategy: str
    prompt_id: str
    prompt_ids: tuple[int, ...]
    fields: dict[str, Any]

    @property
    def streams(self) -> bool:
        """Whether the first step's token is the text's first token."""
        return int(self.fields["num_beams"]) == 1


def measure_latency(
    loaded: LoadedModel,
    calls: Sequence[TimedCall],
    config: LatencyConfig,
    *,
    clock: Clock = time.perf_counter,
    tick: Callable[[], object] = lambda: None,
) -> list[Timing]:
    """Time every call in `config.rounds` interleaved rounds after `config.warmups` rounds that are thrown away."""
    timings = []
    for number in range(config.warmups + config.rounds):
        for call in calls:
            timing = _time(loaded, call, number - config.warmups, clock)
            tick()
            if number >= config.warmups:
                timings.append(timing)
    return timings


def _time(loaded: LoadedModel, call: TimedCall, number: int, clock: Clock) -> Timing:
    from transformers import StoppingCriteriaList

    from decodebench.deploy import generation_config

    ids = torch.tensor([call.prompt_ids], device=loaded.device)
    mask = torch.ones_like(ids)
    config = generation_config(call.fields)
    steps: list[float] = []

    def stamp(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Called by `generate` once a step, for every method: note when the first token is there; never stop."""
        if not steps:
            synchronize(loaded.device)
            steps.append(clock())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    torch.manual_seed(number)  # `generate` takes no seed: the timed draws are the same in each session
    gc.collect()
    with torch.inference_mode(), peak_memory(loaded.device) as peak:
        synchronize(loaded.device)
        start = clock()
        out = loaded.model.generate(
            ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([stamp]),
        )
        synchronize(loaded.device)
        end = clock()
    bytes_, why = peak()
    return Timing(
        cell=call.cell,
        model=call.model,
        strategy=call.strategy,
        prompt_id=call.prompt_id,
        round=number,
        e2e_s=end - start,
        ttft_s=steps[0] - start if call.streams and steps else None,
        ttft_reason=None if call.streams else NO_STREAM,
        new_tokens=int(out.shape[1]) - len(call.prompt_ids),
        peak_bytes=bytes_,
        peak_reason=why,
    )
