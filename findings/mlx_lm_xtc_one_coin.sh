#!/usr/bin/env bash
# mlx-lm 0.32.2 (mlx 0.32.4, CPU): XTC of make_sampler throws one coin for all rows of a batch.
#
# With xtc_probability 0.5 each text should lose its likeliest tokens at about half of its steps, whatever its
# neighbours do. batch_generate calls one sampler with the log-probs of all texts, and the sampler decides once: at each
# step all texts of a batch lose them, or none. So the samples of a batch are not independent of each other.
#
# Seen, 8 rows of the same five probabilities, of which the first two may be excluded, 4,000 calls:
#   all 8 rows without them: 47.8% of the calls (one coin for all: 50.0%, a coin for each row: 3.2%)
#
# Run: bash findings/mlx_lm_xtc_one_coin.sh    (needs Python 3.11+ and the package index; leaves nothing)
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import mlx.core as mx
from mlx_lm.sample_utils import make_sampler

ROWS, CALLS, CHANCE = 8, 4000, 0.5
probabilities = mx.array([[0.40, 0.30, 0.15, 0.10, 0.05]])
logprobs = mx.broadcast_to(mx.log(probabilities), (ROWS, 5))
sampler = make_sampler(temp=1.0, xtc_probability=CHANCE, xtc_threshold=0.12)
mx.random.seed(0)
drawn = mx.stack([sampler(logprobs) for _ in range(CALLS)])
without = (drawn >= 2).all(axis=1).sum().item() / CALLS
one_coin = CHANCE + (1 - CHANCE) * 0.3**ROWS
own_coins = (CHANCE + (1 - CHANCE) * 0.3) ** ROWS
print(f"calls in which no row has the two likeliest: {without:.1%}; one coin {one_coin:.1%}, own coins {own_coins:.1%}")
assert abs(without - one_coin) < 0.04, "a coin is thrown otherwise than once for all rows"
print("seen: one coin of XTC for all rows of a batch")
PYTHON
