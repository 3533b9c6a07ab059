"""Runs with human continuations and a scorer: what they leave, and what the next command makes of it."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from decodebench.errors import ConfigError, DecodebenchError, ModelError, StoreError
from decodebench.models import loading as models
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import decode
from decodebench.plan.cells import plan
from decodebench.plan.config import job_config
from decodebench.reading import passes, read_run
from decodebench.records import HUMAN, Generation, Reading
from decodebench.run import RunFailedError, execute
from decodebench.store.tables import read_records, write_records
from launches import compose, launch, manifest, one_thread, texts, without_report
from plain_reading import CLOSE, assert_same, item, plainly

PROMPTS = (
    {"id": "ko", "text": "오늘은 비가", "reference": " 와서 창밖을 오래 바라보았다."},
    {"id": "none", "text": "She"},
    {"id": "en", "text": "The old boat", "reference": " moved."},
)
Run = Callable[..., str]

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    lines = "".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in PROMPTS)
    Path("prompts.jsonl").write_text(lines, encoding="utf-8")
    without_report(monkeypatch)


@pytest.fixture
def good(tiny_dirs: dict[str, Path]) -> list[str]:
    """The arguments of a small run, without a strategy."""
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x"]


@pytest.fixture
def run(good: list[str]) -> Run:
    """Run a grid without Hydra, each job given by its overrides; returns what was said."""

    def run(*jobs: str, also: Sequence[str] = ()) -> str:
        said: list[str] = []
        execute(plan([job_config(compose(*good, *also, *job.split())) for job in jobs]), echo=said.append)
        return "\n".join(said)

    return run


def references(name: str = "x") -> list[Generation]:
    return read_records(Path("results", name, "references.parquet"), Generation, optional=True)


def readings(name: str = "x") -> list[Reading]:
    return read_records(Path("results", name, "readings.parquet"), Reading, optional=True)


def all_texts(name: str = "x") -> list[Generation]:
    return [*texts(name), *references(name)]


def assert_read_by_itself(name: str = "x") -> None:
    """Every text and reference, in their order, with the very tokens and the log-probs that are stored with it."""
    read, written = readings(name), all_texts(name)
    assert [(r.cell, r.prompt_id, r.sample) for r in read] == [(g.cell, g.prompt_id, g.sample) for g in written]
    for reading, text in zip(read, written, strict=True):
        assert (reading.scorer, reading.token_ids) == ("self", text.token_ids)
        assert reading.token_logprobs == pytest.approx(text.token_logprobs, abs=1e-4)
        assert len(reading.token_entropies) == len(text.token_ids)
        assert all(entropy >= 0 for entropy in reading.token_entropies)
        assert (len(reading.embedding), len(reading.prompt_embedding)) == (48 if text.content_ids else 0, 48)


# --- references -----------------------------------------------------------------------------------------------------


def test_references_are_texts_of_a_cell_of_their_own(run: Run, tiny_models: dict[str, LoadedModel]) -> None:
    run("strategy=greedy", "strategy=top_p", "strategy=top_p seed=1")
    llama = tiny_models["llama"]
    (entry,) = manifest()["references"]
    assert entry["id"].startswith("human-")
    assert (entry["model"], entry["prompts"], entry["strategy"]) == ("local", "file", HUMAN)
    ko, en = references()
    for text, prompt in ((ko, PROMPTS[0]), (en, PROMPTS[2])):
        assert (text.cell, text.model, text.strategy) == (entry["id"], "local", HUMAN)
        assert (text.prompt_id, text.prompt, text.sample) == (prompt["id"], prompt["text"], 0)
        assert (text.finish_reason, text.is_search, text.score) == ("end", False, None)
        ids = tuple(llama.tokenizer(prompt["reference"], add_special_tokens=False).input_ids)
        assert text.token_ids == ids[:8]
        before = len(llama.tokenizer(prompt["text"]).input_ids)
        assert (text.delivered_tokens, text.computed_tokens) == (len(ids[:8]), before + len(ids[:8]))
    assert ko.text == decode(llama, ko.token_ids)
    assert str(PROMPTS[0]["reference"]).startswith(ko.text.rstrip("�"))
    assert en.text == " moved."
    assert len(en.token_ids) < len(ko.token_ids) == 8, "one is cut, the other is not"


def test_log_probs_of_references_are_those_of_the_generating_model(
    run: Run, tiny_models: dict[str, LoadedModel]
) -> None:
    run("strategy=greedy", also=["prompts.template='She said {text}'"])
    llama = tiny_models["llama"]
    for text in references():
        prompt_ids = llama.tokenizer(f"She said {text.prompt}").input_ids
        expected = plainly(llama, item(text.token_ids, prompt_ids))
        assert text.token_logprobs == pytest.approx(expected.token_logprobs, **CLOSE)


def _ids(loaded: LoadedModel, text: str) -> tuple[int, ...]:
    return tuple(loaded.tokenizer(text, add_special_tokens=False).input_ids)


def test_references_are_cut_to_the_longest_cell_that_did_not_fail(run: Run) -> None:
    run("strategy=greedy")
    assert references()[0].delivered_tokens == 8
    short = references()
    run("strategy=greedy", "strategy=greedy strategy.max_new_tokens=11")
    assert references()[0].delivered_tokens == 11
    assert references()[1] == short[1]
    with pytest.raises(RunFailedError):
        run("strategy=greedy", "strategy=greedy strategy.max_new_tokens=190", also=["name=y"])
    assert references("y")[0].delivered_tokens == 8
    total = ["name=z", "strategy.max_new_tokens=null", "strategy.max_total_tokens=17"]
    run("strategy=greedy", also=total)  # 10 tokens of the prompt
    assert references("z")[0].delivered_tokens == 7


def test_nothing_without_references(run: Run) -> None:
    Path("prompts.jsonl").write_text(json.dumps(PROMPTS[1]) + "\n", encoding="utf-8")
    run("strategy=greedy")
    assert manifest()["references"] == manifest()["unread"] == []
    assert manifest()["scorer"] is None
    assert "references" not in manifest()["seconds"]
    assert not {"references.parquet", "readings.parquet", "readings"} & {
        path.name for path in Path("results/x").iterdir()
    }


def test_references_that_are_there_are_not_read_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("strategy=greedy")
    before = Path("results/x/references.parquet").read_bytes()
    monkeypatch.setattr("decodebench.decoding.references.read_texts", lambda *items, **named: pytest.fail("read again"))
    run("strategy=greedy", "strategy=top_p")
    assert Path("results/x/references.parquet").read_bytes() == before
    assert len(manifest()["references"]) == 1


def test_each_model_and_prompt_set_has_its_own(run: Run, good: list[str], tiny_dirs: dict[str, Path]) -> None:
    gpt2 = f"strategy=greedy model.path={tiny_dirs['gpt2']}"
    run("strategy=greedy", also=["scorer.id=self"])
    first = references()
    run("strategy=greedy", gpt2, "strategy=greedy prompts.limit=1", also=["scorer.id=self"])
    found = manifest()["references"]
    paths = [f"local path={tiny_dirs[arch]}" for arch in ("llama", "gpt2", "llama")]
    assert [entry["model"] for entry in found] == paths
    assert [entry["prompts"] for entry in found] == ["file limit=null", "file limit=null", "file limit=1"]
    assert len({entry["id"] for entry in found}) == 3
    assert {g.cell: g.model for g in references()} == {e["id"]: e["model"] for e in found}
    assert [g.token_logprobs for g in references()][:2] == [g.token_logprobs for g in first]
    assert len(references()) == 2 + 2 + 1
    order = [e["id"] for e in (*manifest()["cells"], *found)]
    assert [*dict.fromkeys(r.cell for r in readings())] == order
    for reading, text in zip(readings(), sorted(all_texts(), key=lambda g: order.index(g.cell)), strict=True):
        assert reading.token_logprobs == pytest.approx(text.token_logprobs, abs=1e-4)


def test_one_cell_after_the_other_gives_the_same(good: list[str]) -> None:
    grid = ["-m", *good, "strategy=greedy,top_p", "strategy.max_new_tokens=11,8", "scorer.id=self"]
    assert launch(*grid).code == 0
    assert launch(*grid, "hydra/launcher=basic", "name=serial").code == 0
    one, other = manifest(), manifest("serial")
    assert one["references"] == other["references"]
    assert one["scorer"] == other["scorer"] == {"id": "self", "fingerprint": None, "dtype": None}
    assert [(g.cell, g.prompt_id, g.token_ids) for g in references()] == [
        (g.cell, g.prompt_id, g.token_ids) for g in references("serial")
    ]
    for name in ("x", "serial"):
        assert_read_by_itself(name)


# --- the generating model as scorer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["gpt1", "gpt2", "gptj", "llama", "gemma3"])
def test_a_model_reads_what_it_generated(run: Run, arch: str, tiny_dirs: dict[str, Path]) -> None:
    also = ["scorer.id=self", f"model.path={tiny_dirs[arch]}", "prompts.template='She said {text}'"]
    run("strategy=beam", "strategy=top_p strategy.max_new_tokens=40", also=also)
    assert {"eos", "length"} == {g.finish_reason for g in texts()}
    assert_read_by_itself()
    assert not Path("results/x/readings").exists()


def test_readings_that_are_there_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("strategy=greedy", also=["scorer.id=self"])
    before = readings()
    read: list[int] = []
    real = passes.read_texts
    monkeypatch.setattr(
        passes, "read_texts", lambda loaded, items, **k: read.append(len(items)) or real(loaded, items, **k)
    )
    run("strategy=greedy", also=["scorer.id=self"])
    assert (read, readings()) == ([], before)
    run("strategy=greedy", "strategy=top_p", also=["scorer.id=self"])
    assert read == [9]
    assert_read_by_itself()
    run("strategy=greedy", "strategy=top_p")
    assert manifest()["scorer"]["id"] == "self"
    assert_read_by_itself()


def test_a_killed_pass_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = passes.read_texts

    def killed(loaded: Any, items: Any, **named: Any) -> Any:
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(items[0].cell)
        return real(loaded, items, **named)

    grid = ("strategy=greedy", "strategy=top_p", "strategy=beam")
    monkeypatch.setattr(passes, "read_texts", killed)
    with pytest.raises(KeyboardInterrupt):
        run(*grid, also=["scorer.id=self"])
    assert len(list(Path("results/x/readings").iterdir())) == 2
    assert Path("results/x/journal.jsonl").exists(), "no text is lost"
    again: list[str] = []
    monkeypatch.setattr(
        passes, "read_texts", lambda loaded, items, **k: again.append(items[0].cell) or real(loaded, items, **k)
    )
    run(*grid, also=["scorer.id=self"])
    assert manifest()["counts"]["requests_decoded"] == 0
    assert len(again) == 2
    assert not set(again) & set(read)
    assert_read_by_itself()


def test_texts_stay_where_reading_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        raise ModelError("the logits are NaN in prompt ko")

    monkeypatch.setattr(passes, "read_texts", broken)
    monkeypatch.setattr("decodebench.decoding.references.read_texts", broken)
    with pytest.raises(
        RunFailedError, match=r"^the texts are in results/x, but not all could be read again: the logits"
    ):
        run("strategy=greedy", also=["scorer.id=self"])
    assert len(texts()) == 3
    assert (references(), readings(), manifest()["references"]) == ([], [], [])
    assert manifest()["status"] == "complete"
    assert [u["cell"][:6] for u in manifest()["unread"]] == ["human-", texts()[0].cell[:6]]
    monkeypatch.undo()


# --- another scorer -------------------------------------------------------------------------------------------------


def test_another_scorer_reads_with_its_own_tokens(
    run: Run, tiny_dirs: dict[str, Path], tiny_models: dict[str, LoadedModel]
) -> None:
    gpt2 = tiny_models["gpt2"]  # without <bos> before a prompt
    before = models.loads()
    run("strategy=greedy", "strategy=top_p", also=[f"scorer.id={tiny_dirs['gpt2']}", "prompts.template='Hm. {text}'"])
    assert models.loads()[len(before) :][-1] == str(tiny_dirs["gpt2"])
    told = json.loads(json.dumps(asdict(gpt2.identity)))
    assert manifest()["scorer"] == {"id": str(tiny_dirs["gpt2"])} | told
    read = {(r.cell, r.prompt_id, r.sample): r for r in readings()}
    assert len(read) == len(all_texts())
    for text in all_texts():
        reading = read[text.cell, text.prompt_id, text.sample]
        assert reading.token_ids == _ids(gpt2, text.text)
        prompt_ids = _ids(gpt2, f"Hm. {text.prompt}")
        one = item(reading.token_ids, prompt_ids, prompt_id=text.prompt_id, cell=text.cell, sample=text.sample)
        assert_same(reading, replace(plainly(gpt2, one), scorer=str(tiny_dirs["gpt2"])))


def test_a_chat_template_is_not_for_another_scorer(run: Run, tiny_dirs: dict[str, Path]) -> None:
    also = [f"model.path={tiny_dirs['gemma3']}", f"scorer.id={tiny_dirs['llama']}"]
    run("strategy=greedy", also=[*also, "prompts.template=chat"])
    with_chat = readings()
    Path("results/x").rename("results/y")
    run("strategy=greedy", also=also)
    for one, plain in zip(with_chat[-2:], readings()[-2:], strict=True):  # the references are the same texts
        assert one.token_logprobs == pytest.approx(plain.token_logprobs)


def test_a_scorer_with_a_short_context_names_the_prompt(run: Run, tiny_dirs: dict[str, Path]) -> None:
    short = shutil.copytree(tiny_dirs["gpt2"], Path("short"))
    config = json.loads((short / "config.json").read_text())
    weights = load_file(short / "model.safetensors")
    weights["transformer.wpe.weight"] = weights["transformer.wpe.weight"][:14].clone()
    save_file(weights, short / "model.safetensors", metadata={"format": "pt"})
    (short / "config.json").write_text(json.dumps(config | {"n_positions": 14}))
    with pytest.raises(
        RunFailedError, match=r"scorer\.id=short: prompt ko has 9 tokens and the text after it \d+, more"
    ):
        run("strategy=greedy", also=["scorer.id=short"])
    assert len(manifest()["unread"]) == 2
    assert "allowed is one with a longer context, or shorter texts" in manifest()["unread"][0]["error"]
    assert len(texts()) == 3


def test_a_scorer_that_cannot_be_loaded_loses_no_text(run: Run) -> None:
    with pytest.raises(
        RunFailedError, match=r"all could be read again: scorer\.id=no/where: could not be loaded; allow"
    ):
        run("strategy=greedy", also=["scorer.id=no/where"])
    assert len(texts()) == 3
    assert [u["cell"] for u in manifest()["unread"]] == [None]
    assert manifest()["scorer"] is None


# --- a stored run ---------------------------------------------------------------------------------------------------


def test_a_stored_run_is_read_by_its_model(run: Run, tiny_dirs: dict[str, Path]) -> None:
    run("strategy=greedy", "strategy=top_p", also=["prompts.template='{text},'"])
    before = manifest()
    read_run(Path("results/x"), "self")
    assert_read_by_itself()
    scorer = {"id": "self", "fingerprint": None, "dtype": None}
    assert manifest() == before | {"scorer": scorer, "unread": []}
    read_run(Path("results/x"), str(tiny_dirs["gpt2"]), dtype="bfloat16")
    assert manifest()["scorer"]["id"] == str(tiny_dirs["gpt2"])
    assert manifest()["scorer"]["dtype"] == "bfloat16"
    assert {r.scorer for r in readings()} == {str(tiny_dirs["gpt2"])}
    assert len(readings()) == len(all_texts())


def test_reading_a_stored_run_with_other_weights_is_refused(run: Run, tiny_dirs: dict[str, Path]) -> None:
    copy = shutil.copytree(tiny_dirs["llama"], Path("copy"))
    run("strategy=greedy", also=["model.path=copy"])
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"] *= 2
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    models.release()
    with pytest.raises(StoreError, match=r"^scorer\.id=self: model=local has other weights now"):
        read_run(Path("results/x"), "self")
    assert not Path("results/x/readings.parquet").exists()
    read_run(Path("results/x"), "copy")
    assert len(readings()) == 5


def test_texts_without_a_model_have_no_self_to_read_them(run: Run, tiny_dirs: dict[str, Path]) -> None:
    """As the texts of a file: no tokens, no model, and prompts that may be empty."""
    run("strategy=greedy")
    path = Path("results/x/manifest.json")
    path.write_text(json.dumps(manifest() | {"models": {"local": {"source": "texts.jsonl"}}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^scorer\.id=self: these texts have no model of their own; allowed is a "):
        read_run(Path("results/x"), "self")
    bare = [
        replace(g, token_ids=(), token_logprobs=(), token_margins=None, finish_reason="end", prompt="") for g in texts()
    ]
    write_records(Path("results/x/generations.parquet"), Generation, [*bare[:2], replace(bare[2], text="")])
    read_run(Path("results/x"), str(tiny_dirs["gpt2"]))
    some, other, empty = readings()[:3]
    assert len(some.token_logprobs) == len(some.token_ids) > 0
    assert (some.prompt_embedding, len(some.embedding)) == ((), 48)
    assert (empty.token_ids, empty.embedding) == ((), ())
    assert other.prompt_id == "none"


def test_what_is_no_run_or_no_scorer(run: Run) -> None:
    for scorer, message in (("self", "there is no such folder"), ("./nowhere", "there is no such file or folder")):
        with pytest.raises(DecodebenchError, match=message):
            read_run(Path("results/none"), scorer)


def test_readings_that_are_cut_off_are_named(run: Run) -> None:
    run("strategy=greedy", also=["scorer.id=self"])
    path = Path("results/x/readings.parquet")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"readings.parquet: cannot be read, is it cut off\? delete it "):
        read_run(Path("results/x"), "self")
    path.unlink()
    read_run(Path("results/x"), "self")
    assert_read_by_itself()
