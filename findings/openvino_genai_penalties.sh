#!/usr/bin/env bash
# OpenVINO GenAI 2026.4.1: with num_return_sequences above 1 a repetition penalty counts the tokens of all texts of the
# call. A text is penalized for what its neighbours said.
#
# Run with: bash openvino_genai_penalties.sh    (needs python3.11 and PyPI; one CPU core, about a minute)
#
# The model says A .40, B .30, C .15, D .10, E .05 after every token, with logits ln p + 5. Two tokens are sampled with
# repetition_penalty 1.5. Behind a text that began with A, the second token is A with a probability of
#   .146 by the definition (only A is penalized), .334 if A to E are all penalized.
# Seen: .149 with one text a call, .317 with 64 texts a call.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q openvino==2026.4.1 openvino-genai==2026.4.1.0 \
  openvino-tokenizers==2026.4.1.0 transformers==5.5.4
cd "$work"
cat > seen.py <<'PYTHON'
import json, math
from pathlib import Path
import numpy as np, openvino as ov, openvino_genai as genai
from openvino import op, opset13 as o
from openvino.op.util import Variable, VariableInfo
from openvino_tokenizers import convert_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = ["<unk>", "</s>", "A", "B", "C", "D", "E", "Z"]
SHARES = {"A": 0.40, "B": 0.30, "C": 0.15, "D": 0.10, "E": 0.05}
LOGITS = np.array([math.log(SHARES[w]) + 5 if w in SHARES else -16.0 for w in WORDS], np.float32)

folder = Path("model")
folder.mkdir()
(folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 1, "vocab_size": 8}))
(folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
bpe = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(WORDS)}, merges=[], unk_token="<unk>"))
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
both = convert_tokenizer(PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>"), with_detokenizer=True)
for name, part in zip(("tokenizer", "detokenizer"), both):
    ov.save_model(part, folder / f"openvino_{name}.xml")


def inlet(name, shape, dtype):
    node = o.parameter(shape, dtype)
    node.set_friendly_name(name)
    node.output(0).get_tensor().set_names({name})
    return node


whole = lambda *numbers: o.constant(np.array(numbers, np.int64))
ids, mask, beams = inlet("input_ids", [-1, -1], np.int64), inlet("attention_mask", [-1, -1], np.int64), inlet("beam_idx", [-1], np.int32)
zero = o.constant(np.int64(0))
embedded = o.gather(o.constant(np.eye(8, dtype=np.float32)), ids, zero)
heads = o.transpose(o.reshape(embedded, whole(0, 0, 1, 8), special_zero=True), whole(0, 2, 1, 3))
rows = o.gather(o.shape_of(ids), whole(0), zero)
sinks = []


def kept(name):
    info = VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([-1, 1, -1, 8]), ov.Type.f32, name
    variable = Variable(info)
    past = op.read_value(o.broadcast(o.constant(np.float32(0)), o.concat([rows, whole(1), whole(0), whole(8)], 0)), variable)
    now = o.concat([o.gather(past, beams, zero), heads], 2)
    sinks.append(op.assign(now, variable))
    return now


hidden = o.multiply(o.subtract(o.constant(np.float32(1)), o.convert(mask, np.float32)), o.constant(np.float32(-1e4)))
seen = o.scaled_dot_product_attention(heads, kept("key"), kept("value"), o.unsqueeze(hidden, whole(1, 2)))
seen = o.reshape(o.transpose(seen, whole(0, 2, 1, 3)), whole(0, 0, 8), special_zero=True)
nothing = o.matmul(seen, o.constant(np.zeros((8, 8), np.float32)), False, True)  # attention adds nothing
out = o.result(o.add(nothing, o.constant(LOGITS)))
out.output(0).get_tensor().set_names({"logits"})
ov.save_model(ov.Model([out], sinks, [ids, mask, beams], "known"), folder / "openvino_model.xml", compress_to_fp16=False)

pipeline = genai.LLMPipeline(str(folder), "CPU", INFERENCE_PRECISION_HINT="f32")
prompt = np.array([[WORDS.index("Z")]], np.int64)


def second_is_a(texts_a_call):
    """Of the texts that begin with A, the share that goes on with A."""
    texts = []
    for seed in range(4096 // texts_a_call):
        config = genai.GenerationConfig(
            max_new_tokens=2, do_sample=True, repetition_penalty=1.5, num_return_sequences=texts_a_call, rng_seed=seed
        )
        inputs = genai.TokenizedInputs(ov.Tensor(prompt), ov.Tensor(np.ones_like(prompt)))
        texts += pipeline.generate(inputs, config).tokens
    behind_a = [WORDS[text[1]] for text in texts if WORDS[text[0]] == "A"]
    return behind_a.count("A") / len(behind_a)


def expected(penalized):
    weights = {w: math.exp((math.log(p) + 5) / (1.5 if w in penalized else 1)) for w, p in SHARES.items()}
    return weights["A"] / sum(weights.values())


alone, together = second_is_a(1), second_is_a(64)
print(f"openvino-genai {genai.__version__}")
print(f"one text a call:  {alone:.3f} (only A penalized: {expected('A'):.3f})")
print(f"64 texts a call:  {together:.3f} (A to E all penalized: {expected('ABCDE'):.3f})")
assert abs(alone - expected("A")) < 0.04, "one text a call is no longer as defined"
assert abs(together - expected("ABCDE")) < 0.04, "the texts of a call no longer share what a penalty counts"
PYTHON
"$work/venv/bin/python" seen.py
