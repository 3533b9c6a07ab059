"""The model of `known_logits` in the formats of CTranslate2, ONNX Runtime GenAI and OpenVINO GenAI.

`convert_known` runs this file as a script in the environment of the engine, where nothing of decodebench or torch is.
It reads the safetensors file and writes the model with the engine's own library, layer by layer.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_HEADS, _EPSILON = 2, 1e-12


def convert_known(engine: str, source: Path, target: Path, python: str) -> Path:
    """Write the known model of the transformers folder `source` into `target`, in the format of `engine`."""
    done = subprocess.run([python, __file__, engine, source, target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def _weights(source: Path) -> Mapping[str, Any]:
    """The tensors of a safetensors file in float32, by their names, as arrays."""
    import numpy as np

    data = (source / "model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", entry
            first, last = entry["data_offsets"]
            found[name] = np.frombuffer(data[begin + first : begin + last], np.float32).reshape(entry["shape"]).copy()
    return found


def _ctranslate2(source: Path, target: Path) -> None:
    import numpy as np
    from ctranslate2.specs import common_spec, transformer_spec

    weights = _weights(source)
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        num_layers=1,
        num_heads=_HEADS,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        num_heads_kv=_HEADS,
    )
    spec.decoder.scale_embeddings = False
    spec.decoder.embeddings.weight = weights["model.embed_tokens.weight"]
    spec.decoder.projection.weight = weights["lm_head.weight"]
    spec.decoder.layer_norm.gamma = weights["model.norm.weight"]
    layer, attention, mlp = spec.decoder.layer[0], "model.layers.0.self_attn.", "model.layers.0.mlp."
    layer.self_attention.layer_norm.gamma = weights["model.layers.0.input_layernorm.weight"]
    layer.self_attention.linear[0].weight = np.concatenate([weights[f"{attention}{x}_proj.weight"] for x in "qkv"])
    layer.self_attention.linear[1].weight = weights[f"{attention}o_proj.weight"]
    layer.ffn.layer_norm.gamma = weights["model.layers.0.post_attention_layernorm.weight"]
    layer.ffn.linear_0.weight = weights[f"{mlp}gate_proj.weight"]
    layer.ffn.linear_0_noact.weight = weights[f"{mlp}up_proj.weight"]
    layer.ffn.linear_1.weight = weights[f"{mlp}down_proj.weight"]
    names = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    spec.register_vocabulary(sorted(names, key=names.__getitem__))
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<s>", "</s>", "<unk>"
    spec.config.layer_norm_epsilon = _EPSILON
    spec.validate()
    spec.optimize()
    target.mkdir(parents=True)
    spec.save(str(target))


def _onnxruntime_genai(source: Path, target: Path) -> None:
    """Attention adds nothing, so the graph leaves it out; it keeps keys and values as the engine wants to see them."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weights = _weights(source)
    vocabulary, hidden = weights["model.embed_tokens.weight"].shape
    size = hidden // _HEADS
    constants = {
        "embedding": weights["model.embed_tokens.weight"],
        "head": weights["lm_head.weight"].T.copy(),
        "epsilon": np.array(_EPSILON, np.float32),
        "heads": np.array([0, 0, _HEADS, size]),
        "last": np.array([-1]),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["embedding", "input_ids"], ["embedded"]),
        node("Mul", ["embedded", "embedded"], ["squares"]),
        node("ReduceMean", ["squares", "last"], ["mean"]),
        node("Add", ["mean", "epsilon"], ["safe"]),
        node("Sqrt", ["safe"], ["length"]),
        node("Div", ["embedded", "length"], ["normed"]),
        node("MatMul", ["normed", "head"], ["logits"]),
        node("Reshape", ["normed", "heads"], ["by_head"]),
        node("Transpose", ["by_head"], ["new"], perm=[0, 2, 1, 3]),
        node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
        node("Concat", ["past_key_values.0.value", "new"], ["present.0.value"], axis=2),
    ]
    numbers, floats, value = TensorProto.INT64, TensorProto.FLOAT, helper.make_tensor_value_info
    past, present = ["batch", _HEADS, "past", size], ["batch", _HEADS, "total", size]
    graph = helper.make_graph(
        nodes,
        "known",
        inputs=[
            value("input_ids", numbers, ["batch", "new_tokens"]),
            value("attention_mask", numbers, ["batch", "total"]),
            *(value(f"past_key_values.0.{what}", floats, past) for what in ("key", "value")),
        ],
        outputs=[
            value("logits", floats, ["batch", "new_tokens", vocabulary]),
            *(value(f"present.0.{what}", floats, present) for what in ("key", "value")),
        ],
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    target.mkdir(parents=True)
    opset = helper.make_opsetid("", 18)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(target / "model.onnx"))
    config = json.loads((source / "config.json").read_text())
    decoder = {
        "session_options": {"provider_options": []},
        "filename": "model.onnx",
        "head_size": size,
        "hidden_size": hidden,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "num_hidden_layers": 1,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    model = {
        "type": "llama",
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
        "context_length": config["max_position_embeddings"],
        "vocab_size": vocabulary,
        "decoder": decoder,
    }
    # What a converted model is given when its generation_config.json says nothing.
    search = {"do_sample": False, "top_k": 50, "top_p": 1.0, "temperature": 1.0, "max_length": 4096}
    search["past_present_share_buffer"] = False
    (target / "genai_config.json").write_text(json.dumps({"model": model, "search": search}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, target / name)


def _openvino_genai(source: Path, target: Path) -> None:
    import numpy as np
    import openvino as ov
    from openvino import op, opset13
    from openvino.op.util import Variable, VariableInfo
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    weights = _weights(source)
    hidden = weights["model.embed_tokens.weight"].shape[1]
    size = hidden // _HEADS

    def inlet(name: str, shape: list[int], dtype: Any) -> Any:
        node = opset13.parameter(shape, dtype)
        node.set_friendly_name(name)  # by this name the engine finds the input whose shape it changes
        node.output(0).get_tensor().set_names({name})
        return node

    def constant(values: Any, dtype: Any = np.float32) -> Any:
        return opset13.constant(np.asarray(values, dtype))

    def norm(values: Any) -> Any:
        mean = opset13.reduce_mean(opset13.multiply(values, values), constant([-1], np.int64), True)
        return opset13.divide(values, opset13.sqrt(opset13.add(mean, constant(_EPSILON))))

    def linear(values: Any, name: str) -> Any:
        return opset13.matmul(values, constant(weights[name]), False, True)

    input_ids = inlet("input_ids", [-1, -1], np.int64)
    attention_mask = inlet("attention_mask", [-1, -1], np.int64)
    beam_idx = inlet("beam_idx", [-1], np.int32)
    zero = constant(0, np.int64)
    embedded = opset13.gather(constant(weights["model.embed_tokens.weight"]), input_ids, zero)
    normed = norm(embedded)
    sinks = []

    def heads(name: str) -> Any:
        split = opset13.reshape(
            linear(normed, f"model.layers.0.self_attn.{name}_proj.weight"),
            constant([0, 0, _HEADS, size], np.int64),
            special_zero=True,
        )
        return opset13.transpose(split, constant([0, 2, 1, 3], np.int64))

    rows = opset13.gather(opset13.shape_of(input_ids), constant([0], np.int64), zero)
    empty_shape = opset13.concat(
        [rows, constant([_HEADS], np.int64), constant([0], np.int64), constant([size], np.int64)], 0
    )

    def kept(name: str) -> Any:
        """Keys or values of all tokens so far, in a state of the model."""
        info = VariableInfo()
        info.data_shape, info.data_type = ov.PartialShape([-1, _HEADS, -1, size]), ov.Type.f32
        info.variable_id = f"past_key_values.0.{name}present.0.{name}"
        variable = Variable(info)
        past = op.read_value(opset13.broadcast(constant(0.0), empty_shape), variable)
        whole = opset13.concat([opset13.gather(past, beam_idx, zero), heads(name[0])], 2)
        sinks.append(op.assign(whole, variable))
        return whole

    hidden_from = opset13.multiply(
        opset13.subtract(constant(1.0), opset13.convert(attention_mask, np.float32)), constant(-1e4)
    )
    mask = opset13.unsqueeze(hidden_from, constant([1, 2], np.int64))
    attended = opset13.scaled_dot_product_attention(heads("q"), kept("key"), kept("value"), mask)
    joined = opset13.reshape(
        opset13.transpose(attended, constant([0, 2, 1, 3], np.int64)),
        constant([0, 0, hidden], np.int64),
        special_zero=True,
    )
    after = opset13.add(embedded, linear(joined, "model.layers.0.self_attn.o_proj.weight"))
    logits = opset13.result(linear(norm(after), "lm_head.weight"))
    logits.output(0).get_tensor().set_names({"logits"})
    model = ov.Model([logits], sinks, [input_ids, attention_mask, beam_idx], "known")
    target.mkdir(parents=True)
    ov.save_model(model, target / "openvino_model.xml", compress_to_fp16=False)
    both = convert_tokenizer(AutoTokenizer.from_pretrained(source), with_detokenizer=True)
    for name, part in zip(("tokenizer", "detokenizer"), both, strict=True):
        ov.save_model(part, target / f"openvino_{name}.xml")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, target / name)


_CONVERTERS: Mapping[str, Callable[[Path, Path], None]] = {
    "ctranslate2": _ctranslate2,
    "onnxruntime_genai": _onnxruntime_genai,
    "openvino_genai": _openvino_genai,
}

if __name__ == "__main__":
    _CONVERTERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
