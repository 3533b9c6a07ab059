#!/usr/bin/env bash
# mlx-lm 0.32.2 (mlx 0.32.4, CPU): presence_penalty and frequency_penalty of make_logits_processors count the prompt.
#
# "Corresponds to the OpenAI option with the same name", its docstring says of both; there, as in vLLM, tokens of the new
# text are counted alone. Here the last 20 tokens are, and before the first new token these are the end of the prompt.
# Neither number can be given for new tokens alone: the processor is not told where the prompt ends.
#
# Seen (log-probs of the first new token with a penalty, less those without; a token that is nowhere is the zero):
#   presence 1.0   a token 3 back, once in the prompt: -1.000    21 back: +0.000    twice in the last 20: -1.000
#   frequency 1.0  a token 3 back, once in the prompt: -1.000    21 back: +0.000    twice in the last 20: -2.000
#
# Run: bash findings/mlx_lm_penalties_count_the_prompt.sh    (needs Python 3.11+ and the package index; leaves nothing)
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.models.llama import Model, ModelArgs
from mlx_lm.sample_utils import make_logits_processors

mx.random.seed(0)
model = Model(  # random weights: only what a penalty changes is looked at
    ModelArgs(
        model_type="llama",
        hidden_size=32,
        num_hidden_layers=1,
        intermediate_size=64,
        num_attention_heads=2,
        rms_norm_eps=1e-5,
        vocab_size=50,
    )
)
FAR, TWICE, NEAR, NOWHERE = 1, 2, 3, 40
prompt = [FAR, *[TWICE, 10], *[TWICE, 11], *range(12, 25), NEAR, 26, 27]
assert len(prompt) == 21 and prompt[-3] == NEAR


def logprobs(**penalties: float) -> mx.array:
    processors = make_logits_processors(**penalties)
    return next(generate_step(mx.array(prompt), model, max_tokens=1, logits_processors=processors))[1]


plain = logprobs()
for name, expected in (("presence", (-1, 0, -1)), ("frequency", (-1, 0, -2))):
    change = logprobs(**{f"{name}_penalty": 1.0}) - plain
    change = change - change[NOWHERE]
    seen = tuple(change[token].item() for token in (NEAR, FAR, TWICE))
    print(f"{name}: 3 back {seen[0]:+.3f}, 21 back {seen[1]:+.3f}, twice in the last 20 {seen[2]:+.3f}")
    assert all(abs(one - other) < 1e-4 for one, other in zip(seen, expected)), f"{name}: expected {expected}"
print("seen: both penalties count the last 20 tokens of the prompt")
PYTHON
