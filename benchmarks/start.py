"""From the start of a process to its first decoded token: what a second start waits for (the model is converted).

python benchmarks/start.py                         five starts of the packaged model, one after the other
"""

import argparse
import statistics
import subprocess
import sys

FIRST_TOKEN = """
import time, psutil, torch
from decodebench.engine import Decoder, Request, choose_rows
from decodebench.models.config import ModelConfig
from decodebench.models.loading import load
from decodebench.models.properties import vocabulary
from decodebench.strategies import Greedy
from decodebench.models.tokens import encode, model_facts

loaded = load(ModelConfig(name="gemma3_270m", source="packaged", dtype={dtype!r}))
forward = choose_rows(loaded.model, loaded.device, vocabulary(loaded.model))
rows = forward.make_rows(loaded.model, loaded.device)
request = Request(
    cell="first", strategy=Greedy(max_new_tokens=1), prompt_id="0", prompt_ids=encode(loaded, "Once upon a time"),
    sample=0, limit=1, seed=0, facts=model_facts(loaded, ()),
)
texts = []
Decoder(rows, max_rows=1, sink=texts.extend, failure=lambda cell, why: exit(why)).run([request])
assert len(texts[0].token_ids) == 1
print(time.time() - psutil.Process().create_time())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    seconds = []
    for number in range(options.starts):
        command = [sys.executable, "-c", FIRST_TOKEN.format(dtype=options.dtype)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds.append(float(done.stdout.split()[-1]))
        print(f"start {number + 1}: {seconds[-1]:6.2f} s to the first token", flush=True)
    print(f"median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}")


if __name__ == "__main__":
    main()
