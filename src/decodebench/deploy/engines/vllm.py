"""vLLM: the arguments of SamplingParams, or of BeamSearchParams. It draws after penalties, temperature, min_p, top_k
and top_p, in this order."""

from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.table import Engine, Row, lacking, only

_OFF = {
    "n": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "seed": None,
    "stop": None,
    "stop_token_ids": None,
    "include_stop_str_in_output": False,
    "ignore_eos": False,
    "max_tokens": None,
    "min_tokens": 0,
    "logit_bias": None,
    "bad_words": None,
}


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    beams = "beam_width" in settings
    kind, call = ("BeamSearchParams", "beam_search") if beams else ("SamplingParams", "generate")
    place = "vllm.sampling_params" if beams else "vllm"
    return (
        "import json",
        "from vllm import LLM",
        f"from {place} import {kind}",
        f'settings = {kind}(**json.load(open("settings.json")))',
        f"out = LLM(model=MODEL).{call}(prompts, settings)",
    )


ENGINE = Engine(
    name="vllm",
    package="vllm",
    version="0.32.0",
    order=("temperature", "min_p", "top_k", "top_p"),
    texts_field="n",
    neutral={
        "greedy": {**_OFF, "temperature": 0.0},
        "sampler": _OFF,
        "search": {
            "beam_width": 1,
            "max_tokens": None,
            "ignore_eos": False,
            "temperature": 0.0,
            "length_penalty": 1.0,
            "include_stop_str_in_output": False,
        },
    },
    rows={
        "temperature": Row(target="temperature"),
        "top_k": Row(target="top_k"),
        "top_p": Row(target="top_p"),
        "min_p": Row(target="min_p"),
        "repetition_penalty": Row(target="repetition_penalty", refuses=lambda _, asked: _no_penalty(asked.kind)),
        "presence_penalty": Row(target="presence_penalty", refuses=lambda _, asked: _no_penalty(asked.kind)),
        "frequency_penalty": Row(target="frequency_penalty", refuses=lambda _, asked: _no_penalty(asked.kind)),
        "max_new_tokens": Row(target="max_tokens"),
        "min_new_tokens": Row(
            target="min_tokens",
            refuses=lambda _, asked: (
                "stop strings wait for min_tokens there" if asked.numbers.get("stop") else _no_penalty(asked.kind)
            ),
        ),
        "stop": Row(
            target="stop", value=lambda value, _: list(value), refuses=lambda _, asked: _no_penalty(asked.kind)
        ),
        "stop_keep": Row(target="include_stop_str_in_output"),
        "eos": Row(
            target="ignore_eos",
            value=lambda value, _: value == "none",
            refuses=only("model", "none", why="the end tokens of the model end a text there too"),
        ),
        "num_beams": Row(target="beam_width"),
        "length_penalty": Row(
            target="length_penalty", refuses=only(0.0, why="the prompt is part of the length there; 0.0 is the same")
        ),
        "early_stopping": Row(
            target=None,
            refuses=only("never", False, why="its search runs on to the last token; false and never are the same"),
        ),
    },
    lacks=lacking(
        "SamplingParams has no such argument: a TypeError",
        *("typical_p", "epsilon_cutoff", "eta_cutoff", "top_h", "top_n_sigma", "tfs_z", "p_less"),
        *("xtc_probability", "xtc_threshold", "dry_multiplier", "no_repeat_ngram_size", "mirostat_tau"),
    )
    | lacking("only new tokens are counted (max_tokens)", "max_total_tokens"),
    usage=_usage,
)


def _no_penalty(kind: str) -> str | None:
    return "its beam search has no such argument" if kind == "search" else None
