"""Our strategies in the terms of the engines where models are served. In: a strategy. Out: an engine's settings with
every field set, and a line for each number: exact, rewritten by a rule, or not translatable.

`asked` is what a strategy asks, `table` how a table of rows becomes a translation, `reading` the way back; one file for
each engine has its table: `ctranslate2`, `llama_cpp`, `mlx_lm`, `ollama`, `onnxruntime_genai`, `openai`,
`openvino_genai`, `vllm` (docs/engines.md). Transformers takes a GenerationConfig (`deploy.generate`).
`running` runs a real engine with such settings, through its script in `drivers`. `mlx_lm_sampler` is what mlx-lm gets
as sampler.py.
"""

from decodebench.deploy.engines import (
    ctranslate2,
    llama_cpp,
    mlx_lm,
    ollama,
    onnxruntime_genai,
    openai,
    openvino_genai,
    vllm,
)
from decodebench.deploy.engines.asked import Asked, asked
from decodebench.deploy.engines.table import Engine, Line, Row, Translation, translate

ENGINES: dict[str, Engine] = {
    module.ENGINE.name: module.ENGINE
    for module in (llama_cpp, ollama, vllm, mlx_lm, ctranslate2, openvino_genai, onnxruntime_genai, openai)
}
"""Every engine, by its name."""

__all__ = ["ENGINES", "Asked", "Engine", "Line", "Row", "Translation", "asked", "translate"]
