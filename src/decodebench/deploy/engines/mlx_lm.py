"""mlx-lm: a sampler.py that reads the settings.json beside it. Its own make_sampler lacks most rules and truncates
before the temperature; written out (`mlx_lm_sampler`, which becomes sampler.py), the rules are ours, in any order."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decodebench.deploy.engines.table import Engine, Row, lacking

SAMPLER = Path(__file__).with_name("mlx_lm_sampler.py")
"""What becomes sampler.py."""

_OFF: dict[str, Any] = {
    "temp": 1.0,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "top_h": None,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_n_sigma": 0.0,
    "tfs_z": 1.0,
    "p_less": None,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "no_repeat_ngram_size": 0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_sequence_breakers": ["\n", ":", '"', "*"],
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "bad_words": None,
    "min_new_tokens": 0,
    "max_tokens": None,
    "max_total_tokens": None,
    "eos": "model",
    "order": [],
}
"""sampler.py knows these, and does a rule where `order` names it, an edit where its number is not the one here."""

_TRUNCATIONS = ("top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_CHAIN = ("temperature", *_TRUNCATIONS, "top_n_sigma", "tfs_z", "p_less", "xtc")


def _list(value: Any, _: Any) -> list[Any]:
    return list(value)


def _usage(settings: Mapping[str, Any]) -> Sequence[str]:
    return (
        "from mlx_lm import generate, load",
        "from sampler import options                      # settings.json lies beside sampler.py",
        "model, tokenizer = load(MODEL)",
        "prompt = tokenizer.encode(TEXT)",
        "out = generate(model, tokenizer, prompt, **options(tokenizer, prompt))",
    )


def _files(_: Mapping[str, Any]) -> Mapping[str, str]:
    return {"sampler.py": SAMPLER.read_text(encoding="utf-8")}


def _written(name: str, rule: str = "mlx-lm has no such rule: written out in sampler.py", **told: Any) -> Row:
    return Row(target=name, rule=rule, **told)


_WHOLE = "written out in sampler.py: mlx-lm's own counts the last 20 tokens, of the prompt too"

ENGINE = Engine(
    name="mlx_lm",
    package="mlx-lm",
    version="0.32.2",
    order=("top_p", "min_p", "xtc", "top_k", "temperature"),
    order_field="order",
    order_names={name: name for name in _CHAIN},
    neutral={"greedy": {**_OFF, "temp": 0.0}, "sampler": {**_OFF, "order": ["temperature"]}},
    rows={
        "temperature": Row(target="temp"),
        "dynatemp_range": _written("dynatemp_range"),
        "dynatemp_exponent": _written("dynatemp_exponent"),
        "top_k": _written("top_k", "written out in sampler.py: mlx-lm's own drops what ties with the k-th"),
        "top_p": _written("top_p", "written out in sampler.py: mlx-lm's own keeps what ties with the last token"),
        "min_p": Row(target="min_p"),
        **{name: _written(name) for name in ("top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")},
        **{name: _written(name) for name in ("top_n_sigma", "tfs_z", "p_less", "mirostat_eta")},
        "mirostat_tau": _written("mirostat_tau", also=lambda _: {"mirostat": 2}),
        "xtc_probability": _written(
            "xtc_probability", "written out in sampler.py: mlx-lm's own throws one coin for all rows of a batch"
        ),
        "xtc_threshold": _written(
            "xtc_threshold", "written out in sampler.py: mlx-lm's own leaves a token at the threshold out of the count"
        ),
        "repetition_penalty": _written("repetition_penalty", _WHOLE),
        "presence_penalty": _written("presence_penalty", f"{_WHOLE}; here new ones alone"),
        "frequency_penalty": _written("frequency_penalty", f"{_WHOLE}; here new ones alone"),
        "no_repeat_ngram_size": _written("no_repeat_ngram_size"),
        **{name: _written(name) for name in ("dry_multiplier", "dry_base", "dry_allowed_length")},
        "dry_sequence_breakers": _written("dry_sequence_breakers", value=_list),
        "exponential_decay_length_penalty": _written("exponential_decay_length_penalty", value=_list),
        "sequence_bias": _written("sequence_bias", value=lambda value, _: dict(value)),
        "bad_words": _written("bad_words", value=_list),
        "min_new_tokens": _written("min_new_tokens"),
        "max_new_tokens": Row(target="max_tokens"),
        "max_total_tokens": _written("max_total_tokens", "options() in sampler.py takes the prompt's length off"),
        "eos": Row(target="eos", value=lambda value, _: value if isinstance(value, str) else list(value)),
    },
    lacks=lacking("generate has no stop strings", "stop", "stop_keep")
    | lacking("generate reads the model once for each token", "guidance_scale", "negative_prompt"),
    usage=_usage,
    files=_files,
    notes=("options(tokenizer, prompt) makes the arguments of one text: call it for each text.",),
)
