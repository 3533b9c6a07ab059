"""A GGUF file against the model that transformers made of it: what its reader leaves out is used here, or refused.

transformers reads the keys and tensors that it knows, and passes over the others without a word: a file with scaled
rotary frequencies would be decoded as another model.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from decodebench.errors import ModelError

_FREQUENCIES = "rope_freqs.weight"
_SCALING = ("rope.scaling.type", "rope.scaling.factor", "rope.scale_linear")
_CUTS = ("model", "pre", "add_space_prefix")
_ALLOWED = "allowed is a .gguf whose every key and tensor is read, or a folder of save_pretrained"

_WITHOUT_EFFECT = (
    *("context_length", "vocab_size", "tensor_data_layout"),
    *("rope.scaling.original_context_length", "rope.scaling.finetuned"),
)
"""Of an architecture's keys those that logits do not depend on."""


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _rope(config: Any, name: str, otherwise: Any) -> Any:
    """A number of the rotary embedding, of the layers that look back without a window where there are two kinds."""
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    return rope.get(name, getattr(config, name, otherwise))


def _named(*names: str) -> Callable[[Any], Any]:
    """The first of these that a configuration has."""
    return lambda config: next((value for name in names if (value := getattr(config, name, None)) is not None), None)


_IN_CONFIG: Mapping[str, Callable[[Any], Any]] = {
    "block_count": _named("num_hidden_layers"),
    "embedding_length": _named("hidden_size"),
    "feed_forward_length": lambda config: _named("intermediate_size", "n_inner")(config) or 4 * config.hidden_size,
    "attention.head_count": _named("num_attention_heads"),
    "attention.head_count_kv": _named("num_key_value_heads", "num_attention_heads"),
    "attention.causal": lambda config: True,
    "attention.key_length": _head_dim,
    "attention.value_length": _head_dim,
    "attention.layer_norm_rms_epsilon": _named("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": _named("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    "attention.sliding_window": _named("sliding_window"),
    "attn_logit_softcapping": _named("attn_logit_softcapping"),
    "final_logit_softcapping": _named("final_logit_softcapping"),
    "rope.dimension_count": lambda config: round(_head_dim(config) * _rope(config, "partial_rotary_factor", 1.0)),
    "rope.freq_base": lambda config: _rope(config, "rope_theta", None),
    "use_parallel_residual": _named("use_parallel_residual"),
}
"""What the configuration of the loaded model has for an architecture's key."""


def complete(model: Any, tokenizer: Any, file: Path, named: str) -> tuple[str, ...]:
    """Make the model what its GGUF says; returns what is odd about its tokenizer. `named` is the key that errors name.

    Linear scaling and `rope_freqs.weight` (Llama 3.1) are applied to the rotary frequencies. Raises ModelError for any
    other key of the architecture, or tensor, that the model does not have; of architectures that transformers converts
    by rules of their own (`_converted`), for keys that are in the table below.
    """
    import gguf

    reader = gguf.GGUFReader(file)
    architecture = str(reader.fields["general.architecture"].contents())
    keys = {
        name.removeprefix(f"{architecture}."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith(f"{architecture}.")
    }
    scaling: dict[str, Any] = {key: keys.pop(key) for key in _SCALING if key in keys}
    config = model.config.get_text_config()
    for key, value in keys.items():
        if not _is_read(key, value, config, architecture):
            raise ModelError(
                f"{named}: the GGUF's key {architecture}.{key}={_short(value)} is not what the loaded model has "
                f"({_short(_in_model(key, config, architecture))}): transformers' reader leaves it out; {_ALLOWED}"
            )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    unused = set() if _converted(architecture) else tensors.keys() - _used(model, architecture, tensors.keys())
    for name in sorted(unused - {_FREQUENCIES}):
        raise ModelError(f"{named}: the GGUF's tensor {name} has no place in the loaded model; {_ALLOWED}")
    if divisor := _linear(scaling, architecture, named):
        _divide_frequencies(model, torch.tensor(divisor), f"{named}: the GGUF's key {architecture}.rope.scaling.factor")
    if (found := tensors.get(_FREQUENCIES)) is not None:
        by = torch.tensor(found.data, dtype=torch.float32)
        _divide_frequencies(model, by, f"{named}: the GGUF's tensor {_FREQUENCIES}")
    return _token_doubts(tokenizer, reader.fields)


def _token_doubts(tokenizer: Any, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """What the file says of cutting text that transformers' tokenizer does not do: other ids than the model knows."""
    from transformers.integrations.gguf import gguf_tokenizer_mapping

    told = {key: fields[f"tokenizer.ggml.{key}"].contents() for key in _CUTS if f"tokenizer.ggml.{key}" in fields}
    known = {"default", "gpt-2", *gguf_tokenizer_mapping.GGUF_PRE_TOKENIZER_SPLITS}
    found = []
    if told.get("model") == "gpt2" and told.get("pre", "default") not in known:
        found.append(("pre", "text is cut by GPT-2's rule"))
    if told.get("model") == "llama" and "add_space_prefix" in told:
        first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False).input_ids)[0]
        if first.startswith("▁") != told["add_space_prefix"]:
            found.append(("add_space_prefix", f"the text 'a' begins with the token {first!r}"))
    return tuple(
        f"the GGUF's key tokenizer.ggml.{key}={told[key]} is not used by transformers' tokenizer: {but}, and prompts "
        "may have other ids than the model was trained on"
        for key, but in found
    )


def _in_model(key: str, config: Any, architecture: str) -> Any:
    """What the model has for a key: by our table, else by the name that transformers' reader gives it."""
    if key in _IN_CONFIG:
        return _IN_CONFIG[key](config)
    from transformers.integrations import ggml

    names: Any = ggml.GGUF_CONFIG_MAPPING
    name = names.get(architecture, {}).get(key)
    return None if name is None else getattr(config, name, None)


def _converted(architecture: str) -> bool:
    """Whether transformers has written out what each key and tensor of an architecture becomes (LFM2, Qwen3.5)."""
    from transformers.integrations.gguf import gguf_config_mapping

    return architecture in gguf_config_mapping.GGUF_CONFIG_ARCHS


def _is_read(key: str, value: Any, config: Any, architecture: str) -> bool:
    if key in _WITHOUT_EFFECT or (value == 0 and key.endswith(("_count", "_length"))):  # 0: it has no such part
        return True
    have = _in_model(key, config, architecture)
    if have is None and _converted(architecture):
        return True
    if isinstance(value, float) and isinstance(have, int | float):
        return bool(abs(value - have) <= 1e-6 * max(abs(value), abs(have)))  # a file holds float32
    if isinstance(value, list):
        return value == have if isinstance(have, list) else set(value) - {0} == {have}  # 0: a layer without the part
    return bool(have == value) or (have is None and not value)


def _linear(scaling: Mapping[str, Any], architecture: str, named: str) -> float | None:
    """By what linear scaling divides the rotary frequencies; None where nothing does."""
    kind = str(scaling.get("rope.scaling.type", "linear"))
    factor = float(scaling.get("rope.scaling.factor", scaling.get("rope.scale_linear", 1.0)))
    if kind == "none" or factor in (0.0, 1.0):
        return None
    if kind != "linear":
        raise ModelError(f"{named}: the GGUF's key {architecture}.rope.scaling.type={kind} is not read; {_ALLOWED}")
    return factor


def _divide_frequencies(model: Any, by: torch.Tensor, what: str) -> None:
    """Divide the rotary frequencies of a model that has one set of them. Raises ModelError for another."""
    owners = [(module, dict(module.named_buffers(recurse=False))) for module in model.modules()]
    found = [(module, name, t) for module, own in owners for name, t in own.items() if name.endswith("inv_freq")]
    names = sorted(name for _, name, _ in found)
    if names not in (["inv_freq"], ["inv_freq", "original_inv_freq"]) or by.numel() not in (1, found[0][2].numel()):
        raise ModelError(f"{what} cannot be applied to the rotary frequencies of this model; {_ALLOWED}")
    for module, name, frequencies in found:
        setattr(module, name, frequencies / by.to(frequencies.device, frequencies.dtype))


def _used(model: Any, architecture: str, names: Any) -> set[str]:
    """The tensors of a file that the model has a place for; those of experts are packed otherwise there, and pass."""
    import gguf

    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(kinds[architecture], model.config.get_text_config().num_hidden_layers)
    used = {name for name in names if "_exps" in name or "_shexp" in name or "_projs" in name}
    for parameter in (*model.state_dict(), *model.base_model.state_dict()):
        stem, _, suffix = parameter.rpartition(".")
        for whole, tail in ((stem, f".{suffix}"), (parameter, "")):
            if found := table.get_name(whole):
                used |= {f"{found}{tail}"}
    return used


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
