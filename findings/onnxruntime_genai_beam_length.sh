#!/usr/bin/env bash
# ONNX Runtime GenAI 0.18.0: the length by which beam search divides a log-prob has the prompt in it. So the same model
# gives another text behind a longer prompt, though what it says depends on the last token alone.
#
# Run with: bash onnxruntime_genai_beam_length.sh    (needs python3.11 and PyPI; one CPU core, about half a minute)
#
# The model ends behind D with a probability of .40, else says G H I (.6 * .7 * .8 = .336). By log-prob / new tokens
# with the end, "G H I" wins: ln(.336) / 4 = -.27 against ln(.40) / 1 = -.92. With 20 tokens of prompt in the length
# the empty text wins: ln(.40) / 20 = -.0458 against ln(.336) / 23 = -.0474.
# Seen: "G H I" behind "D", "" behind 19 times "Z" and "D", both with length_penalty 1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q onnxruntime-genai==0.18.0 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$work"
cat > seen.py <<'PYTHON'
import json, math
from importlib.metadata import version
from pathlib import Path
import numpy as np, onnxruntime_genai as genai
from onnx import TensorProto, helper, numpy_helper, save

WORDS = ["<unk>", "<s>", "</s>", "D", "G", "H", "I", "Z"]
NEXT = {"D": {"G": 0.6, "</s>": 0.4}, "G": {"H": 0.7, "</s>": 0.3}, "H": {"I": 0.8, "</s>": 0.2}, "I": {"</s>": 1.0}}
table = np.full((8, 8), -20.0, np.float32)
for token, row in NEXT.items():
    for to, share in row.items():
        table[WORDS.index(token), WORDS.index(to)] = math.log(share)

# The logits are a row of the table; keys and values are kept as the engine asks, and not used.
node, value, number, real = helper.make_node, helper.make_tensor_value_info, TensorProto.INT64, TensorProto.FLOAT
caches = ["past_key_values.0.key", "past_key_values.0.value"], ["present.0.key", "present.0.value"]
graph = helper.make_graph(
    [
        node("Gather", ["table", "input_ids"], ["logits"]),
        node("Unsqueeze", ["logits", "one"], ["new"]),
        *(node("Concat", [past, "new"], [present], axis=2) for past, present in zip(*caches)),
    ],
    "known",
    [value("input_ids", number, ["b", "n"]), value("attention_mask", number, ["b", "t"])]
    + [value(name, real, ["b", 1, "p", 8]) for name in caches[0]],
    [value("logits", real, ["b", "n", 8])] + [value(name, real, ["b", 1, "t", 8]) for name in caches[1]],
    [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "one")],
)
folder = Path("model")
folder.mkdir()
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(folder / "model.onnx"))
decoder = {
    "session_options": {"provider_options": []}, "filename": "model.onnx", "head_size": 8, "hidden_size": 8,
    "num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": 1,
    "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
               "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
    "outputs": {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
}
model = {"type": "llama", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "context_length": 512,
         "vocab_size": 8, "decoder": decoder}
search = {"max_length": 512, "past_present_share_buffer": False}
(folder / "genai_config.json").write_text(json.dumps({"model": model, "search": search}))


def best(words):
    """The best of four beams behind a prompt, without the end token."""
    loaded = genai.Model(str(folder))
    params = genai.GeneratorParams(loaded)
    params.set_search_options(num_beams=4, num_return_sequences=4, length_penalty=1.0, max_length=len(words) + 8)
    generator = genai.Generator(loaded, params)
    generator.append_tokens(np.array([[WORDS.index(word) for word in words]], np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    text = [WORDS[token] for token in generator.get_sequence(0)[len(words) :]]
    return " ".join(text[: text.index("</s>")] if "</s>" in text else text)


short, long = best(["D"]), best(19 * ["Z"] + ["D"])
print(f"onnxruntime-genai {version('onnxruntime-genai')}")
print(f"behind a prompt of 1 token: {short!r}; of 20 tokens: {long!r}")
assert (short, long) == ("G H I", ""), "the prompt is no longer part of the length"
PYTHON
"$work/venv/bin/python" seen.py
