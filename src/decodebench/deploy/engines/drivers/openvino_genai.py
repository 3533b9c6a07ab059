"""Runs OpenVINO GenAI: a script for the environment that has it (`decodebench.deploy.engines.running` says how it is
called). Texts come with the end token, and cut where a stop string cuts them.

Every call of the engine begins its random stream at `rng_seed`, and the rows of a batch all read the same stream. So a
call is one prompt with a seed of its own, and draws up to 128 texts of it: several texts of one prompt are told apart.
They are returned with the likeliest first, so they are shuffled here: the first of them is then a draw as any other.
Penalties count the tokens of all texts of a call, so with penalties a call has as many texts as the settings say.
A search is called once for each prompt, for as many texts as there are draws; so is greedy search, for one.
"""

import importlib
import importlib.metadata
import json
import random
import sys
from typing import Any

_TEXTS_A_CALL = 128
_TEXTS = "num_return_sequences"


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """What the engine gives for one request, as a JSON object."""
    numpy, openvino, genai = (importlib.import_module(name) for name in ("numpy", "openvino", "openvino_genai"))
    settings = dict(asked["settings"])
    settings["stop_strings"] = set(settings["stop_strings"])
    criteria = settings.pop("stop_criteria", None)
    pipeline = genai.LLMPipeline(asked["model"], "CPU", INFERENCE_PRECISION_HINT="f32")

    def texts(prompt: list[int], **changed: int) -> list[list[int]]:
        config = genai.GenerationConfig(**{**settings, **changed})
        if criteria:
            config.stop_criteria = getattr(genai.StopCriteria, criteria)
        ids = numpy.array([prompt], dtype=numpy.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        return [list(map(int, tokens)) for tokens in pipeline.generate(inputs, config).tokens]

    off = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    most = _TEXTS_A_CALL if all(settings[name] == value for name, value in off.items()) else settings[_TEXTS]
    found: list[list[list[int]]] = []
    seed, draws = asked["seed"], asked["draws"]
    for prompt in asked["prompts"]:
        if settings["num_beams"] > 1:
            found.append(texts(prompt, **{_TEXTS: draws}))
            continue
        if not settings["do_sample"]:
            found.append(texts(prompt) * draws)
            continue
        drawn: list[list[int]] = []
        while len(drawn) < draws:
            called = texts(prompt, **{_TEXTS: min(most, draws - len(drawn)), "rng_seed": seed})
            random.Random(seed).shuffle(called)
            drawn += called
            seed += 1
        found.append(drawn)
    return {"version": importlib.metadata.version("openvino-genai"), "texts": found}


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
