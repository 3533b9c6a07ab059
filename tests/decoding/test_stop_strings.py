"""Runs with stop strings: what is stored, read, resumed, said and handed over."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from decodebench.plan.cells import plan
from decodebench.plan.config import job_config, resolved_job
from decodebench.records import Generation, Reading, Timing
from decodebench.store.tables import read_records
from launches import PROMPTS, compose, launch, manifest, one_thread, texts, without_report, write_prompts

threads = pytest.fixture(autouse=True, scope="module")(one_thread)
STOP = r'strategy.stop=["e","\n","니"]'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_report(monkeypatch)
    write_prompts(tmp_path)


@pytest.fixture
def good(tiny_dirs: dict[str, Path]) -> list[str]:
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=16", "name=x"]


def key(text: Generation) -> tuple[str, str, int]:
    return text.strategy, text.prompt_id, text.sample


def test_what_is_stored_and_read(good: list[str], tiny_dirs: dict[str, Path]) -> None:
    """The string's tokens are delivered, computed and have log-probs; they are content only where it is kept."""
    grid = ["strategy=greedy,beam,sample,prompt_lookup,contrastive_search", "strategy.stop_keep=false,true"]
    done = launch(*good, "-m", *grid, STOP, "scorer.id=self")
    assert done.code == 0, done.err
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_dirs["llama"])
    kept = {key(text): text for text in texts() if "stop_keep=true" in text.strategy}
    readings = {(r.cell, r.prompt_id, r.sample): r for r in read_records(Path("results/x/readings.parquet"), Reading)}
    reasons = set()
    for text in texts():
        reading = readings[text.cell, text.prompt_id, text.sample]
        assert reading.token_ids == text.token_ids
        assert text.delivered_tokens == len(text.token_ids) == len(text.token_logprobs)
        assert (len(reading.embedding) > 0) == (len(text.content_ids) > 0)
        reasons.add(text.finish_reason)
        assert (text.content_tokens is None) == (text.finish_reason != "stop")
        if text.finish_reason != "stop" or "true" in text.strategy:
            continue
        other = kept[key(text)[0].replace("false", "true"), text.prompt_id, text.sample]
        assert other.token_ids == text.token_ids
        assert other.text in {text.text + stop for stop in ("e", "\n", "니")}
        assert other.content_ids == text.token_ids
        whole = tokenizer.decode(text.token_ids, skip_special_tokens=True)
        assert whole.startswith(other.text)
        assert tokenizer.decode(text.content_ids, skip_special_tokens=True).startswith(text.text)
        assert not any(stop in text.text for stop in ("e", "\n", "니"))
    assert reasons >= {"stop", "length"}
    greedy, lookup = (
        [
            (t.prompt_id, t.token_ids, t.text, t.content_tokens)
            for t in texts()
            if t.strategy == f"{name} stop_keep=false"
        ]
        for name in ("greedy", "prompt_lookup")
    )
    assert greedy == lookup


def test_a_killed_run_goes_on_to_the_same_texts(good: list[str]) -> None:
    command = (*good, "-m", "strategy=beam,sample", STOP)
    assert launch(*command).code == 0
    before = texts()
    assert {text.finish_reason for text in before} > {"stop"}
    run_dir = Path("results/x")
    journal = "".join(json.dumps(asdict(text), ensure_ascii=False) + "\n" for text in before[:7])
    (run_dir / "journal.jsonl").write_text(journal, encoding="utf-8")
    (run_dir / "generations.parquet").unlink()
    (run_dir / "manifest.json").write_text(json.dumps(manifest() | {"status": "running"}), encoding="utf-8")
    assert launch(*command).code == 0
    assert manifest()["counts"]["requests_stored_before"] == 5, "beam returns five texts at once"
    plain = [[(key(t), t.token_ids, t.text, t.content_tokens) for t in found] for found in (before, texts())]
    assert plain[0] == plain[1]


def test_strings_that_leave_every_text_empty_are_said(good: list[str]) -> None:
    """Every letter that a text can begin with; and it is no error."""
    assert launch(*good, "strategy=greedy").code == 0
    first = [text.token_ids[0] for text in texts()]
    spelled = Path(good[1].removeprefix("model.path="))
    tokenizer: Any = AutoTokenizer.from_pretrained(spelled)
    begins = list(dict.fromkeys(tokenizer.decode([token]) for token in first))
    letters = [text for text in begins if "\ufffd" not in text]
    ids = [text.prompt_id for text in texts() if tokenizer.decode([text.token_ids[0]]) in letters]
    assert letters, "a first token is text"
    stop = ",".join(f'"{letter}"' for letter in letters)
    done = launch(*good, "strategy=greedy", f"prompts.ids=[{','.join(ids)}]", f"strategy.stop=[{stop}]", "name=y")
    assert done.code == 0, done.err
    assert [(text.text, text.content_ids, text.finish_reason) for text in texts("y")] == [("", (), "stop")] * len(ids)
    (warning,) = [one for one in manifest("y")["warnings"] if one["metric"] == "empty_share"]
    assert warning["warning"] == f"all {len(ids)} texts are empty: each begins with one of strategy.stop"


def test_ids_are_those_of_before_there_were_stop_strings() -> None:
    """A cell without them keeps its id, so that baselines and runs stay what they are; with them it is another."""

    def cell(*overrides: str) -> Any:
        return plan([job_config(compose("prompts=file", "prompts.path=prompts.jsonl", *overrides))]).jobs[0].cell

    plain = cell()
    node = {k: v for k, v in plain.config["strategy"].items() if k not in ("stop", "stop_keep")}
    older = {**plain.config, "name": "x", "results": "results", "strategy": node}
    assert plan([resolved_job(older)]).jobs[0].cell.id == plain.id == cell("strategy.stop=[]").id
    several = [cell(f"strategy.stop={stop}").id for stop in ('["a"]', '["b"]', '["a","b"]')]
    keeping = cell('strategy.stop=["a"]', "strategy.stop_keep=true").id
    assert len({plain.id, keeping, *several}) == 5


def test_cells_of_other_line_breaks_have_other_labels() -> None:
    """One line of a table would lose them."""
    resolved = job_config(compose("strategy=greedy")).resolved
    stops = (["\n"], ["\n\n"], ["Q: "], ["Q:"])
    jobs = [resolved_job({**resolved, "strategy": {**resolved["strategy"], "stop": stop}}) for stop in stops]
    assert [job.cell.strategy for job in plan(jobs).jobs] == [
        *(r'greedy stop=["\n"]', r'greedy stop=["\n\n"]', 'greedy stop=["Q: "]', "greedy stop=[Q:]"),
    ]


@pytest.mark.parametrize("strategy", ["greedy", "beam", "prompt_lookup", "assisted", "best_of_n"])
def test_what_is_exported_writes_the_stored_texts(strategy: str, good: list[str], tiny_dirs: dict[str, Path]) -> None:
    """Up to the string; `generate` may check tokens behind it, of several at a time."""
    more = ["strategy.n=3"] if strategy == "best_of_n" else [f"strategy.draft={tiny_dirs['llama']}"]
    assert (
        launch(*good, f"strategy={strategy}", *(more if strategy in ("best_of_n", "assisted") else []), STOP).code == 0
    )
    count = len([text for text in texts() if text.prompt_id == "en"])
    done = launch("export", "results/x", strategy, f"--texts={count}")
    assert (done.code, done.err) == (0, "")
    assert "cut each text in front of its first one of ['e', '\\n', '니']" in done.out
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_dirs["llama"])
    stopped = 0
    for prompt in PROMPTS:
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_dirs["llama"])
        names: dict[str, Any] = {"model": model, "tokenizer": tokenizer}
        names["inputs"] = tokenizer(prompt["text"], return_tensors="pt")
        exec(done.out, names)
        theirs = names["out"][:, names["inputs"]["input_ids"].shape[1] :].tolist()
        ours = [text for text in texts() if text.prompt_id == prompt["id"]]
        stopped += sum(text.finish_reason == "stop" for text in ours)
        for text, ids in zip(ours, theirs, strict=True):
            assert tuple(ids[: len(text.token_ids)]) == text.token_ids
            behind = set(ids[len(text.token_ids) :]) - {tokenizer.pad_token_id}
            assert not behind or strategy in ("prompt_lookup", "assisted")
    assert stopped


def test_the_timed_pass_goes_on_behind_a_string(good: list[str]) -> None:
    """Its length is given, as without an end token; in transformers and in our engine."""
    times = ["latency=quick", "latency.rounds=3", "latency.new_tokens=6", "latency.prompts=1"]
    assert launch(*good, *times, "-m", "strategy=greedy,best_of_n", STOP).code == 0
    timings = read_records(Path("results/x/latency.parquet"), Timing)
    assert [timing.new_tokens for timing in timings] == [6] * 6


def test_bad_input_is_one_line(good: list[str]) -> None:
    for stop, error in {
        'strategy.stop=["a",""]': "strategy.stop: entry 2 of 2 is ''; allowed are texts that are not empty",
        "strategy.stop=###": "strategy.stop=###: allowed is a list of different texts, or null",
        "strategy.stop=[a,a]": "strategy.stop=['a', 'a']: allowed is a list of different texts, or null",
        "strategy.stop_keep=true": "strategy.stop_keep=True: allowed is false without strategy.stop",
    }.items():
        done = launch(*good, "strategy=greedy", stop)
        assert done.code != 0
        assert error in done.err
        assert len(done.err.splitlines()) == 1
    assert job_config(compose("strategy=greedy", "strategy.stop=['7']")).strategy.stop == ("7",)
