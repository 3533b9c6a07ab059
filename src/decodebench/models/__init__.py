"""One model in memory. In: a `model` group of the configuration. Out: a `LoadedModel`, ready to decode on its device.

`config` is checked before anything is read; `loading` reads a hub id, a folder, a .gguf file or the packaged Gemma
(`packaged`), with its adapter where it has one (`adapters`); `tokens` turns text into ids and back, with templates;
`device` knows threads, products and memory.
"""

from decodebench.models.config import SCORERS, SELF, ModelConfig, ScorerConfig, check_config
from decodebench.models.device import cpu_threads, fastest_exact_products, free_bytes, peak_memory, synchronize
from decodebench.models.loading import LoadedModel, load, load_second, loads, second_fingerprint
from decodebench.models.properties import context_length, vocabulary
from decodebench.models.tokens import decode, encode, facts_of, model_facts

__all__ = [
    "SCORERS",
    "SELF",
    "LoadedModel",
    "ModelConfig",
    "ScorerConfig",
    "check_config",
    "context_length",
    "cpu_threads",
    "decode",
    "encode",
    "facts_of",
    "fastest_exact_products",
    "free_bytes",
    "load",
    "load_second",
    "loads",
    "model_facts",
    "peak_memory",
    "second_fingerprint",
    "synchronize",
    "vocabulary",
]
