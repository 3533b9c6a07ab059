"""One name, and what it names has changed: what a run does not go on with, what it reads again, what it adds."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from decodebench.errors import ConfigError, ModelError, StoreError
from decodebench.models import loading as models
from decodebench.plan.cells import plan
from decodebench.plan.config import job_config
from decodebench.reading import passes, read_run
from decodebench.records import Generation, Reading, StoredPrompt, Timing
from decodebench.run import RunFailedError, execute, stages
from decodebench.store.tables import read_records, write_records
from launches import PROMPTS, compose, manifest, one_thread, texts, without_report, write_prompts
from tiny import CHAT_TEMPLATE

Run = Callable[..., None]
DATED = "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }} " + CHAT_TEMPLATE
DRAWN = "{{ range(100000) | random }} " + CHAT_TEMPLATE

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def copy(tmp_path: Path, tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder that a test may change; the working folder has prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    write_prompts(tmp_path)
    without_report(monkeypatch)
    return Path(shutil.copytree(tiny_dirs["gemma3"], "copy"))


@pytest.fixture
def run() -> Run:
    """Run a grid without Hydra, each job given by its overrides."""

    def run(*jobs: str, also: Sequence[str] = (), adds: bool = False) -> None:
        models.release()
        good = ["model=local", "model.path=copy", "latency=skip", "prompts=file", "prompts.path=prompts.jsonl"]
        good += ["strategy.max_new_tokens=6", "name=x", *also]
        execute(plan([job_config(compose(*good, *job.split())) for job in jobs]), adds=adds, echo=lambda said: None)

    return run


def edit(path: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def other_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_template(folder: Path, template: str = CHAT_TEMPLATE + "Well: ") -> None:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


CHANGES: dict[str, Callable[[Path], None]] = {
    "weights": other_weights,
    "config": lambda folder: edit(folder / "config.json", rms_norm_eps=0.1),
    "tokenizer": lambda folder: edit(folder / "tokenizer.json", normalizer={"type": "Lowercase"}),
    "end tokens": lambda folder: edit(folder / "generation_config.json", eos_token_id=[1, 300]),
    "chat template": other_template,
}


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}


def readings() -> list[Reading]:
    return read_records(Path("results/x/readings.parquet"), Reading)


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", CHANGES)
def test_a_run_does_not_go_on_with_another_model_of_this_name(part: str, copy: Path, run: Run) -> None:
    """Greedy and assisted are equal by definition: beside old texts of greedy, new ones of assisted were not. The same
    of a scorer that is the model itself: it would read what was never fed."""
    run("strategy=greedy", also=["prompts.template=chat"])
    before = files()
    CHANGES[part](copy)
    refused = f"^name=x: results/x was made with other {part} of model=local \\(.+ -> .+\\); to start afresh choose"
    for grid in (["strategy=greedy", "strategy=assisted"], ["strategy=greedy"], ["strategy=greedy scorer.id=self"]):
        with pytest.raises(StoreError, match=refused):
            run(*grid, also=["prompts.template=chat"])
    models.release()
    with pytest.raises(StoreError, match=f"^scorer.id=self: model=local has other {part} now than when it generated"):
        read_run(Path("results/x"), "self")
    assert files() == before


def test_a_change_of_several_parts_names_all_of_them(copy: Path, run: Run) -> None:
    run("strategy=greedy")
    CHANGES["config"](copy)
    CHANGES["end tokens"](copy)
    with pytest.raises(
        StoreError, match=r"other config, end tokens of .*rms_norm_eps 1e-06 -> 0.1; eos_ids \[1\] -> \[1, 300\]"
    ):
        run("strategy=greedy")


def test_a_launcher_that_hands_over_one_cell_after_the_other_is_refused_too(copy: Path, run: Run) -> None:
    run("strategy=greedy", adds=True)
    CHANGES["tokenizer"](copy)
    with pytest.raises(RunFailedError, match="1 of 2 cells so far failed"):
        run("strategy=top_p", adds=True)
    (failed,) = manifest()["failed"]
    assert "was made with other tokenizer of model=local" in failed["error"]
    assert {text.strategy for text in texts()} == {"greedy"}


def test_the_same_folder_goes_on_and_a_run_from_before_says_what_it_can(copy: Path, run: Run) -> None:
    """Older manifests have weights, dtype and end tokens, older texts no hash of what was fed."""
    run("strategy=greedy")
    path = Path("results/x/manifest.json")
    older = manifest()
    for part in ("resolved_config", "tokenizer", "chat_template"):
        del older["models"]["local"][part]
    path.write_text(json.dumps(older), encoding="utf-8")
    table = Path("results/x/generations.parquet")
    write_records(table, Generation, [replace(g, prompt_ids_sha256=None) for g in read_records(table, Generation)])
    run("strategy=greedy", "strategy=top_p")
    assert manifest()["counts"]["requests_stored_before"] == 3
    CHANGES["end tokens"](copy)
    path.write_text(json.dumps(older), encoding="utf-8")
    with pytest.raises(StoreError, match="other end tokens of model=local"):
        run("strategy=greedy", "strategy=top_p")


def test_a_second_model_is_all_of_it_too(copy: Path, run: Run, tiny_dirs: dict[str, Path]) -> None:
    shutil.copytree(tiny_dirs["gemma3"], "amateur")
    cell = "strategy=contrastive_decoding strategy.amateur=amateur"
    run(cell)
    CHANGES["config"](Path("amateur"))
    with pytest.raises(StoreError, match=r"other config of the second model amateur \(resolved_config.rms_norm_eps"):
        run(cell)


def test_a_scorer_whose_folder_changed_reads_everything_again(
    copy: Path, run: Run, tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights and its tokens are the same: only the config says that it says something else of them."""
    shutil.copytree(tiny_dirs["llama"], "scorer")
    run("strategy=greedy", also=["scorer.id=scorer"])
    before = readings()
    edit(Path("scorer/config.json"), rms_norm_eps=0.5)
    run("strategy=greedy", "strategy=top_p", also=["scorer.id=scorer"])
    again = {(r.cell, r.prompt_id, r.sample): r for r in readings()}
    for one in before:
        other = again[one.cell, one.prompt_id, one.sample]
        assert (one.token_ids, one.prompt_id) == (other.token_ids, other.prompt_id)
        assert one.token_logprobs != other.token_logprobs
    assert manifest()["scorer"]["resolved_config"]["rms_norm_eps"] == 0.5
    read: list[str] = []
    monkeypatch.setattr(passes, "read_texts", lambda *a, **k: read.append("again"))
    run("strategy=greedy", "strategy=top_p", also=["scorer.id=scorer"])
    assert not read


# --- the prompts ----------------------------------------------------------------------------------------------------


def test_tokens_that_were_not_fed_are_not_taken_for_those_that_were(copy: Path, run: Run) -> None:
    """A template that draws a number: the model is the same one, and its prompts are not."""
    other_template(copy, DRAWN)
    run("strategy=greedy", also=["prompts.template=chat"])
    assert len({text.prompt_ids_sha256 for text in texts()}) == 3
    with pytest.raises(StoreError, match=r"^name=x: .* holds texts after other tokens of the prompts 'ko', 'en', 'l"):
        run("strategy=greedy", "strategy=assisted", also=["prompts.template=chat"])
    with pytest.raises(ModelError, match=r"^scorer\.id=self: other tokens were fed for the prompts 'ko', 'en', 'l"):
        read_run(Path("results/x"), "self")


def test_the_clock_of_a_chat_template_stands_still(copy: Path, run: Run) -> None:
    other_template(copy, DATED)
    run("strategy=greedy", also=["prompts.template=chat"])
    run("strategy=greedy", "strategy=greedy seed=1", also=["prompts.template=chat", "scorer.id=self"])
    assert manifest()["prompts"]["file"]["date"] == "2024-07-26"
    assert manifest()["counts"]["requests_stored_before"] == 3
    assert [g.token_ids for g in texts()[:3]] == [g.token_ids for g in texts()[3:]]
    assert [r.token_ids for r in readings()] == [g.token_ids for g in texts()]


def test_another_date_is_another_cell(copy: Path, run: Run) -> None:
    other_template(copy, DATED)
    days = [f"prompts.template=chat prompts.date={day}" for day in ("2024-07-26", "2025-02-03")]
    run(*days, also=["strategy=greedy", "scorer.id=self"])
    first, second = manifest()["cells"]
    assert (first["prompts"], second["prompts"]) == ("file date=2024-07-26", "file date=2025-02-03")
    assert {text.prompt_ids_sha256 for text in texts() if text.cell == first["id"]}.isdisjoint(
        text.prompt_ids_sha256 for text in texts() if text.cell == second["id"]
    )
    assert not manifest()["unread"], "each is read after what was fed for it"


def test_a_date_that_nobody_asks_for_is_an_error(copy: Path, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"^prompts\.date=2025-02-03: has no effect, the chat template of local does"):
        run("strategy=greedy prompts.template=chat prompts.date=2025-02-03")


def test_the_prompts_of_a_run_are_kept_under_the_labels_of_today(run: Run) -> None:
    """One cell after the other: what is beside the plan is kept, under the label that it has in the larger grid."""
    kept = Path("results/x/prompts.parquet")

    def names() -> list[tuple[str, str, str]]:
        return [(row.prompts, row.prompt_id, row.text) for row in read_records(kept, StoredPrompt)]

    text = {prompt["id"]: prompt["text"] for prompt in PROMPTS}
    run("strategy=greedy prompts.limit=1", adds=True)
    (first,) = list(text)[:1]
    assert names() == [("file", first, text[first])]
    run("strategy=greedy prompts.limit=2", "strategy=top_p prompts.limit=2", adds=True)
    assert names() == [("file limit=1", first, text[first])] + [
        ("file limit=2", id_, text[id_]) for id_ in list(text)[:2]
    ]
    kept.unlink()  # a run from before, or one that was killed here
    run("strategy=greedy prompts.limit=2", "strategy=top_p prompts.limit=2", adds=True)
    assert names() == [("file limit=2", id_, text[id_]) for id_ in list(text)[:2]]


# --- the number of samples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["top_p", "sample", "contrastive_decoding strategy.temperature=0.7"])
def test_more_samples_are_added(strategy: str, run: Run) -> None:
    count = "strategy.num_return_sequences"
    if strategy.startswith("contrastive"):
        strategy += " strategy.do_sample=true"
    run(f"strategy={strategy} {count}=4", also=["name=whole"])
    run(f"strategy={strategy} {count}=2")
    few = texts()
    run(f"strategy={strategy} {count}=4", "strategy=greedy")
    counts = manifest()["counts"]
    assert (counts["requests_stored_before"], counts["requests_decoded"]) == (6, 6 + 3)
    many = [text for text in texts() if text.strategy != "greedy"]
    assert [text for text in many if text.sample < 2] == few
    assert [(g.prompt_id, g.sample, g.token_ids) for g in many] == [
        (g.prompt_id, g.sample, g.token_ids) for g in texts("whole")
    ]
    with pytest.raises(StoreError, match=r"^name=x: .* has \d texts or more of .* and this grid asks for 3; allowed"):
        run(f"strategy={strategy} {count}=3", "strategy=greedy")


def test_more_samples_are_timed_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timed call returns as many texts as the strategy does."""
    timed: list[int] = []
    real = stages.measure_latency

    def noted(loaded: Any, calls: Sequence[Any], *arguments: Any, **named: Any) -> list[Timing]:
        timed.extend(call.fields["num_return_sequences"] for call in calls)
        return real(loaded, calls, *arguments, **named)

    monkeypatch.setattr(stages, "measure_latency", noted)
    latency = "latency.warmups=1 latency.rounds=3 latency.prompts=1 latency.new_tokens=2"
    for count in (2, 2, 4, 4):
        run(f"strategy=top_p strategy.num_return_sequences={count} latency=quick {latency}")
    assert timed == [2, 4]
    run("strategy=top_p strategy.num_return_sequences=5")
    assert not Path("results/x/latency.parquet").exists()


def test_the_texts_of_a_search_belong_to_one_request(run: Run) -> None:
    run("strategy=beam strategy.num_return_sequences=2")
    with pytest.raises(StoreError, match="holds cells that this grid does not have"):
        run("strategy=beam strategy.num_return_sequences=4")
    run("strategy=beam strategy.num_return_sequences=2", "strategy=beam strategy.num_return_sequences=4")
    assert len(texts()) == 3 * (2 + 4)


def test_two_numbers_of_samples_in_one_grid_are_an_error(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"^strategy\.num_return_sequences=2,4: cannot be swept, .* allowed is one"):
        run("strategy=top_p strategy.num_return_sequences=2", "strategy=top_p strategy.num_return_sequences=4")
