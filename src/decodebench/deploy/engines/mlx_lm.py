"""mlx-lm: a sampler.py with a sampler and logits processors. Its own make_sampler truncates before the temperature;
written out, the rules come in our order."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.table import Engine, Row, never, only

_CALLS = {
    "temperature": "logprobs / {temperature}",
    "top_k": "apply_top_k(logprobs, {top_k})",
    "top_p": "apply_top_p(logprobs, {top_p})",
    "min_p": "apply_min_p(logprobs, {min_p})",
}
"""What each rule is in a sampler; each gets log-probs, and apply_top_p wants them to be normalised."""
_HEAD = """import mlx.core as mx
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, make_logits_processors


def normalized(logprobs):
    return logprobs - mx.logsumexp(logprobs, axis=-1, keepdims=True)


def sampler(logprobs):
"""


def _sampler(settings: Mapping[str, Any]) -> Mapping[str, str]:
    lines = []
    for rule in settings["order"]:
        lines.append(f"logprobs = normalized({_CALLS[rule].format(**settings)})")
    lines.append("return mx.random.categorical(logprobs)")
    if settings["temp"] == 0:
        lines = ["return mx.argmax(logprobs, axis=-1)"]
    penalty, window = settings["repetition_penalty"], settings["repetition_context_size"]
    processors = f"make_logits_processors(repetition_penalty={penalty}, repetition_context_size={window})"
    body = "".join(f"    {line}\n" for line in lines)
    return {"sampler.py": f"{_HEAD}{body}\n\nlogits_processors = {processors}\n"}


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    told = json.dumps(settings["max_tokens"])
    return (
        "from mlx_lm import generate, load",
        "from sampler import logits_processors, sampler",
        "model, tokenizer = load(MODEL)",
        f"out = generate(model, tokenizer, prompt, max_tokens={told}, sampler=sampler,",
        "               logits_processors=logits_processors)",
    )


_OFF: dict[str, Any] = {
    "temp": 1.0,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 0.0,
    "min_p": 0.0,
    "repetition_penalty": None,
    "repetition_context_size": 0,
    "max_tokens": 256,
    "order": [],
}

ENGINE = Engine(
    name="mlx_lm",
    package="mlx-lm",
    version="0.32.2",
    order=("temperature", "top_k", "top_p", "min_p"),
    order_field="order",
    order_names={name: name for name in _CALLS},
    neutral={"greedy": {**_OFF, "temp": 0.0}, "sampler": {**_OFF, "order": ["temperature"]}},
    rows={
        "temperature": Row(target="temperature"),
        "top_k": Row(target="top_k"),
        "top_p": Row(target="top_p"),
        "min_p": Row(target="min_p"),
        "repetition_penalty": Row(
            target="repetition_penalty",
            rule="repetition_context_size is 0: the window is the whole text",
        ),
        "presence_penalty": Row(target=None, refuses=never("the prompt is counted too")),
        "frequency_penalty": Row(target=None, refuses=never("the prompt is counted too")),
        "max_new_tokens": Row(target="max_tokens"),
        "eos": Row(target=None, refuses=only("model", why="a text ends at the tokenizer's end tokens")),
    },
    lacks={
        "xtc_probability": "one coin is thrown for all rows of a batch, and a token at the threshold stays",
        "stop": "generate has no stop strings",
        "max_total_tokens": "only new tokens are counted (max_tokens)",
    },
    usage=_usage,
    files=_sampler,
    notes=("top_k keeps exactly k where tokens tie, and must be below the size of the vocabulary.",),
)
