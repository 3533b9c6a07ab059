"""What engines are told of our strategies, by hand from what was measured of each."""

from collections.abc import Mapping
from typing import Any

from decodebench.deploy.engines import ENGINES, Asked, Translation, asked, translate
from decodebench.strategies import Beam, Greedy, Mirostat, Sample, Strategy

LONGEST = 512
"""Of the run's prompts with their texts, in tokens."""


def plain(**numbers: Any) -> Sample:
    """A sampler with these rules alone."""
    return Sample(**{"temperature": 1.0, "top_k": None, "top_p": None, **numbers})


def asks(strategy: Strategy, texts: int = 1) -> Asked:
    return asked(strategy, texts=texts, longest=LONGEST)


def translated(engine: str, strategy: Strategy) -> Translation:
    return translate(ENGINES[engine], asks(strategy))


HOT = plain(temperature=2.0, top_k=4, top_p=0.8, min_p=0.6)
MINIMAL = plain(temperature=2.0, min_p=0.3)
FIRST = plain(temperature=2.0, min_p=0.25, order=["min_p", "temperature"])
NUCLEUS_FIRST = plain(temperature=2.0, top_p=0.8, order=["top_p", "temperature"])
REPEATS = Greedy(repetition_penalty=1.5)
PRESENT = plain(presence_penalty=0.5, frequency_penalty=0.25)
EXOTIC = plain(typical_p=0.9, top_n_sigma=1.0, xtc_probability=0.5, xtc_threshold=0.2)

LLAMA_ORDER = ["penalties", "dry", "temperature"]
EXPECTED: list[tuple[str, Strategy, Mapping[str, Any], Mapping[str, str]]] = [
    # its own order has the temperature last; all fields of /completion that are on, and our order in `samplers`
    (
        "llama_cpp",
        HOT,
        {
            "temperature": 2.0,
            "top_k": 4,
            "top_p": 0.8,
            "min_p": 0.6,
            "n_predict": 64,
            "samplers": [*LLAMA_ORDER, "top_k", "top_p", "min_p"],
        },
        {"temperature": "e", "top_k": "e", "top_p": "e", "min_p": "e", "order": "r"},
    ),
    (
        "llama_cpp",
        FIRST,
        {"temperature": 2.0, "min_p": 0.25, "n_predict": 64, "samplers": ["penalties", "dry", "min_p", "temperature"]},
        {"temperature": "e", "min_p": "e", "order": "e"},
    ),
    (
        "llama_cpp",
        REPEATS,
        {"repeat_penalty": 1.5, "repeat_last_n": LONGEST, "n_predict": 64},
        {"repetition_penalty": "r"},
    ),
    (
        "llama_cpp",
        plain(dry_multiplier=0.8),
        {"dry_multiplier": 0.8, "dry_penalty_last_n": LONGEST, "n_predict": 64},
        {
            "temperature": "e",
            "dry_multiplier": "r",
            "dry_base": "e",
            "dry_allowed_length": "e",
            "dry_sequence_breakers": "e",
        },
    ),
    (
        "llama_cpp",
        EXOTIC,
        {
            "typical_p": 0.9,
            "top_n_sigma": 1.0,
            "xtc_probability": 0.5,
            "xtc_threshold": 0.2,
            "n_predict": 64,
            "samplers": [*LLAMA_ORDER, "typ_p", "top_n_sigma", "xtc"],
        },
        {
            "temperature": "e",
            "typical_p": "e",
            "top_n_sigma": "e",
            "xtc_probability": "e",
            "xtc_threshold": "e",
            "order": "r",
        },
    ),
    (
        "llama_cpp",
        Mirostat(),
        {"mirostat": 2, "n_predict": 64},
        {"temperature": "e", "mirostat_tau": "e", "mirostat_eta": "e", "order": "r"},
    ),
    # top_k, temperature, top_p, min_p: what ours has the other way round commutes
    (
        "ollama",
        HOT,
        {"temperature": 2.0, "top_k": 4, "top_p": 0.8, "min_p": 0.6, "num_predict": 64},
        {"temperature": "e", "top_k": "e", "top_p": "e", "min_p": "e"},
    ),
    # 0.25 ** (1 / 2) = 0.5
    ("ollama", FIRST, {"temperature": 2.0, "min_p": 0.5, "num_predict": 64}, {"temperature": "e", "min_p": "r"}),
    (
        "ollama",
        REPEATS,
        {"repeat_penalty": 1.5, "repeat_last_n": LONGEST, "num_predict": 64},
        {"repetition_penalty": "r"},
    ),
    # min_p comes before top_k and top_p: with top_k alone that is the same, with top_p it is not
    (
        "vllm",
        HOT,
        {"temperature": 2.0, "top_k": 4, "top_p": 0.8, "max_tokens": 64},
        {"temperature": "e", "top_k": "e", "top_p": "e", "min_p": "n"},
    ),
    (
        "vllm",
        plain(top_k=4, min_p=0.3),
        {"top_k": 4, "min_p": 0.3, "max_tokens": 64},
        {"temperature": "e", "top_k": "e", "min_p": "e"},
    ),
    ("vllm", FIRST, {"temperature": 2.0, "min_p": 0.5, "max_tokens": 64}, {"temperature": "e", "min_p": "r"}),
    (
        "vllm",
        PRESENT,
        {"presence_penalty": 0.5, "frequency_penalty": 0.25, "max_tokens": 64},
        {"temperature": "e", "presence_penalty": "e", "frequency_penalty": "e"},
    ),
    ("vllm", REPEATS, {"repetition_penalty": 1.5, "max_tokens": 64}, {"repetition_penalty": "e"}),
    (
        "vllm",
        Beam(length_penalty=0.0, early_stopping="never"),
        {"beam_width": 5, "length_penalty": 0.0, "max_tokens": 64},
        {"num_beams": "e", "length_penalty": "e", "early_stopping": "e"},
    ),
    (
        "mlx_lm",
        HOT,
        {
            "temp": 2.0,
            "top_k": 4,
            "top_p": 0.8,
            "min_p": 0.6,
            "max_tokens": 64,
            "order": ["temperature", "top_k", "top_p", "min_p"],
        },
        {"temperature": "e", "top_k": "r", "top_p": "r", "min_p": "e", "order": "r"},
    ),
    ("mlx_lm", REPEATS, {"repetition_penalty": 1.5, "max_tokens": 64}, {"repetition_penalty": "r"}),
    (
        "ctranslate2",
        plain(temperature=2.0, top_k=4, top_p=0.8),
        {"sampling_temperature": 2.0, "sampling_topk": 4, "sampling_topp": 0.8, "max_length": 64},
        {"temperature": "e", "top_k": "e", "top_p": "e", "max_new_tokens": "r"},
    ),
    (
        "ctranslate2",
        REPEATS,
        {"repetition_penalty": 1.5, "include_prompt_in_result": True, "max_length": 64},
        {"repetition_penalty": "r", "max_new_tokens": "r"},
    ),
    (
        "ctranslate2",
        Beam(early_stopping=False),
        {"beam_size": 5, "max_length": 64},
        {"num_beams": "e", "length_penalty": "e", "early_stopping": "n", "max_new_tokens": "r"},
    ),
    (
        "openvino_genai",
        HOT,
        {"temperature": 2.0, "top_k": 4, "top_p": 0.8, "min_p": 0.6, "max_new_tokens": 64},
        {"temperature": "e", "top_k": "e", "top_p": "e", "min_p": "e"},
    ),
    ("openvino_genai", FIRST, {"temperature": 2.0, "min_p": 0.5, "max_new_tokens": 64}, {"min_p": "r"}),
    (
        "openvino_genai",
        Beam(early_stopping="never", no_repeat_ngram_size=2),
        {"num_beams": 5, "stop_criteria": "NEVER", "no_repeat_ngram_size": 2, "max_new_tokens": 64},
        {"num_beams": "e", "length_penalty": "e", "early_stopping": "e", "no_repeat_ngram_size": "e"},
    ),
    ("openvino_genai", plain(no_repeat_ngram_size=2), {"max_new_tokens": 64}, {"no_repeat_ngram_size": "n"}),
    (
        "onnxruntime_genai",
        plain(temperature=2.0, top_k=4, top_p=0.8, repetition_penalty=1.5),
        {"temperature": 2.0, "top_k": 4, "top_p": 0.8, "repetition_penalty": 1.5, "max_length": 64},
        {"temperature": "e", "top_k": "e", "top_p": "e", "repetition_penalty": "e", "max_new_tokens": "r"},
    ),
    (
        "openai",
        plain(temperature=0.5, top_p=0.8, presence_penalty=0.5),
        {"temperature": 0.5, "top_p": 0.8, "presence_penalty": 0.5, "max_tokens": 64},
        {"temperature": "e", "top_p": "e", "presence_penalty": "e"},
    ),
]
"""Engine, strategy, the settings that are not neutral, and what became of each number, in one letter."""
