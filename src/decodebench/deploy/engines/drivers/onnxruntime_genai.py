"""Runs ONNX Runtime GenAI: a script for the environment that has it (`decodebench.deploy.engines.running` says how it
is called). Texts come without the end token, and without what a batch pads.

Lengths count the prompt, so its tokens are added to the lengths of the settings. Draws of a prompt are the rows of
batches of 32, the most that it takes, each batch with a seed of its own. Greedy search is run once for each prompt, and
so is a search, for as many texts as there are draws.
"""

import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

_ROWS = 32


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """What the engine gives for one request, as a JSON object."""
    numpy, genai = importlib.import_module("numpy"), importlib.import_module("onnxruntime_genai")
    settings, draws = asked["settings"], asked["draws"]
    model = genai.Model(asked["model"])
    told = json.loads((Path(asked["model"]) / "genai_config.json").read_text())["model"]["eos_token_id"]
    ends = set(told if isinstance(told, list) else [told])

    def texts(prompt: list[int], rows: int, **changed: int) -> list[list[int]]:
        options = {**settings, **changed, "batch_size": rows}
        for name in ("max_length", "min_length"):
            if options[name]:
                options[name] += len(prompt)
        params = genai.GeneratorParams(model)
        params.set_search_options(**options)
        generator = genai.Generator(model, params)
        generator.append_tokens(numpy.array([prompt] * rows, dtype=numpy.int32))
        while not generator.is_done():
            generator.generate_next_token()
        count = rows * options["num_return_sequences"]
        return [_text(generator.get_sequence(row).tolist()[len(prompt) :], ends) for row in range(count)]

    found: list[list[list[int]]] = []
    seed = asked["seed"]
    for prompt in asked["prompts"]:
        if settings["num_beams"] > 1:
            found.append(texts(prompt, 1, num_return_sequences=draws))
            continue
        if not settings["do_sample"]:
            found.append(texts(prompt, 1) * draws)
            continue
        drawn: list[list[int]] = []
        while len(drawn) < draws:
            drawn += texts(prompt, min(_ROWS, draws - len(drawn)), random_seed=seed)
            seed += 1
        found.append(drawn)
    return {"version": importlib.metadata.version("onnxruntime-genai"), "texts": found}


def _text(tokens: list[int], ends: set[int]) -> list[int]:
    """The tokens before the first end token: what follows it fills a batch up."""
    return tokens[: next((at for at, token in enumerate(tokens) if token in ends), len(tokens))]


def main() -> int:
    """Read a request from stdin, write the answer to stdout; the exit code."""
    try:
        answer = run(json.load(sys.stdin))
    except Exception as error:
        answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
    print(json.dumps(answer))
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main())
