"""The timed pass: what one user waits, strategy by strategy, through `model.generate`.

Packing makes quality cheap and says nothing of latency. Here each strategy runs alone on one prompt, as its user would
call it, in rounds interleaved over the strategies so that a drift of the machine's speed meets them all. A strategy
that transformers' core lacks runs in our engine, which `generate` calls (`deploy.custom_generate`).
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from decodebench.errors import noted
from decodebench.models import LoadedModel, load_second, peak_memory, synchronize
from decodebench.plan import LatencyConfig
from decodebench.records import Timing
from decodebench.strategies import Strategy

Clock = Callable[[], float]

NO_STREAM = "beam search decides on its first token only when it has finished"
CHOSEN_LAST = "the text is chosen when all candidates have finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCall:
    """One strategy on one prompt: the fields of its GenerationConfig for exactly `LatencyConfig.new_tokens` tokens.

    `ours` is the strategy where transformers' core lacks it: it then decodes with our own engine. `named` are other
    arguments of `generate` (a draft model).
    """

    cell: str
    model: str
    strategy: str
    prompt_id: str
    prompt_ids: tuple[int, ...]
    fields: dict[str, Any]
    ours: Strategy | None = None
    named: Mapping[str, Any] = field(default_factory=dict)

    @property
    def no_stream(self) -> str | None:
        """Why the first token chosen is not the text's first token; None where it is."""
        if self.ours is not None:  # one that ranks its rows knows its text when they have ended
            return None if type(self.ours).ranking is Strategy.ranking else CHOSEN_LAST
        return None if int(self.fields["num_beams"]) == 1 else NO_STREAM


def measure_latency(
    loaded: LoadedModel,
    calls: Sequence[TimedCall],
    config: LatencyConfig,
    *,
    untimed: dict[str, str] | None = None,
    clock: Clock = time.perf_counter,
    tick: Callable[[], object] = lambda: None,
) -> list[Timing]:
    """Time every call in `config.rounds` interleaved rounds after `config.warmups` rounds that are thrown away.

    A cell of which a call raises an error is not timed; the reason goes into `untimed`.
    """
    failed: dict[str, str] = {} if untimed is None else untimed
    timings = []
    for number in range(config.warmups + config.rounds):
        for call in calls:
            if call.cell not in failed:
                with noted(failed, call.cell):
                    timings.append(_time(loaded, call, number - config.warmups, clock))
            tick()
    return [timing for timing in timings if timing.round >= 0 and timing.cell not in failed]


def _time(loaded: LoadedModel, call: TimedCall, number: int, clock: Clock) -> Timing:
    from transformers import StoppingCriteriaList

    from decodebench.deploy import custom_generate, generation_config, quiet

    ids = torch.tensor([call.prompt_ids], device=loaded.device)
    mask = torch.ones_like(ids)
    config = generation_config(call.fields)
    steps: list[float] = []

    def stamp() -> None:
        """Note when the first token is there."""
        if not steps:
            synchronize(loaded.device)
            steps.append(clock())

    def never(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Called by `generate` once a step, for every method; stops nothing."""
        stamp()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    how: dict[str, Any] = {"stopping_criteria": StoppingCriteriaList([never]), **call.named}
    if call.ours is not None:
        count = int(call.fields["max_new_tokens"])
        place = call.ours.second_model
        ours = custom_generate(
            call.ours,
            loaded.tokenizer,
            second_model=load_second(place, loaded) if place else None,
            new_tokens=count,
            first_token=stamp,
        )
        how = {"custom_generate": ours}
    torch.manual_seed(number)  # `generate` takes no seed: the timed draws are the same in each session
    gc.collect()
    with quiet(), torch.inference_mode(), peak_memory(loaded.device) as peak:
        synchronize(loaded.device)
        start = clock()
        out = loaded.model.generate(
            ids,
            attention_mask=mask,
            generation_config=config,
            **how,
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
        ttft_s=steps[0] - start if call.no_stream is None and steps else None,
        ttft_reason=call.no_stream,
        new_tokens=int(out.shape[1]) - len(call.prompt_ids),
        peak_bytes=bytes_,
        peak_reason=why,
    )
