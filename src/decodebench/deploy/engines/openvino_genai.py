"""OpenVINO GenAI: the fields of a GenerationConfig for LLMPipeline. It draws after the temperature, top_k, top_p and
min_p, as transformers does; keywords that it does not know are accepted and do nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.asked import Asked
from decodebench.deploy.engines.table import Engine, Row, lacking, only

_OFF = {
    "do_sample": False,
    "max_new_tokens": 256,
    "min_new_tokens": 0,
    "ignore_eos": False,
    "stop_strings": [],
    "include_stop_str_in_output": False,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 2**63 - 1,
    "num_return_sequences": 1,
    "apply_chat_template": False,
    "rng_seed": 0,
}
_CRITERIA = {True: "EARLY", False: "HEURISTIC", "never": "NEVER"}


def _no_penalty(_: Any, asked: Asked) -> str | None:
    if asked.kind == "search":
        return "an error with beams"
    return "the texts of one call are counted together; --texts 1 is the same" if asked.texts > 1 else None


def _no_least_length(_: Any, asked: Asked) -> str | None:
    if asked.kind == "search":
        return "its beam search ends texts before it"
    return "stop strings end a text before it" if asked.numbers.get("stop") else None


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    return (
        "import json, openvino_genai",
        'settings = json.load(open("settings.json"))',
        'settings["stop_strings"] = set(settings["stop_strings"])   # a list is refused',
        'criteria = settings.pop("stop_criteria", None)',
        "config = openvino_genai.GenerationConfig(**settings)",
        "if criteria: config.stop_criteria = getattr(openvino_genai.StopCriteria, criteria)",
        'pipeline = openvino_genai.LLMPipeline(MODEL, "CPU", INFERENCE_PRECISION_HINT="f32")',
        "out = pipeline.generate(prompt, config)   # one prompt a call, each with its rng_seed",
    )


ENGINE = Engine(
    name="openvino_genai",
    package="openvino-genai",
    version="2026.4.1.0",
    order=("temperature", "top_k", "top_p", "min_p"),
    texts_field="num_return_sequences",
    neutral={"greedy": _OFF, "sampler": {**_OFF, "do_sample": True}, "search": _OFF},
    rows={
        "temperature": Row(target="temperature"),
        "top_k": Row(target="top_k"),
        "top_p": Row(target="top_p"),
        "min_p": Row(target="min_p", refuses=lambda value, _: "1.0 is an error there" if value >= 1 else None),
        "repetition_penalty": Row(target="repetition_penalty", refuses=_no_penalty),
        "presence_penalty": Row(target="presence_penalty", refuses=_no_penalty),
        "frequency_penalty": Row(target="frequency_penalty", refuses=_no_penalty),
        "no_repeat_ngram_size": Row(
            target="no_repeat_ngram_size",
            refuses=lambda _, asked: None if asked.kind == "search" else "it acts with beams alone",
        ),
        "max_new_tokens": Row(target="max_new_tokens"),
        "min_new_tokens": Row(target="min_new_tokens", refuses=_no_least_length),
        "stop": Row(target="stop_strings", value=lambda value, _: list(value)),
        "stop_keep": Row(target="include_stop_str_in_output"),
        "num_beams": Row(target="num_beams"),
        "length_penalty": Row(target="length_penalty"),
        "early_stopping": Row(target="stop_criteria", value=lambda value, _: _CRITERIA[value]),
        "eos": Row(
            target="ignore_eos",
            value=lambda value, _: value == "none",
            refuses=only("model", "none", why="the end tokens of the model end a text there too"),
        ),
    },
    lacks=lacking(
        "there is no such rule; the keyword is accepted and does nothing",
        *("typical_p", "epsilon_cutoff", "eta_cutoff", "top_h", "top_n_sigma", "tfs_z", "p_less"),
        *("xtc_probability", "xtc_threshold", "dry_multiplier"),
    )
    | lacking("max_length is not read beside max_new_tokens", "max_total_tokens"),
    usage=_usage,
    notes=(
        "top_k keeps exactly k where tokens tie, and a nucleus on its boundary is the larger one.",
        "Several sampled texts of a prompt come with the likeliest first: the first of them is no draw.",
    ),
)
