"""`verify` on a run of the model of known logits, with an engine that is none."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decodebench.deploy import engine_named, prove
from decodebench.deploy.engines.running import Ran
from fake_llama import engine
from known_logits import BIGRAM, CONSTANT, EOS, TOKENS, build_known, ids, logits_of
from launches import launch, one_thread, without_report

PROMPTS = {"ends": "D", "five": "Z", "long": "B" * 20 + "Z" * 70 + "Y", "two": "A"}
"""Their next tokens: G .6, end .4; A to E; A to E; B .9, C .1."""
RUNS = ["greedy", "top_p", "temperature", "sample"]

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of greedy search and samplers, one of them with numbers of several rules and a penalty."""
    folder = tmp_path_factory.mktemp("verify")
    build_known(folder / "known", BIGRAM)
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in PROMPTS.items()]
    (folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DECODEBENCH_CACHE", str(folder / "cache"))
        without_report(patch)
        model = ["model=local", f"model.path={folder / 'known'}", "model.device=cpu", "latency=skip"]
        prompts = ["prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=6", "name=x"]
        done = launch("-m", *model, *prompts, "strategy=greedy,top_p,temperature")
        assert done.code == 0, done.err
        numbers = ["strategy.temperature=2.0", "strategy.top_k=4", "strategy.top_p=0.8"]
        done = launch(*model, *prompts, "name=y", "strategy=sample", *numbers, "strategy.repetition_penalty=1.5")
        assert done.code == 0, done.err
    return folder / "results"


def logits_behind(prefix: Any) -> Any:
    return np.array(logits_of(BIGRAM.get(TOKENS[prefix[-1]], CONSTANT)))


ENGINE = engine(logits_behind, eos_ids=(EOS,))
LLAMA = engine_named("llama_cpp")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Mapping[str, Any]]]:
    """Put an engine in the place of the real one; the list has the settings that it was given."""

    def put(one: Any = ENGINE) -> list[Mapping[str, Any]]:
        given: list[Mapping[str, Any]] = []

        def run(name: str, model: str, settings: Mapping[str, Any], *rest: Any) -> Ran:
            given.append(settings)
            ran: Ran = one(name, model, settings, *rest)
            return ran

        monkeypatch.setattr("decodebench.deploy.proving.run_engine", run)
        return given

    return put


def verify(run_dir: Path, cell: str, *flags: str) -> tuple[int, str]:
    done = launch("verify", str(run_dir), cell, "--to", "llama_cpp", "--model", "known.gguf", *flags)
    return done.code, done.out + done.err


def test_greedy_texts_are_equal(run_dir: Path, fake: Callable[..., Any]) -> None:
    given = fake()
    code, said = verify(run_dir / "x", "greedy")
    assert code == 0
    assert "texts: 4 of 4 equal" in said
    assert given[0]["n_predict"] == 6


def test_a_greedy_text_that_parts_says_where_and_how_close(run_dir: Path, fake: Callable[..., Any]) -> None:
    def second_best(prefix: Any) -> Any:
        logits = logits_behind(prefix)
        logits[ids("D" if prefix[-1] == ids("Z")[0] else "A")[0]] += 30
        return logits

    fake(engine(second_best, eos_ids=(EOS,)))
    code, said = verify(run_dir / "x", "greedy")
    assert code == 1
    # ln .4 - ln .1 = 1.386
    assert "prompt five: token 0 is 'A' (4) here and 'D' (7) there; ours was 1.386 ahead by our log-probs" in said
    assert said.splitlines()[-1] == "another decoding"
    code, said = verify(run_dir / "x", "greedy", "--tolerance", "0.5")
    assert code == 1


def test_a_tie_within_the_tolerance_is_no_other_decoding(run_dir: Path, fake: Callable[..., Any]) -> None:
    def nearly(prefix: Any) -> Any:  # B, .3, comes before A, .4: ln (4 / 3) = .288
        logits = logits_behind(prefix)
        logits[ids("B")[0]] += 0.3 if prefix[-1] not in BIGRAM_IDS else 0
        return logits

    fake(engine(nearly, eos_ids=(EOS,)))
    assert verify(run_dir / "x", "greedy", "--tolerance", "0.2")[0] == 1
    code, said = verify(run_dir / "x", "greedy", "--tolerance", "0.29")
    assert code == 0
    assert "the same decoding, but for choices closer than --tolerance 0.29" in said


BIGRAM_IDS = {ids(token)[0] for token in BIGRAM}


@pytest.mark.parametrize(("run", "cell"), [("x", "top_p"), ("x", "temperature"), ("y", "sample")])
def test_a_right_engine_passes(run_dir: Path, fake: Callable[..., Any], run: str, cell: str) -> None:
    given = fake()
    code, said = verify(run_dir / run, cell)
    assert code == 0, said
    assert "the same decoding, as far as 4000 draws can tell" in said
    assert "kept by no arithmetic, but drawn: none" in said
    assert given[0]["n_predict"] == 1


WRONG = {
    "order": {"samplers": ["penalties", "dry", "top_k", "top_p", "temperature"]},
    "window": {"repeat_last_n": 64},
    "top_k": {"top_k": 2},
    "temperature": {"temperature": 1.0},
    "no penalty": {"repeat_penalty": 1.0},
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_found(run_dir: Path, fake: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """The settings of the cell y with one thing wrong: as exported they pass, and so do they from a file."""
    given = fake()
    assert verify(run_dir / "y", "sample")[0] == 0
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(given[0]))
    assert verify(run_dir / "y", "sample", "--settings", str(file))[0] == 0
    file.write_text(json.dumps(dict(given[0]) | WRONG[name]))
    code, said = verify(run_dir / "y", "sample", "--settings", str(file))
    assert code == 1
    assert said.splitlines()[-1].startswith("another decoding (a right one is called so in 0.001 of verifications)")


def test_what_a_file_leaves_out_is_on(run_dir: Path, fake: Callable[..., Any], tmp_path: Path) -> None:
    fake()
    (tmp_path / "s.json").write_text('{"temperature": 1.0, "top_p": 0.9}')  # and min_p is 0.05
    code, said = verify(run_dir / "x", "temperature", "--settings", str(tmp_path / "s.json"))
    assert code == 1
    assert "'E' (8) 0 times, expected 50" in said


def test_other_weights_fit_within_a_tolerance(run_dir: Path, fake: Callable[..., Any]) -> None:
    noise = np.where(np.arange(64) % 2, 0.045, -0.045)
    fake(engine(lambda prefix: logits_behind(prefix) + noise, eos_ids=(EOS,)))
    code, said = verify(run_dir / "x", "temperature", "--draws", "20000")
    assert code == 1
    assert "it would fit with --tolerance 0.03" in said
    assert verify(run_dir / "x", "temperature", "--draws", "20000", "--tolerance", "0.1")[0] == 0


def test_an_empty_text_is_the_end(run_dir: Path) -> None:
    """An engine that leaves the end token out gives no token where it ends at once."""

    def without_ends(*asked: Any) -> Ran:
        ran: Ran = ENGINE(*asked)
        return Ran(version="none", texts=tuple(tuple(text[: text != (EOS,)] for text in of) for of in ran.texts))

    proof = prove(run_dir / "x", "temperature", LLAMA, "known.gguf", run=without_ends)
    assert proof.exit_code == 0
    ends = next(look for look in proof.verdict.looks if look.prompt_id == "ends")  # type: ignore[union-attr]
    assert ends.freedom >= 1


def test_few_draws_cannot_tell(run_dir: Path, fake: Callable[..., Any]) -> None:
    fake()
    code, said = verify(run_dir / "x", "top_p", "--draws", "3")
    assert code == 2
    assert "too few draws to say anything (--draws)" in said


def test_a_strategy_that_reads_its_prompt_gets_the_longest(run_dir: Path, fake: Callable[..., Any]) -> None:
    fake()
    code, said = verify(run_dir / "y", "sample", "--prompts", "1")
    assert code == 0
    assert "a window of 64" not in said  # 91 tokens
    assert prove(run_dir / "y", "sample", LLAMA, "m", prompts=1, run=ENGINE).longest_prompt == 91
    assert prove(run_dir / "x", "top_p", LLAMA, "m", prompts=1, run=ENGINE).longest_prompt == 1


def refused(run_dir: Path, *words: str) -> str:
    done = launch("verify", str(run_dir), *words)
    assert (done.code, done.out) == (3, "")
    return done.err


def test_bad_input_is_one_line(run_dir: Path, fake: Callable[..., Any], tmp_path: Path) -> None:
    run, file = run_dir / "x", tmp_path / "s.json"
    fake()
    assert "needs --to" in refused(run, "greedy")
    assert "needs --model" in refused(run, "greedy", "--to", "llama_cpp")
    to = ["--to", "llama_cpp", "--model", "m"]
    assert "verify greed: no such cell" in refused(run, "greed", *to)
    assert "--draws=0: allowed" in refused(run, "greedy", *to, "--draws", "0")
    assert "--tolerance=2: allowed" in refused(run, "greedy", *to, "--tolerance", "2")
    assert "--to=llama: " in refused(run, "greedy", "--to", "llama", "--model", "m")
    assert "--to=transformers: " in refused(run, "greedy", "--to", "transformers", "--model", "m")
    assert "cannot be read" in refused(run, "greedy", *to, "--settings", str(file))
    file.write_text("[]")
    assert "allowed is a JSON object" in refused(run, "greedy", *to, "--settings", str(file))
    file.write_text('{"tempratur": 1}')
    said = refused(run, "greedy", *to, "--settings", str(file))
    assert "llama_cpp does not read tempratur; " in said
    assert said.endswith("did you mean temperature?\n")


def test_tokens_of_another_model_are_refused(run_dir: Path, fake: Callable[..., Any]) -> None:
    fake(lambda *asked: Ran(version="none", texts=(((640,),) * asked[4],) * 4))
    for cell in ("greedy", "top_p"):
        code, said = verify(run_dir / "x", cell)
        assert code == 3
        assert "the engine gave the token 640, and known has 64" in said.replace("local", "known")
