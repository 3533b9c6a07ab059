#!/usr/bin/env bash
# CTranslate2 4.8.5: beam search of a decoder never returns the text that ends right behind the prompt, even where it is
# the likeliest, unless include_prompt_in_result is False (the default is True).
#
# Run with: bash ctranslate2_beam_prompt.sh    (needs python3.11 and PyPI; one CPU core, about half a minute)
#
# The model ends behind D with a probability of .40, else says G H I: the texts behind "Z D" are "" (.40), "G H I"
# (.6 * .7 * .8 = .336), "G" (.18) and "G H" (.084). With length_penalty 0 the best of four beams is "".
# Seen: "" first with include_prompt_in_result=False; with True it is not among the four, and "G H I" is first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q ctranslate2==4.8.5 numpy==2.4.6
cd "$work"
cat > seen.py <<'PYTHON'
import math, os
import ctranslate2, numpy as np
from ctranslate2.specs import common_spec, transformer_spec

WORDS = ["<unk>", "<s>", "</s>", "D", "G", "H", "I", "Z"]
NEXT = {"D": {"G": 0.6, "</s>": 0.4}, "G": {"H": 0.7, "</s>": 0.3}, "H": {"I": 0.8, "</s>": 0.2}, "I": {"</s>": 1.0}}
size = len(WORDS)
head = np.full((size, size), -20.0, np.float32)
for token, row in NEXT.items():
    for to, share in row.items():
        head[WORDS.index(to), WORDS.index(token)] = math.log(share)

# One layer that adds nothing: the embedding says which token is the last, and the head what comes behind it.
spec = transformer_spec.TransformerDecoderModelSpec.from_config(
    1, 1, pre_norm=True, activation=common_spec.Activation.SWISH, rms_norm=True, ffn_glu=True, rotary_dim=0, rotary_interleave=False
)
none, ones = np.zeros((size, size), np.float32), np.ones(size, np.float32)
spec.decoder.scale_embeddings = False
spec.decoder.embeddings.weight = np.eye(size, dtype=np.float32)
spec.decoder.projection.weight = head / math.sqrt(size)  # the norm makes the embedding sqrt(size) long
spec.decoder.layer_norm.gamma = ones
layer = spec.decoder.layer[0]
layer.self_attention.layer_norm.gamma = layer.ffn.layer_norm.gamma = ones
layer.self_attention.linear[0].weight = np.zeros((3 * size, size), np.float32)
layer.self_attention.linear[1].weight = none.copy()
layer.ffn.linear_0.weight, layer.ffn.linear_0_noact.weight, layer.ffn.linear_1.weight = (none.copy() for _ in range(3))
spec.register_vocabulary(WORDS)
spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<s>", "</s>", "<unk>"
spec.validate()
spec.optimize()
os.mkdir("model")
spec.save("model")

generator = ctranslate2.Generator("model", device="cpu", compute_type="float32")


def four(include):
    [found] = generator.generate_batch(
        [["Z", "D"]], beam_size=4, num_hypotheses=4, length_penalty=0, max_length=8, include_prompt_in_result=include
    )
    return [" ".join(tokens[2 if include else 0 :]) for tokens in found.sequences]


without, with_prompt = four(False), four(True)
print(f"ctranslate2 {ctranslate2.__version__}")
print(f"include_prompt_in_result=False: {without}")
print(f"include_prompt_in_result=True:  {with_prompt}")
assert without == ["", "G H I", "G", "G H"], "without the prompt the texts are no longer as defined"
assert with_prompt[0] == "G H I" and "" not in with_prompt, "with the prompt the text that ends at once is found now"
PYTHON
"$work/venv/bin/python" seen.py
