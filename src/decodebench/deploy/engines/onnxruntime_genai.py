"""ONNX Runtime GenAI: search options of GeneratorParams. It draws after the temperature, top_k and top_p, as
transformers does. Lengths count the prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.asked import Asked
from decodebench.deploy.engines.table import Engine, Row, lacking, only

_OFF = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "length_penalty": 1.0,
    "early_stopping": False,
    "min_length": 0,
    "max_length": 2048,
    "random_seed": -1,
}


def _before_softmax(_: Any, asked: Asked) -> str | None:
    if asked.kind == "search":
        return "its beam search edits logits, not log-probs, so that all other tokens become likelier"
    return None


_BEHIND_THE_PROMPT = "the tokens of the prompt are added when it is known: the lines do it"


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    return (
        "import json, onnxruntime_genai as og",
        "model = og.Model(MODEL)",
        "ids = og.Tokenizer(model).encode(prompt)",
        'options = json.load(open("settings.json"))',
        'for name in ("max_length", "min_length"):          # they count the prompt',
        "    if options[name]: options[name] += len(ids)",
        "params = og.GeneratorParams(model)",
        "params.set_search_options(**options)",
        "generator = og.Generator(model, params)",
        "generator.append_tokens(ids)",
        "while not generator.is_done(): generator.generate_next_token()",
        "out = generator.get_sequence(0)",
    )


ENGINE = Engine(
    name="onnxruntime_genai",
    package="onnxruntime-genai",
    version="0.18.0",
    order=("temperature", "top_k", "top_p"),
    neutral={"greedy": _OFF, "sampler": {**_OFF, "do_sample": True}, "search": _OFF},
    rows={
        "temperature": Row(target="temperature"),
        "top_k": Row(target="top_k"),
        "top_p": Row(target="top_p"),
        "repetition_penalty": Row(target="repetition_penalty", refuses=_before_softmax),
        "no_repeat_ngram_size": Row(target="no_repeat_ngram_size", refuses=_before_softmax),
        "max_new_tokens": Row(target="max_length", rule=_BEHIND_THE_PROMPT),
        "min_new_tokens": Row(target="min_length", rule=_BEHIND_THE_PROMPT, refuses=_before_softmax),
        "num_beams": Row(target="num_beams"),
        "length_penalty": Row(
            target="length_penalty", refuses=only(0.0, why="the prompt is part of the length there; 0.0 is the same")
        ),
        "early_stopping": Row(
            target="early_stopping",
            value=lambda value, _: value is True,
            rule="with length_penalty 0, which is the only one here, never and false are the same",
        ),
        "eos": Row(target=None, refuses=only("model", why="end tokens stand in genai_config.json")),
    },
    lacks=lacking(
        "there is no such option: a RuntimeError (Unknown value)",
        *("min_p", "typical_p", "presence_penalty", "frequency_penalty", "xtc_probability"),
    )
    | lacking("it stops at tokens", "stop")
    | lacking("max_length is used for the new tokens", "max_total_tokens"),
    usage=_usage,
    notes=(
        "top_k keeps exactly k where tokens tie; at most 32 prompts a batch.",
        "What generation_config.json says of repetition_penalty is lost when a model is converted; it is set here.",
    ),
)
