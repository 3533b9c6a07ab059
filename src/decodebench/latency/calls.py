"""A cell that is ready to decode -> the calls of `generate` that are timed of it."""

import logging
import math

from decodebench.decoding import Prepared, generate_call
from decodebench.deploy import exports, generation_config_fields
from decodebench.latency.timing import TimedCall
from decodebench.models import LoadedModel
from decodebench.plan import LatencyConfig

log = logging.getLogger(__name__)


def timed_calls(prepared: Prepared, config: LatencyConfig, loaded: LoadedModel) -> list[TimedCall]:
    """What is timed of a cell: its strategy on its first prompts, without EOS or stop strings: no text ends early."""
    cell, strategy = prepared.job.cell, prepared.job.strategy
    fields_ = generation_config_fields(
        strategy,
        eos_ids=(),
        pad_id=loaded.pad_id,
        limit=config.new_tokens,
        min_new_tokens=0,
        facts=prepared.requests[0].facts,
    )
    fields_, named = generate_call(strategy, fields_ | {"stop_strings": None}, loaded)
    prompts = dict.fromkeys((request.prompt_id, request.prompt_ids) for request in prepared.requests)
    room = math.inf if loaded.context_length is None else loaded.context_length - config.new_tokens
    fitting = [(prompt_id, ids) for prompt_id, ids in prompts if len(ids) <= room]
    if not fitting:
        log.warning(
            "%s is not timed: with latency.new_tokens=%d no prompt fits the context of %s",
            cell.strategy,
            config.new_tokens,
            cell.model,
        )
    return [
        TimedCall(
            cell=cell.id,
            model=cell.model,
            strategy=cell.strategy,
            prompt_id=prompt_id,
            prompt_ids=prompt_ids,
            fields=fields_,
            named=named,
            ours=None if exports(strategy) else strategy,
        )
        for prompt_id, prompt_ids in fitting[: config.prompts]
    ]
