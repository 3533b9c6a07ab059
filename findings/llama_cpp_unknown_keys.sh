#!/usr/bin/env bash
# llama.cpp (xllamacpp 2026.10.11549): a key of /completion that it does not know does nothing, without a word.
#
# The names of transformers and of OpenAI-like servers are near to its own: repetition_penalty (here repeat_penalty),
# min_tokens, no_repeat_ngram_size, num_beams, epsilon_cutoff, eta_cutoff, typ_p (its name in `samplers`; the number is
# typical_p). A request with one of them is answered with 200 and decodes as if it were not there. Of its own keys a value
# out of range is refused: repeat_last_n -1 (the whole context, in its command line) is an error 400.
#
# Seen, next-token probabilities A .40 B .30 C .15 D .10 E .05, prompt A A B:
#   repeat_penalty 1.5:                                 C .308 A .210 D .205 B .174 E .103
#   repetition_penalty 1.5, and each of the others:     A .40 B .30 C .15 D .10 E .05
#
# Run: bash findings/llama_cpp_unknown_keys.sh
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


import urllib.error

full = {"A": 0.4, "B": 0.3, "C": 0.15, "D": 0.1, "E": 0.05}
seen("nothing", probabilities("AAB"), full)
penalised = {"C": 0.308, "A": 0.211, "D": 0.205, "B": 0.174, "E": 0.103}
seen("repeat_penalty 1.5", probabilities("AAB", repeat_penalty=1.5), penalised)
for key, value in {"repetition_penalty": 1.5, "min_tokens": 5, "no_repeat_ngram_size": 1, "num_beams": 4,
                   "epsilon_cutoff": 0.12, "eta_cutoff": 0.5, "typ_p": 0.25}.items():
    seen(f"{key} {value}", probabilities("AAB", **{key: value}), full)
seen("typical_p 0.25", probabilities("AAB", typical_p=0.25), {"B": 1.0})
try:
    probabilities("AAB", repeat_penalty=1.5, repeat_last_n=-1)
except urllib.error.HTTPError as error:
    print(f"repeat_last_n -1: {error.code} {json.load(error)['error']['message']}")
    assert error.code == 400
else:
    raise AssertionError("repeat_last_n -1 is accepted")
PYTHON
