#!/usr/bin/env bash
# llama.cpp (xllamacpp 2026.10.11549): typical_p behind a token that was dropped keeps another set.
#
# top_n_sigma, logit_bias [[id, false]] and ignore_eos drop a token by setting its logit to minus infinity, and leave it
# in the list. typical_p then adds p log p of it to the entropy, 0 times minus infinity, which is not a number, and sorts
# by distances that are none. What is kept depends on how many tokens there are. With min_p or top_p between the two,
# which take such tokens out, it is right again. A dynamic temperature has the same cause with another effect: its
# largest possible entropy counts the tokens that are gone, so that the temperature is too low.
#
# Seen, next-token probabilities A .40 B .30 C .15 D .10 E .05:
#   typical_p 0.65 alone, or behind top_n_sigma and min_p:  A .571 B .429
#   behind top_n_sigma, which drops E and what is below it: A .615 C .231 D .154, without the second likeliest
#   with ignore_eos, or another forbidden token:            A .571 C .214 D .143 E .071
#
# Run: bash findings/llama_cpp_typical_p_beside_dropped_tokens.sh
# (needs Python 3.11+ and the package index; leaves nothing)
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2> "$folder/log" || { tail -n 3 "$folder/log" >&2; exit 1; }
import json, math, urllib.request

import gguf, numpy as np, xllamacpp

SIZE = 32  # tokens, and width; the next token is A .40 B .30 C .15 D .10 E .05 whatever came before
TOKENS = ["<unk>", "<s>", "</s>", *"ABCDE", *(f"[{number}]" for number in range(SIZE - 8))]
logits = np.full(SIZE, math.log(0.40) - 15, np.float32)
logits[3:8] = np.log([0.40, 0.30, 0.15, 0.10, 0.05]) + 5
column = np.zeros((SIZE, SIZE), np.float32)
column[:, 0] = 1  # one number a token, which the norm makes sqrt(32)
writer = gguf.GGUFWriter("model.gguf", "llama")
for key, value in {"context_length": 512, "embedding_length": SIZE, "block_count": 1, "feed_forward_length": SIZE,
                   "head_count": 1, "head_count_kv": 1, "rope_dimension_count": SIZE, "vocab_size": SIZE}.items():
    getattr(writer, f"add_{key}")(value)
writer.add_layer_norm_rms_eps(1e-9)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list(TOKENS)
writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (SIZE - 3))
writer.add_token_merges(["A A"])
writer.add_eos_token_id(2)
for name in ("token_embd", "output", "output_norm", *(f"blk.0.{part}" for part in (
        "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"))):
    tensor = np.ones(SIZE, np.float32) if name.endswith("norm") else np.zeros((SIZE, SIZE), np.float32)
    tensor = {"token_embd": column, "output": column * logits[:, None] / math.sqrt(SIZE)}.get(name, tensor)
    writer.add_tensor(f"{name}.weight", np.ascontiguousarray(tensor))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.verbosity = "model.gguf", 512, False, 0
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def probabilities(prompt="A", **settings):
    """What the next token is drawn from, of those above 0.0001."""
    body = {**OFF, **settings, "prompt": [TOKENS.index(token) for token in prompt], "n_predict": 1, "seed": 1}
    body |= {"n_probs": 8, "post_sampling_probs": True}
    request = urllib.request.Request(f"{server.listening_address}/completion", json.dumps(body).encode())
    [step] = json.load(urllib.request.urlopen(request))["completion_probabilities"]
    return {one["token"]: round(one["prob"], 3) for one in step["top_probs"] if one["prob"] > 1e-4}


def seen(what, found, expected):
    print(f"{what}: {found}")
    same = found.keys() == expected.keys() and all(abs(found[token] - expected[token]) < 0.002 for token in found)
    assert same, f"{what}: it was {expected}"


two, four = {"A": 0.571, "B": 0.429}, {"A": 0.421, "B": 0.316, "C": 0.158, "D": 0.105}
seen("typical_p 0.65", probabilities(typical_p=0.65, samplers=["typ_p"]), two)
cut = {"top_n_sigma": 0.25, "typical_p": 0.65}
seen("top_n_sigma", probabilities(**cut, samplers=["top_n_sigma"]), four)
chain = ["top_n_sigma", "min_p", "typ_p"]
seen("top_n_sigma, min_p, typ_p", probabilities(**cut | {"min_p": 0.001}, samplers=chain), two)
for settings in (
    {"top_n_sigma": 0.25, "samplers": ["top_n_sigma", "typ_p"]},
    {"ignore_eos": True, "samplers": ["typ_p"]},
    {"logit_bias": [[20, False]], "samplers": ["typ_p"]},
):
    found = probabilities(typical_p=0.65, **settings)
    print(f"typical_p 0.65 with {settings}: {found}")
    assert found.keys() != two.keys(), "what is kept beside a dropped token is right"
warm = {"top_n_sigma": 0.25, "dynatemp_range": 0.5}
wrong = probabilities(**warm, samplers=["top_n_sigma", "temperature"])
right = probabilities(**warm | {"min_p": 0.001}, samplers=["top_n_sigma", "min_p", "temperature"])
print(f"dynamic temperature behind top_n_sigma: {wrong}, with min_p between: {right}")
assert wrong["A"] > right["A"] + 0.02, "the largest possible entropy is that of what is left"
PYTHON
