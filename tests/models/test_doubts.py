"""What is odd about a model that loads all the same: tokenizer class, prompts' special tokens, a head without a word.

Each was silent before: the run was decoded from other ids than the model was made for, or from noise.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from decodebench.errors import DecodebenchError, ModelError
from decodebench.models import ModelConfig, encode, load, prompt_doubts
from decodebench.models.config import check_config
from decodebench.models.doubts import PROBES, tokenizer_doubts
from decodebench.models.loading import release
from tiny import BOS_ID, EOS_ID, SENTENCES, build_tiny


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Any:
    yield
    release()


def local(folder: Path, **values: Any) -> ModelConfig:
    return ModelConfig(**{"name": "local", "source": "local", "path": str(folder), "device": "cpu"} | values)


def set_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def digits_one_by_one(folder: Path) -> None:
    """A tokenizer.json that cuts digits one by one, as Llama 2 and Qwen do, with merges that GPT-2's cut would use."""
    bpe = Tokenizer(models.BPE())
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.pre_tokenizer = gpt2
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=398,
        special_tokens=["<bos>", "<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*SENTENCES, *["2023 2023 2023"] * 9], trainer)
    single = pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([single, gpt2])
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)


# --- the class of the tokenizer -------------------------------------------------------------------------------------


def test_a_class_that_cuts_otherwise_than_tokenizer_json_is_named_with_both_cuts(tmp_path: Path) -> None:
    build_tiny("gpt2", tmp_path)
    digits_one_by_one(tmp_path)
    assert load(local(tmp_path)).warnings == ()
    release()
    set_json(tmp_path / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    loaded = load(local(tmp_path))
    (warning,) = loaded.warnings
    # GPT-2's class has its own rule for digits: 2023 is merged, where the file cuts 2, 0, 2, 3
    own = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(PROBES[0], add_special_tokens=False).ids
    theirs = loaded.tokenizer(PROBES[0], add_special_tokens=False).input_ids
    assert own != theirs
    for part in ("GPT2Tokenizer", PROBES[0], "tokenizer.json", str(theirs)[:-1].strip("["), f"({len(own)} in all)"):
        assert part in warning


def test_a_class_that_leaves_out_the_special_tokens_of_tokenizer_json_is_named(tmp_path: Path) -> None:
    build_tiny("llama", tmp_path)
    loaded = load(local(tmp_path))
    assert loaded.warnings == ()
    # as a class does that builds its own post-processor: the ids of the words agree, <bos> is missing
    loaded.tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    (doubt,) = tokenizer_doubts(loaded.tokenizer, tmp_path / "tokenizer.json")
    assert PROBES[0] in doubt
    # whoever sets add_bos_token wants it so
    loaded.tokenizer.init_kwargs["add_bos_token"] = False
    assert tokenizer_doubts(loaded.tokenizer, tmp_path / "tokenizer.json") == ()


def test_a_class_that_agrees_is_no_doubt(tmp_path: Path) -> None:
    build_tiny("gpt2", tmp_path)
    set_json(tmp_path / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    assert load(local(tmp_path)).warnings == ()


# --- special tokens at the edges of a prompt ------------------------------------------------------------------------


def doubts(loaded: Any, text: str, template: str | None = None) -> tuple[str, ...]:
    others = encode(loaded, "another", template)
    return prompt_doubts(loaded.tokenizer, text, template, encode(loaded, text, template), loaded.eos_ids, others)


def test_an_end_token_that_the_post_processor_puts_behind_each_prompt(tmp_path: Path) -> None:
    build_tiny("gpt2", tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", EOS_ID)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (doubt,) = doubts(load(local(tmp_path)), "오늘은 비가")
    assert f"end with an end token (id {EOS_ID})" in doubt
    assert "add_eos_token" in doubt
    assert "post_processor" in doubt


@pytest.mark.parametrize(
    ("text", "template", "parts"),
    [
        ("비 <eos>", None, (f"id {EOS_ID}", "stands in the prompt's text")),
        ("비", "{text}<eos>", (f"id {EOS_ID}", "prompts.template writes it")),
        ("<bos>비", None, (f"ids {BOS_ID}, {BOS_ID}", "stands in the prompt's text")),
        ("비", "<bos>{text}", (f"ids {BOS_ID}, {BOS_ID}", "prompts.template writes it")),
    ],
)
def test_a_pasted_special_token_is_named_with_who_wrote_it(
    text: str, template: str | None, parts: tuple[str, ...], tiny_dirs: dict[str, Path]
) -> None:
    (doubt,) = doubts(load(local(tiny_dirs["llama"])), text, template)
    assert all(part in doubt for part in parts)


def test_a_chat_template_that_writes_bos_twice_or_ends_a_turn(tiny_dirs: dict[str, Path]) -> None:
    loaded = load(local(tiny_dirs["gemma3"]))
    assert doubts(loaded, "비", "chat") == ()
    before = loaded.tokenizer.chat_template
    loaded.tokenizer.chat_template = "{{ bos_token }}" + before
    (doubt,) = doubts(loaded, "비", "chat")
    assert "two BOS" in doubt
    assert "chat_template" in doubt
    loaded.tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}"
    (doubt,) = doubts(loaded, "비", "chat")
    assert "end with an end token" in doubt


def test_a_chat_template_that_leaves_the_text_out(tiny_dirs: dict[str, Path]) -> None:
    loaded = load(local(tiny_dirs["gemma3"]))
    loaded.tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['role'] }}: "
    (doubt,) = doubts(loaded, "비", "chat")
    assert doubt.startswith("are left out by the tokenizer's chat template, so that all are the same; ")
    loaded.tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] | trim | upper }}"
    assert doubts(loaded, " it rains ", "chat") == ()


def test_a_prompt_that_is_nothing_but_the_bos_is_no_doubt_though_it_is_an_end_token_too(gpt2_like: Any) -> None:
    # GPT-2 has one token for both: a text without a prompt begins with it
    assert doubts(gpt2_like, "<eos>") == ()
    assert len(doubts(gpt2_like, "비<eos>")) == 1


@pytest.fixture
def gpt2_like(tmp_path: Path) -> Any:
    build_tiny("gpt2", tmp_path)
    return load(local(tmp_path, tokenizer={"bos_token": "<eos>"}))


# --- the head -------------------------------------------------------------------------------------------------------


def edit_head(folder: Path, edit: Any) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = edit(weights["lm_head.weight"])
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("edit", [torch.zeros_like, lambda head: head[:1].expand_as(head).contiguous()])
def test_uniform_logits_are_said(edit: Any, tmp_path: Path) -> None:
    edit_head(build_tiny("llama", tmp_path), edit)
    (warning,) = load(local(tmp_path)).warnings
    assert "uniform" in warning


def test_a_flat_head_that_still_chooses_is_not_uniform(tmp_path: Path) -> None:
    edit_head(build_tiny("llama", tmp_path), lambda head: head * 1e-2)
    assert load(local(tmp_path)).warnings == ()


@pytest.mark.parametrize("rows", [380, 420])
def test_a_head_of_another_height_than_the_embeddings_is_named(rows: int, tmp_path: Path) -> None:
    edit_head(build_tiny("llama", tmp_path), lambda head: torch.nn.functional.pad(head, (0, 0, 0, rows - len(head))))
    check_config(local(tmp_path))
    with pytest.raises(ModelError) as caught:
        load(local(tmp_path))
    message = str(caught.value)
    for part in ("lm_head.weight", f"[{rows}, 48]", "[400, 48]"):
        assert part in message
    assert "\n" not in message


# --- a model that cannot be run -------------------------------------------------------------------------------------


def test_a_model_that_fails_on_any_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of a model's own may raise anything, such as an IndexError that says nothing of which model it was."""

    def forward(*_: object, **__: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr("transformers.GPT2LMHeadModel.forward", forward)
    with pytest.raises(DecodebenchError) as error:
        load(local(build_tiny("gpt2", tmp_path)))
    assert str(error.value) == ("model=local: the model cannot read a few tokens (IndexError: list index out of range)")
