"""OpenAI's interface: the body of a request to /v1/completions, as documented. Not measured: what a server behind it
does with a number is that server's."""

from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.table import Engine, Row, only

_OFF = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "max_tokens": 16,
    "stop": None,
    "n": 1,
    "seed": None,
    "logit_bias": None,
    "best_of": 1,
    "echo": False,
}


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    return (
        "import json",
        "from openai import OpenAI",
        'out = OpenAI().completions.create(model=MODEL, prompt=prompt, **json.load(open("settings.json")))',
    )


ENGINE = Engine(
    name="openai",
    package="openai",
    version=None,
    order=("temperature", "top_p"),
    texts_field="n",
    neutral={"greedy": {**_OFF, "temperature": 0.0}, "sampler": _OFF},
    rows={
        "temperature": Row(
            target="temperature", refuses=lambda value, _: "temperature is at most 2 there" if value > 2 else None
        ),
        "top_p": Row(target="top_p"),
        "presence_penalty": Row(target="presence_penalty"),
        "frequency_penalty": Row(target="frequency_penalty"),
        "max_new_tokens": Row(target="max_tokens"),
        "stop": Row(
            target="stop",
            value=lambda value, _: list(value),
            refuses=lambda value, _: "at most four stop strings there" if len(value) > 4 else None,
        ),
        "eos": Row(target=None, refuses=only("model", why="a text ends where the server says")),
    },
    lacks={"max_total_tokens": "only new tokens are counted (max_tokens)"},
    usage=_usage,
    notes=("The order of temperature and top_p is not documented; that of transformers is taken.",),
)
