"""A second model of the same tokens whose head is padded to another height (Qwen2.5 7B and 0.5B), both ways."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from decodebench.deploy.generate import custom_generate
from decodebench.errors import ConfigError
from decodebench.models import ModelConfig, load, load_second, vocabulary
from decodebench.models.loading import release
from decodebench.records import Generation
from decodebench.strategies import ContrastiveDecoding
from launches import launch, manifest, one_thread, texts, without_report, write_prompts
from tiny import build_model, build_tokenizer

ROWS = {"narrow": 400, "wide": 416}
"""400 tokens, in a head of as many rows, and in one with 16 more."""


@pytest.fixture(autouse=True)
def _no_model_left_behind() -> Any:
    yield from one_thread()
    release()


def save(folder: Path, rows: int, seed: int) -> Path:
    """A tiny Llama whose first 400 rows are the same whatever `rows` is; what pads it is small."""
    tokenizer = build_tokenizer("llama")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = build_model("llama", len(tokenizer))
    wide: PreTrainedModel = build_model("llama", rows)
    state = model.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        pad = torch.full((rows - len(tokenizer), state[name].shape[1]), 1e-3)
        state[name] = torch.cat([state[name], pad])
    wide.load_state_dict(state)
    wide.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def local(folder: Path, **values: Any) -> ModelConfig:
    return ModelConfig(name="local", source="local", path=str(folder), device="cpu", **values)


def decoded(*arguments: str, name: str) -> dict[tuple[str, str, int], Generation]:
    done = launch("prompts=file", "prompts.path=prompts.jsonl", "latency=skip", f"name={name}", *arguments)
    assert done.code == 0, done.err
    assert manifest(name)["failed"] == []
    return {(one.strategy.split()[0], one.prompt_id, one.sample): one for one in texts(name)}


@pytest.mark.parametrize(("model", "draft"), [("narrow", "wide"), ("wide", "narrow")])
def test_a_draft_with_another_padding_gives_greedys_tokens(
    model: str, draft: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_report(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path)
    save(tmp_path / model, ROWS[model], seed=1)
    save(tmp_path / draft, ROWS[draft], seed=2)
    where = ("-m", "model=local", f"model.path={model}", "strategy.max_new_tokens=12")
    plain = decoded(*where, "strategy=greedy", name="plain")
    for sampled in ("false", "true"):
        drafts = (f"strategy.draft={draft}", f"strategy.do_sample={sampled}")
        drafted = decoded(*where, "strategy=assisted", *drafts, name=f"drafted_{sampled}")
        if sampled == "false":
            same = {("greedy", *key[1:]): one.token_ids for key, one in drafted.items()}
            assert same == {key: one.token_ids for key, one in plain.items()}
        assert all(one.drafted_tokens for one in drafted.values())


@pytest.mark.parametrize("padded", ["narrow", "wide"])
def test_an_amateur_says_the_same_whatever_pads_it(
    padded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_report(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path)
    save(tmp_path / "model", ROWS[padded], seed=1)
    # Of the same height as the model, and of the other: the rows of the tokens are the same.
    for name, rows in ROWS.items():
        save(tmp_path / name, rows, seed=2)
    found = {
        name: decoded(
            *("-m", "model=local", "model.path=model", "strategy.max_new_tokens=12", "strategy=contrastive_decoding"),
            f"strategy.amateur={name}",
            name=name,
        )
        for name in ROWS
    }
    assert {k: t.token_ids for k, t in found["narrow"].items()} == {k: t.token_ids for k, t in found["wide"].items()}


def test_a_callable_takes_a_second_model_with_another_padding(tmp_path: Path) -> None:
    model = load(local(save(tmp_path / "model", ROWS["narrow"], seed=1))).model
    save(tmp_path / "narrow", ROWS["narrow"], seed=2)
    save(tmp_path / "wide", ROWS["wide"], seed=2)
    ids = torch.tensor([[5, 6, 7]])
    out = []
    for name in ROWS:
        second: Any = type(model).from_pretrained(tmp_path / name).eval()
        rule = ContrastiveDecoding(amateur=str(tmp_path / name), max_new_tokens=8)
        out.append(
            model.generate(ids, max_new_tokens=8, custom_generate=custom_generate(rule, second_model=second)).tolist()
        )
        assert not second._forward_hooks  # the caller's own model stays as it was
    assert out[0] == out[1]


def test_ids_that_the_second_model_lacks_are_its_least_likely_ones_and_can_be_fed(tmp_path: Path) -> None:
    loaded = load(local(save(tmp_path / "wide", ROWS["wide"], seed=1)))
    second = load_second(str(save(tmp_path / "narrow", ROWS["narrow"], seed=2)), loaded)
    with torch.inference_mode():
        logits = second(torch.tensor([[5, 410]])).logits
        last = second(torch.tensor([[5, 399]])).logits
    assert logits.shape[-1] == 416
    assert torch.equal(logits[..., 400:], logits[..., :400].amin(-1, keepdim=True).expand(1, 2, 16))
    assert torch.equal(logits, last)  # an id that it has no row for is read as its last one
    assert vocabulary(second) == 400


def test_a_second_model_without_a_row_for_each_token_is_refused(tmp_path: Path) -> None:
    loaded = load(local(save(tmp_path / "wide", ROWS["wide"], seed=1)))
    build_model("llama", 390).save_pretrained(tmp_path / "short")
    build_tokenizer("llama").save_pretrained(tmp_path / "short")
    with pytest.raises(ConfigError, match=r"has 390 embeddings, and none for the token 399") as caught:
        load_second(str(tmp_path / "short"), loaded, "strategy.draft")
    assert str(caught.value).startswith("strategy.draft=")
