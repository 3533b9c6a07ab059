"""llama.cpp's server: the body of a /completion request. Its rules come in an order that a request can set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.asked import Asked
from decodebench.deploy.engines.table import Engine, Row, lacking, never, only

_BOTH = {
    "n_predict": -1,
    "stop": [],
    "ignore_eos": False,
    "logit_bias": [],
    "repeat_penalty": 1.0,
    "repeat_last_n": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 0,
    "dry_sequence_breakers": ["\n", ":", '"', "*"],
    "n_cmpl": 1,
    "n_keep": 0,
    "n_discard": 0,
    "n_indent": 0,
    "t_max_predict_ms": 0,
    "grammar": "",
    "min_keep": 0,
    "seed": -1,
}
_OFF = {
    "temperature": 1.0,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "adaptive_target": -1.0,
    "adaptive_decay": 0.9,
    "backend_sampling": False,
}
_SAMPLERS = {
    "penalties": "penalties",
    "dry": "dry",
    "top_n_sigma": "top_n_sigma",
    "top_k": "top_k",
    "typical_p": "typ_p",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc": "xtc",
    "temperature": "temperature",
}


def _behind_n_sigma(rule: str, why: str) -> Callable[[Any, Asked], str | None]:
    """Refuses a rule behind top_n_sigma, which leaves the tokens that it drops in the list, at minus infinity; top_p
    and min_p take them out."""

    def refuses(_: Any, asked: Asked) -> str | None:
        before = asked.order[: asked.order.index(rule)]
        behind = before[before.index("top_n_sigma") :] if "top_n_sigma" in before else ()
        return f"behind top_n_sigma {why}" if behind and not {"top_p", "min_p"} & {*behind} else None

    return refuses


def _not_with_mirostat(_: Any, asked: Asked) -> str | None:
    return "mirostat takes the place of all rules but the temperature" if "mirostat" in asked.order else None


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    return (
        "llama-server -m MODEL.gguf --parallel N          # n_cmpl is at most the number of slots",
        "import json, urllib.request",
        'body = json.load(open("settings.json")) | {"prompt": prompt}',
        'request = urllib.request.Request("http://localhost:8080/completion", json.dumps(body).encode())',
        'text = json.load(urllib.request.urlopen(request))["content"]',
    )


ENGINE = Engine(
    name="llama_cpp",
    package="xllamacpp",
    version="2026.10.11549",
    order=("penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature"),
    order_field="samplers",
    order_names=_SAMPLERS,
    texts_field="n_cmpl",
    notes=("Of tokens that tie at top_k it keeps as many as make exactly k.",),
    neutral={
        "greedy": {**_BOTH, **_OFF, "temperature": 0.0, "samplers": ["penalties", "dry", "temperature"]},
        "sampler": {**_BOTH, **_OFF, "samplers": ["penalties", "dry", "temperature"]},
    },
    rows={
        "temperature": Row(target="temperature"),
        "dynatemp_range": Row(
            target="dynatemp_range",
            refuses=_behind_n_sigma("temperature", "it counts the dropped tokens in the largest possible entropy"),
        ),
        "dynatemp_exponent": Row(target="dynatemp_exponent"),
        "top_k": Row(target="top_k"),
        "top_p": Row(target="top_p"),
        "min_p": Row(target="min_p"),
        "typical_p": Row(
            target="typical_p",
            refuses=_behind_n_sigma("typical_p", "its entropy is not a number (p log p of a dropped token)"),
        ),
        "top_n_sigma": Row(target="top_n_sigma"),
        "xtc_probability": Row(target="xtc_probability"),
        "xtc_threshold": Row(target="xtc_threshold"),
        "mirostat_tau": Row(target="mirostat_tau", also=lambda _: {"mirostat": 2}),
        "mirostat_eta": Row(target="mirostat_eta"),
        "repetition_penalty": Row(
            target="repeat_penalty",
            rule="repeat_last_n is set to the longest text: the window is the whole of it",
            also=lambda asked: {"repeat_last_n": asked.longest},
            refuses=_not_with_mirostat,
        ),
        "dry_multiplier": Row(
            target="dry_multiplier",
            rule="dry_penalty_last_n is set to the longest text: the window is the whole of it",
            also=lambda asked: {"dry_penalty_last_n": asked.longest},
            refuses=_not_with_mirostat,
        ),
        "dry_base": Row(target="dry_base"),
        "dry_allowed_length": Row(target="dry_allowed_length"),
        "dry_sequence_breakers": Row(
            target="dry_sequence_breakers",
            value=lambda value, _: list(value),
            refuses=lambda value, _: None if value else "an empty list is an error there",
        ),
        "presence_penalty": Row(target="presence_penalty", refuses=never("the prompt is counted too")),
        "frequency_penalty": Row(target="frequency_penalty", refuses=never("the prompt is counted too")),
        "max_new_tokens": Row(target="n_predict"),
        "stop": Row(target="stop", value=lambda value, _: list(value)),
        "eos": Row(
            target="ignore_eos",
            value=lambda *_: False,
            refuses=only("model", why="it ends at the end tokens of the model file, or forbids them (ignore_eos)"),
        ),
    },
    lacks=lacking(
        "there is no such rule; the key is ignored without a word",
        *("epsilon_cutoff", "eta_cutoff", "no_repeat_ngram_size", "min_new_tokens"),
    )
    | lacking("a stop string never stays in the text", "stop_keep")
    | lacking("only new tokens are counted (n_predict)", "max_total_tokens"),
    usage=_usage,
)
