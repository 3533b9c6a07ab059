"""Runs CTranslate2: a script for the environment that has it (`decodebench.deploy.engines.running` says how it is
called). Texts come without the end token.

A seed counts for generators that are made after it is set, so there is one generator with one stream of random numbers,
and each draw goes on where the one before ended. Prompts go to the engine one by one, as tokens of the model's
vocabulary; `draws` becomes the number of hypotheses of a prompt, up to 128 a call. Greedy search is called once. They
come with the likeliest first, so they are shuffled: the first of them is then a draw as any other. Where the settings
include the prompt, its tokens but the first are added to the lengths, and it is cut off the texts.
"""

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Any

_TEXTS_A_CALL = 128
_TEXTS = "num_hypotheses"


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """What the engine gives for one request, as a JSON object."""
    ctranslate2 = importlib.import_module("ctranslate2")
    settings, draws = asked["settings"], asked["draws"]
    tokens = json.loads((Path(asked["model"]) / "vocabulary.json").read_text())
    ctranslate2.set_random_seed(asked["seed"])
    generator = ctranslate2.Generator(asked["model"])
    greedy = settings["beam_size"] == 1 and settings["sampling_topk"] == 1

    def texts(prompt: list[int], count: int) -> list[list[int]]:
        words = [tokens[token] for token in prompt]
        told, begin = {**settings, _TEXTS: count}, 0
        if settings["include_prompt_in_result"]:
            begin = len(prompt)
            for name in ("max_length", "min_length"):
                if told[name]:
                    told[name] += begin - 1
        [found] = generator.generate_batch([words], **told)
        return [list(map(int, ids[begin:])) for ids in found.sequences_ids]

    shuffler = random.Random(asked["seed"])  # one for all prompts: not the same order of ranks for each
    answers: list[list[list[int]]] = []
    for prompt in asked["prompts"]:
        if greedy:
            answers.append(texts(prompt, 1) * draws)
            continue
        drawn: list[list[int]] = []
        most = draws if settings["beam_size"] > 1 else _TEXTS_A_CALL
        while len(drawn) < draws:
            drawn += texts(prompt, min(most, draws - len(drawn)))
        if settings["beam_size"] == 1:
            shuffler.shuffle(drawn)
        answers.append(drawn)
    return {"version": ctranslate2.__version__, "texts": answers}


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
