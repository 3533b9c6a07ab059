"""Ollama: a Modelfile. Not run: from its sources, its runner applies top_k, temperature, top_p and min_p in this order,
which is not llama.cpp's."""

from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.table import Engine, Row, never, only

_CONTEXT = 4096
"""Tokens of a prompt with its text; what is longer loses its beginning without a word."""
_OFF = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "repeat_last_n": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,  # any other number, 0 as well, gives every request the same text
    "num_predict": -1,
    "num_ctx": _CONTEXT,
    "stop": [],
}


def _modelfile(settings: Mapping[str, Any]) -> Mapping[str, str]:
    lines = ["FROM ./MODEL.gguf"]
    for key, value in settings.items():
        for one in value if isinstance(value, list) else [value]:
            told = f'"""{one}"""' if isinstance(one, str) else one  # it knows no escapes: a " ends what begins with one
            lines.append(f"PARAMETER {key} {told}")
    return {"Modelfile": "\n".join(lines) + "\n"}


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    return ("ollama create NAME -f Modelfile", "ollama run NAME")


ENGINE = Engine(
    name="ollama",
    package="ollama",
    version=None,
    order=("top_k", "temperature", "top_p", "min_p"),
    neutral={"greedy": {**_OFF, "temperature": 0.0}, "sampler": _OFF},
    rows={
        "temperature": Row(target="temperature"),
        "top_k": Row(target="top_k"),
        "top_p": Row(target="top_p"),
        "min_p": Row(target="min_p"),
        "repetition_penalty": Row(
            target="repeat_penalty",
            rule="repeat_last_n is set to the longest text: the window is the whole of it",
            also=lambda asked: {"repeat_last_n": asked.longest},
        ),
        "presence_penalty": Row(target="presence_penalty", refuses=never("the prompt is counted too")),
        "frequency_penalty": Row(target="frequency_penalty", refuses=never("the prompt is counted too")),
        "max_new_tokens": Row(target="num_predict", also=lambda asked: {"num_ctx": max(_CONTEXT, asked.longest)}),
        "stop": Row(target="stop", value=lambda value, _: list(value)),
        "eos": Row(target=None, refuses=only("model", why="a text ends at the model's end tokens")),
    },
    lacks={
        "typical_p": "its runner no longer has it: the parameter is ignored",
        "max_total_tokens": "only new tokens are counted (num_predict)",
    },
    usage=_usage,
    files=_modelfile,
    notes=(
        "repeat_penalty was 1.1 where nothing was said until August 2026, 1.0 since; its Go runner did not read it in "
        "April 2026 (issue 15783).",
    ),
)
