"""One model in memory. In: a `model` group of the configuration. Out: a `LoadedModel`, ready to decode on its device.

`config` is checked before anything is read; `loading` reads a hub id, a folder, a .gguf file (`gguf`) or the packaged
Gemma (`packaged`): its `weights`, with an adapter where it has one (`adapters`). `properties` is what a decoder must
know of it; `identity` tells models of one name apart; `tokens` turns text into ids and back, with templates, and
`token_bytes` finds stop strings in them; `doubts` says what is odd about both; `second` fits a second model to the
first; `said` is what its generation_config.json says; `device` knows threads, products and memory.
"""

from decodebench.models.config import SCORERS, SELF, ModelConfig, ScorerConfig, check_config
from decodebench.models.device import cpu_threads, fastest_exact_products, free_bytes, peak_memory, synchronize
from decodebench.models.doubts import prompt_doubts
from decodebench.models.identity import Identity
from decodebench.models.loading import LoadedModel, load, load_second, loads, second_identity
from decodebench.models.properties import context_length, ranges, vocabulary
from decodebench.models.said import said_by_model
from decodebench.models.second import sharing_copy, with_rows
from decodebench.models.tokens import asks_for_the_date, decode, encode, facts_of, ids_sha256, model_facts

__all__ = [
    "SCORERS",
    "SELF",
    "Identity",
    "LoadedModel",
    "ModelConfig",
    "ScorerConfig",
    "asks_for_the_date",
    "check_config",
    "context_length",
    "cpu_threads",
    "decode",
    "encode",
    "facts_of",
    "fastest_exact_products",
    "free_bytes",
    "ids_sha256",
    "load",
    "load_second",
    "loads",
    "model_facts",
    "peak_memory",
    "prompt_doubts",
    "ranges",
    "said_by_model",
    "second_identity",
    "sharing_copy",
    "synchronize",
    "vocabulary",
    "with_rows",
]
