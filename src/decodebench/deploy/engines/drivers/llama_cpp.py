"""Runs llama.cpp's server (through xllamacpp) on a GGUF: /completion over HTTP, prompts as token ids.

The end token that ended a text is its last token; the tokens of a stop string that ended it are in it. Draws come in
groups of `n_cmpl`, which share the reading of their prompt; the server gives each of a group the next seed, and every
group here begins with one of its own (two requests with the same seed are the same text). What draws nothing comes
once and is repeated.
"""

import json
import os
import random
import sys
from http.client import HTTPConnection
from typing import Any

import xllamacpp

_GROUP = 16
_LONGEST_TEXT = 1024  # tokens, where the settings name no largest number


def run(asks: dict[str, Any]) -> dict[str, Any]:
    """The texts of each prompt. Raises ValueError with the server's words for what it refuses."""
    settings, prompts, draws = asks["settings"], asks["prompts"], asks["draws"]
    is_drawn = settings.get("temperature", 1.0) > 0
    group = max(settings.get("n_cmpl", 1), min(_GROUP, draws) if is_drawn else 1)
    most = settings.get("n_predict", -1)
    longest = max(map(len, prompts)) + (most if most >= 0 else _LONGEST_TEXT)
    server = _server(asks["model"], group, longest)
    connection = HTTPConnection(server.listening_address.split("//")[1])
    numbers = random.Random(asks["seed"])
    texts = []
    for prompt in prompts:
        first = numbers.randrange(2**31)
        made: list[list[int]] = []
        while len(made) < (draws if is_drawn else 1):
            wanted = min(group, draws - len(made))
            body = settings | {"prompt": prompt, "return_tokens": True, "n_cmpl": wanted, "seed": first + len(made)}
            made += _completions(connection, body)
        texts.append(made if is_drawn else made[:1] * draws)
    return {"version": xllamacpp.__version__, "texts": texts}


def _server(model: str, slots: int, longest: int) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = slots
    params.n_ctx = slots * (longest + 256 - longest % 256)
    # A thread waits for the others by spinning: as many as there are cores get in each other's way on a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 1) // 2)
    params.warmup = False
    params.verbosity = 0
    return xllamacpp.Server(params)


def _completions(connection: HTTPConnection, body: dict[str, Any]) -> list[list[int]]:
    """The token ids of each text of one request."""
    connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    if isinstance(answer, dict) and "error" in answer:
        raise ValueError(f"/completion: {answer['error']['message']}")
    return [one["tokens"] for one in (answer if isinstance(answer, list) else [answer])]


def main() -> int:
    """Read what is asked, print the answer."""
    try:
        answer, code = run(json.load(sys.stdin)), 0
    except Exception as error:
        answer, code = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}, 1
    print(json.dumps(answer), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
