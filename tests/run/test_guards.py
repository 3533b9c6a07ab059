"""Whatever one cell does wrong stays that cell's: in preparation, admission, decoding, writing, timing and reading."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decodebench.decoding import decode as decoding
from decodebench.decoding import references, requests
from decodebench.engine.cached_rows import CachedRows
from decodebench.errors import ConfigError, ForeignError, NoMemoryError
from decodebench.latency import timing
from decodebench.models import encode
from decodebench.plan.cells import plan
from decodebench.plan.config import job_config
from decodebench.reading import passes
from decodebench.records import Generation, Reading, Timing
from decodebench.run import RunFailedError, execute, stages
from decodebench.store.tables import read_records
from launches import PROMPTS, compose, manifest, one_thread, texts, without_report, write_prompts

Run = Callable[..., None]
threads = pytest.fixture(autouse=True, scope="module")(one_thread)

ASKED_LATER = ("check", "hidden_layers", "row_prompts", "start", "step", "ranking", "margins", "generation_config")
"""What a strategy is asked for once there is a model."""


@pytest.fixture
def run(tiny_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a grid without Hydra, each job given by its overrides, in a folder with prompts; no report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    write_prompts(tmp_path)
    without_report(monkeypatch)
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip"]
    good = [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=6", "name=x"]

    def run(*jobs: str, also: Sequence[str] = ()) -> None:
        execute(plan([job_config(compose(*good, *also, *job.split())) for job in jobs]), echo=lambda said: None)

    return run


def raises(where: str, kind: str = "LookupError") -> str:
    own = "strategy.name=raises strategy._target_=own_strategies.Raises"
    return f"strategy=greedy {own} +strategy.where={where} +strategy.kind={kind}"


def failures() -> dict[str, str]:
    """Strategy -> why its cell failed."""
    found = manifest()
    named = {cell["id"]: cell["strategy"] for cell in found["cells"]}
    return {named[entry["cell"]]: entry["error"] for entry in found["failed"]}


def whole(*strategies: str) -> bool:
    """Whether exactly these cells have a text for every prompt."""
    stored = [(text.strategy, text.prompt_id) for text in texts()]
    return sorted(stored) == sorted((strategy, prompt["id"]) for strategy in strategies for prompt in PROMPTS)


def test_a_strategy_that_raises_anywhere_fails_alone(run: Run) -> None:
    jobs = [*map(raises, ASKED_LATER), raises("step", "SystemExit"), raises("start", "StopIteration")]
    with pytest.raises(RunFailedError, match=f"{len(jobs)} of {len(jobs) + 1} cells failed"):
        run(*jobs, "strategy=greedy")
    wanted = {f"raises where={where} kind=LookupError": f"LookupError: broken in {where}" for where in ASKED_LATER}
    wanted["raises where=step kind=SystemExit"] = "SystemExit: broken in step"
    wanted["raises where=start kind=StopIteration"] = "StopIteration: broken in start"
    assert failures() == wanted
    assert whole("greedy")


@pytest.mark.parametrize("where", ["__post_init__", "rows", "width", "samples", "returns", "second_model", "packs"])
def test_what_a_strategy_says_of_itself_is_asked_before_a_model_is_loaded(
    run: Run, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(ConfigError) as error:
        run("strategy=greedy", raises(where))
    line = f"strategy=raises: own_strategies.Raises cannot be used (LookupError: broken in {where})"
    assert str(error.value) == line


def test_a_file_of_a_strategy_that_cannot_be_imported_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("half_written.py").write_text("class Half(:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    with pytest.raises(ConfigError, match=r"^strategy._target_=half_written.Half: cannot be imported \(SyntaxError: "):
        run("strategy=greedy strategy._target_=half_written.Half")


def test_a_pass_that_fails_for_what_one_cell_reads_fails_that_cell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where hidden states have another shape: the rows of all cells are prefilled together."""
    prefill = CachedRows.prefill

    def refused(rows: CachedRows, prompts: Sequence[tuple[int, ...]]) -> Any:
        if rows.hidden_layers:
            raise RuntimeError("hidden states of\nfour dimensions")
        return prefill(rows, prompts)

    monkeypatch.setattr(CachedRows, "prefill", refused)
    with pytest.raises(RunFailedError, match="1 of 3 cells failed"):
        run("strategy=greedy", "strategy=contrastive_search", "strategy=temperature")
    assert failures() == {"contrastive_search": "RuntimeError: hidden states of four dimensions"}
    assert {text.strategy for text in texts()} == {"greedy", "temperature"}
    assert {text.prompt_id for text in texts()} == {prompt["id"] for prompt in PROMPTS}


@pytest.mark.parametrize(
    "changes", [{"seed": 2**70}, {"text": "\ud800"}, {"score": "high"}, {"token_ids": ("x",)}, {"token_logprobs": ()}]
)
def test_a_value_that_no_table_holds_fails_its_cell(
    run: Run, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = decoding._generation
    monkeypatch.setattr(
        decoding, "_generation", lambda *a: replace(g := made(*a), **(changes if g.strategy == "bad" else {}))
    )
    with pytest.raises(RunFailedError, match="1 of 2 cells failed"):
        run("strategy=greedy strategy.name=bad strategy.max_new_tokens=5", "strategy=greedy")
    assert list(failures()) == ["bad"]
    assert whole("greedy")


def test_a_prompt_that_the_tokenizer_raises_on_fails_the_cells_that_have_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(loaded: Any, text: str, *around: Any) -> tuple[int, ...]:
        if text == PROMPTS[0]["text"]:
            raise IndexError("no such piece")
        return encode(loaded, text, *around)

    monkeypatch.setattr(requests, "encode", picky)
    Path("other.txt").write_text("The old boat\n", encoding="utf-8")
    with pytest.raises(RunFailedError, match="1 of 2 cells failed"):
        run("strategy=greedy", "strategy=greedy prompts.path=other.txt")
    assert [entry["error"] for entry in manifest()["failed"]] == ["IndexError: no such piece"]
    assert len(texts()) == 1


def test_a_model_that_raises_while_it_is_probed_loses_its_cells_alone(
    run: Run, tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = stages.choose_rows

    def picky(model: Any, *how: Any) -> Any:
        if model.config.model_type == "gpt2":
            raise KeyError("layers")
        return choose(model, *how)

    monkeypatch.setattr(stages, "choose_rows", picky)
    with pytest.raises(RunFailedError, match="1 of 2 cells failed"):
        run(f"strategy=greedy model.path={tiny_dirs['gpt2']}", "strategy=greedy")
    assert [entry["error"] for entry in manifest()["failed"]] == ["KeyError: 'layers'"]
    assert whole("greedy")


def test_where_every_cell_raises_the_first_error_is_said_and_nothing_written(run: Run) -> None:
    with pytest.raises(ForeignError, match=r"^LookupError: broken in check$"):
        run(raises("check"))
    assert not Path("results").exists()


def test_a_cell_that_cannot_be_timed_keeps_its_texts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(loaded: Any, call: timing.TimedCall, number: int, clock: Any) -> Timing:
        if call.strategy == "beam" and number == 1:
            raise RuntimeError("no kernel")
        named = {"cell": call.cell, "model": call.model, "strategy": call.strategy, "prompt_id": call.prompt_id}
        whole = {"ttft_s": None, "ttft_reason": "", "new_tokens": 2, "peak_bytes": None, "peak_reason": ""}
        return Timing(**named, **whole, round=number, e2e_s=1.0)

    monkeypatch.setattr(timing, "_time", timed)
    small = [f"latency.{key}" for key in ("warmups=1", "rounds=3", "prompts=1", "new_tokens=2")]
    with pytest.raises(RunFailedError, match="not all could be timed: RuntimeError: no kernel"):
        run("strategy=beam", "strategy=greedy", also=small)
    assert [entry["error"] for entry in manifest()["untimed"]] == ["RuntimeError: no kernel"]
    assert manifest()["status"] == "complete"
    assert {text.strategy for text in texts()} == {"beam", "greedy"}
    stored = read_records(Path("results/x/latency.parquet"), Timing)
    assert [(each.strategy, each.round) for each in stored] == [("greedy", 0), ("greedy", 1), ("greedy", 2)]


def test_a_cell_that_cannot_be_read_again_is_read_alone_in_vain(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = passes.read_texts

    def picky(loaded: Any, items: Sequence[Any], **how: Any) -> Any:
        if len({item.token_ids for item in items}) > len(PROMPTS):
            raise RuntimeError("four dimensions")
        return read(loaded, items, **how)

    monkeypatch.setattr(passes, "read_texts", picky)
    with pytest.raises(RunFailedError, match="not all could be read again: RuntimeError: four dimensions"):
        run("strategy=beam", "strategy=greedy", also=["scorer.id=self"])
    found = manifest()
    assert [entry["cell"] for entry in found["unread"]] == [found["cells"][0]["id"]]
    assert {each.cell for each in read_records(Path("results/x/readings.parquet"), Reading)} == {
        found["cells"][1]["id"]
    }


def test_references_that_raise_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: Any) -> Generation:
        raise KeyError("reference")

    monkeypatch.setattr(references, "_given", raising)
    Path("with.jsonl").write_text('{"id": "a", "text": "The old boat", "reference": "sank"}\n', encoding="utf-8")
    with pytest.raises(RunFailedError, match="not all could be read again: KeyError: 'reference'"):
        run("strategy=greedy prompts.path=with.jsonl")
    assert len(texts()) == 1


def test_memory_that_runs_out_ends_the_command_with_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate\n1 EiB")

    monkeypatch.setattr("decodebench.run.flow.time_cells", too_much)
    line = r"^results/x: out of memory \(tried to allocate 1 EiB\); finished texts are kept, and the same command with "
    with pytest.raises(NoMemoryError, match=line):
        run("strategy=greedy")


def test_what_is_raised_when_all_is_done_is_nobodys_fault_and_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_run = decoding.Decoder.run

    def late(decoder: Any, *what: Any, **how: Any) -> None:
        whole_run(decoder, *what, **how)
        raise RuntimeError("late")

    monkeypatch.setattr(decoding.Decoder, "run", late)
    with pytest.raises(ForeignError, match=r"^RuntimeError: late$"):
        run("strategy=greedy", "strategy=beam")
