"""Runs mlx-lm as `drivers` says, by the lines that `export --to mlx_lm` prints: settings.json and sampler.py in a
folder, and `stream_generate`, which `generate` joins to a text, with the options of sampler.py. An end token is the
last token of its text. All draws come from one stream of random numbers that begins with the seed.

Texts of one token need the model once for each prompt: `generate_step` gives the log-probs after the edits, and the
sampler of sampler.py draws from as many rows of them as there are draws.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

SAMPLER = Path(__file__).parents[1] / "mlx_lm_sampler.py"
_MOST_SCORES = 1 << 22  # in one array: 16 MB


def main() -> None:
    """Answer the request on stdin."""
    try:
        answer = answered(json.load(sys.stdin))
    except Exception as error:  # whatever the engine raises is its answer
        print(json.dumps({"error": " ".join(f"{type(error).__name__}: {error}".split())}))
        sys.exit(1)
    print(json.dumps(answer))


def answered(asks: dict[str, Any]) -> dict[str, Any]:
    """The version, and `draws` texts for each prompt."""
    import mlx.core as mx
    from mlx_lm import load

    sampler = _sampler(asks["settings"])
    model, tokenizer = load(asks["model"])[:2]
    mx.random.seed(asks["seed"])
    texts = []
    for prompt in asks["prompts"]:
        one = sampler.options(tokenizer, prompt)["max_tokens"] == 1
        draw = _tokens if one else _texts
        texts.append(draw(model, tokenizer, sampler, prompt, asks["draws"]))
    return {"version": version("mlx-lm"), "texts": texts}


def _texts(model: Any, tokenizer: Any, sampler: ModuleType, prompt: list[int], draws: int) -> list[list[int]]:
    from mlx_lm import stream_generate

    made = (stream_generate(model, tokenizer, prompt, **sampler.options(tokenizer, prompt)) for _ in range(draws))
    return [[response.token for response in text] for text in made]


def _tokens(model: Any, tokenizer: Any, sampler: ModuleType, prompt: list[int], draws: int) -> list[list[int]]:
    """Texts of one token."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    options = sampler.options(tokenizer, prompt)
    _, logprobs_V = next(generate_step(mx.array(prompt), model, **options))
    rows = max(1, _MOST_SCORES // logprobs_V.size)
    texts: list[list[int]] = []
    while len(texts) < draws:
        logprobs_BV = mx.broadcast_to(logprobs_V, (min(rows, draws - len(texts)), logprobs_V.size))
        texts += [[token] for token in sampler.make_sampler()(logprobs_BV).tolist()]
    return texts


def _sampler(settings: dict[str, Any]) -> ModuleType:
    """The module sampler.py beside these settings."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "sampler.py"
        shutil.copyfile(SAMPLER, file)
        file.with_name("settings.json").write_text(json.dumps(settings), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("sampler", file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


if __name__ == "__main__":
    main()
