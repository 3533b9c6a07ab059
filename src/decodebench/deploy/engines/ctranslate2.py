"""CTranslate2: the arguments of Generator.generate_batch. It draws after the temperature, top_k and top_p, as
transformers does."""

from collections.abc import Mapping, Sequence
from typing import Any

from decodebench.deploy.engines.asked import Asked
from decodebench.deploy.engines.table import Engine, Row, only

_OFF = {
    "beam_size": 1,
    "patience": 1.0,
    "num_hypotheses": 1,
    "length_penalty": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "disable_unk": False,
    "suppress_sequences": None,
    "end_token": None,
    "max_length": 512,
    "min_length": 0,
    "include_prompt_in_result": False,
    "sampling_topk": 1,
    "sampling_topp": 1.0,
    "sampling_temperature": 1.0,
    "max_batch_size": 1,
}
"""include_prompt_in_result=False takes prompts of one length a batch; max_batch_size=1 makes sure of that."""


def _seen(_: Any, asked: Asked) -> str | None:
    if asked.kind == "search":
        return "the prompt is seen with include_prompt_in_result=True alone, where beam search loses a text"
    return None


def _patience(value: Any, asked: Asked) -> float:
    """A step finishes at most as many texts as there are beams."""
    return 1.0 if value is True else float(asked.longest)


def _stops_elsewhere(value: Any, asked: Asked) -> str | None:
    never = value == "never" or getattr(asked.strategy, "length_penalty", 1.0) <= 0
    return None if value is True or never else "it stops at a number of finished texts, whatever the others could reach"


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    before = [
        "import json, ctranslate2",
        "ctranslate2.set_random_seed(SEED)                # counts for generators that are made after it",
        "generator = ctranslate2.Generator(MODEL)",
        'settings = json.load(open("settings.json"))',
    ]
    if not settings["include_prompt_in_result"]:
        return (*before, "out = generator.generate_batch(prompts, **settings)   # prompts are lists of tokens")
    return (
        *before,
        'for name in ("max_length", "min_length"):         # the prompt is counted, but for its first token',
        "    if settings[name]: settings[name] += len(prompt) - 1",
        "out = generator.generate_batch([prompt], **settings)   # a prompt is a list of tokens",
    )


_BEHIND_THE_PROMPT = "where include_prompt_in_result is True, the lines add the tokens of the prompt"
_WITH_PROMPT = "include_prompt_in_result is True, so that the prompt is counted; its first token is not: begin with BOS"

ENGINE = Engine(
    name="ctranslate2",
    package="ctranslate2",
    version="4.8.5",
    order=("temperature", "top_k", "top_p"),
    texts_field="num_hypotheses",
    neutral={
        "greedy": _OFF,
        "sampler": {**_OFF, "sampling_topk": 0},
        "search": _OFF,
    },
    rows={
        "temperature": Row(target="sampling_temperature"),
        "top_k": Row(target="sampling_topk"),
        "top_p": Row(target="sampling_topp"),
        "repetition_penalty": Row(
            target="repetition_penalty",
            rule=_WITH_PROMPT,
            refuses=_seen,
            also=lambda _: {"include_prompt_in_result": True},
        ),
        "no_repeat_ngram_size": Row(
            target="no_repeat_ngram_size",
            rule=_WITH_PROMPT,
            refuses=_seen,
            also=lambda _: {"include_prompt_in_result": True},
        ),
        "max_new_tokens": Row(target="max_length", rule=_BEHIND_THE_PROMPT),
        "min_new_tokens": Row(
            target="min_length",
            rule=_BEHIND_THE_PROMPT,
            refuses=lambda _, asked: (
                "its beam search makes the others likelier where it forbids the end" if asked.kind == "search" else None
            ),
        ),
        "num_beams": Row(target="beam_size"),
        "length_penalty": Row(target="length_penalty"),
        "early_stopping": Row(
            target="patience",
            value=_patience,
            rule="patience 1 stops with as many texts as beams; as large as here it never stops",
            refuses=_stops_elsewhere,
        ),
        "eos": Row(target=None, refuses=only("model", why="end tokens are given as texts (end_token)")),
    },
    lacks={"max_total_tokens": "max_length counts new tokens where prompts are left out", "stop": "it stops at tokens"},
    usage=_usage,
    notes=(
        "top_k keeps exactly k where tokens tie.",
        "Several sampled texts of a prompt come with the likeliest first: the first of them is no draw.",
    ),
)
