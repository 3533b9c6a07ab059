"""`check`: its exit codes, flags and files, over stored runs; and from a tiny model's run to its verdict."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from decodebench.errors import StoreError
from decodebench.records import SCHEMA_VERSION, Generation, Timing
from decodebench.regression import check, make_baseline, read_baseline, read_rules, write_baseline
from decodebench.store.tables import read_records, write_records
from launches import launch, manifest, one_thread, texts, without_report, write_prompts
from regression_runs import PROMPTS, lengthened, stored_run

threads = pytest.fixture(autouse=True, scope="module")(one_thread)
BASELINE = "baselines/then"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a run, its baseline, and the same run with longer texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    without_report(monkeypatch)
    write_baseline(Path(BASELINE), make_baseline(stored_run(Path("results/then"))))
    lengthened(stored_run(Path("results/now")))


def rules_file(content: str) -> str:
    Path("rules.yaml").write_text(content, encoding="utf-8")
    return "rules.yaml"


def test_a_run_against_its_own_baseline() -> None:
    done = launch("check", "results/then", "--against", BASELINE)
    assert (done.code, done.err) == (0, "")
    # 2 strategies by 9 metrics and 2 bounds, and the tokens of greedy.
    assert done.out == f"results/then against {BASELINE}\n\nno regression: 23 passed\n"


def test_a_regression_and_all_its_files() -> None:
    files = ["--markdown", "out/check.md", "--junit", "out/check.xml", "--json", "out/check.json"]
    done = launch("check", "results/now", "--against", BASELINE, "--github", *files)
    assert done.code == 1
    lines = done.out.splitlines()
    assert "greedy, tokens: other tokens for 12 of 12 prompts" in lines
    assert any(line.split()[:3] == ["REGRESSION", "sample", "length"] for line in lines)
    assert any(line.startswith("regression: 2 failed, ") for line in lines)
    assert sum(line.startswith("::error title=") for line in lines) == 2
    found = json.loads(Path("out/check.json").read_text(encoding="utf-8"))
    assert (found["exit_code"], found["run"], found["baseline"]) == (1, "results/now", BASELINE)
    length = next(f for f in found["findings"] if (f["strategy"], f["metric"]) == ("sample", "length"))
    # Texts of 3 and 4 tokens in turn got 2 and 3 more: 2.5 on average, with a margin of a tenth of 3.5.
    assert (length["baseline"], length["value"], length["worsening"]) == (3.5, 6.0, 2.5)
    assert (length["margin"], length["n"], length["fails"]) == (pytest.approx(0.35), 12, True)
    assert ElementTree.parse("out/check.xml").getroot().get("failures") == "2"
    assert Path("out/check.md").read_text(encoding="utf-8").startswith("## decodebench: regression: 2 failed")


def test_the_python_call_says_the_same() -> None:
    found = check(Path("results/now"), Path(BASELINE))
    assert found.exit_code == 1
    given = check(Path("results/now"), read_baseline(Path(BASELINE)), read_rules())
    assert given.findings == found.findings
    assert (found.baseline, given.baseline) == (BASELINE, "then")
    lenient = rules_file("- {kind: statistical, metric: length, margin: 3, direction: both}")
    assert check(Path("results/now"), Path(BASELINE), Path(lenient)).exit_code == 0


def test_what_moved_most() -> None:
    done = launch("check", "results/now", "--against", BASELINE, "--explain", "sample", "length")
    assert done.code == 1
    assert done.out.startswith(
        "some / sample, length: 12 of 12 prompts changed\n\nprompt 'p01': changed by 3.00 (4.00 ->"
    )


def test_runs_that_cannot_be_compared() -> None:
    stored_run(Path("results/less"), strategies=("greedy",))
    done = launch("check", "results/less", "--against", BASELINE)
    assert done.code == 2
    assert done.out.splitlines()[-1] == "cannot be compared: 1 reason"
    path = Path("results/then/generations.parquet")
    others = [replace(each, prompt=f"{each.prompt}!") for each in read_records(path, Generation)]
    write_records(path, Generation, others)
    done = launch("check", "results/then", "--against", BASELINE)
    assert done.code == 2
    assert "  cannot be compared: prompts some: another text: 'p00', 'p01', 'p02', 'p03', 'p04' and 7 more" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["results/now"], "check: needs --against BASELINE (see check --help)"),
        (["--against", BASELINE], "check: takes a run folder, or --run, as in: check results/NAME --against"),
        (
            ["results/now", "--run", "--against", BASELINE],
            "check --run: makes a run of its own; allowed is no run folder",
        ),
        (["results/now", "--against", BASELINE, "--name", "x"], "--name=x: has no effect without --run"),
        (["--run", "--against", BASELINE, "--name", "a/b"], "--name=a/b: allowed is one folder name"),
        (["results/now", "--against", "nowhere"], "nowhere: there is no such baseline"),
        (
            ["results/now", "--against", "results/then"],
            "results/then: is the folder of a run, not its baseline; make one with `python -m decodebench baseline "
            "results/then -o baselines/then` first",
        ),
        (["nowhere", "--against", BASELINE], "nowhere: there is no such folder"),
        (["results/now", "--against", BASELINE, "--explain", "sample"], "check --explain: must have 2 values after it"),
        (["results/now", "--against", BASELINE, "--explain", "x", "length"], "--explain x: allowed: greedy, sample"),
        (["results/now", "--against", BASELINE, "--github=yes"], "check --github: takes no value"),
        (["results/now", "--against", BASELINE, "--rules", "none.yaml"], "none.yaml: cannot be read"),
        (["results/now", "--against", BASELINE, "--rule", "x"], "check --rule: unknown flag; allowed: "),
        (["results/now", "--against", BASELINE, "--json", "results"], "results: cannot be written"),
    ],
)
def test_bad_input(words: list[str], message: str) -> None:
    done = launch("check", *words)
    assert done.code == 3
    assert done.err.startswith(f"decodebench: error: {message}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "rules.yaml: has no rules, it would check nothing"),
        (
            "- {kind: statistical, metric: lenght, margin: 1}",
            "the baseline does not have this metric; allowed are its ",
        ),
        (
            "- {kind: exact, strategies: beam}",
            "rules.yaml: rule 1 (exact): strategies=beam: the baseline has none such",
        ),
        ("- {kind: bound, metric: e2e_s, at_most: 1}", "rules.yaml: rule 1 (bound e2e_s): the run does not have this"),
    ],
)
def test_bad_rules(content: str, message: str) -> None:
    done = launch("check", "results/now", "--against", BASELINE, "--rules", rules_file(content))
    assert done.code == 3
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_baseline_that_was_edited() -> None:
    path = Path(BASELINE)
    path.write_text(path.read_text(encoding="utf-8").replace('"sample"', '"simple"', 1), encoding="utf-8")
    done = launch("check", "results/now", "--against", BASELINE)
    assert done.code == 3
    assert "was edited" in done.err


def test_a_run_that_is_not_finished() -> None:
    stored_run(Path("results/stopped"), status="running")
    done = launch("check", "results/stopped", "--against", BASELINE)
    assert (done.code, done.err) == (
        3,
        "decodebench: error: results/stopped: is not finished (status running); run its command again first\n",
    )


def test_cells_that_failed() -> None:
    run = stored_run(Path("results/broken"), failed=[{"cell": "id-sample", "error": "out of memory"}], status="failed")
    path = run / "generations.parquet"
    write_records(path, Generation, [g for g in read_records(path, Generation) if g.strategy == "greedy"])
    done = launch("check", "results/broken", "--against", BASELINE)
    assert done.code == 1
    assert "sample, failed_cells: 1 is above 0 (out of memory)" in done.out
    only = rules_file("- {kind: statistical, metric: length, margin: 1, direction: both, strategies: greedy}")
    done = launch("check", "results/broken", "--against", BASELINE, "--rules", only)
    assert done.code == 2
    assert "cannot be compared: some / sample: failed (out of memory), and no rule bounds failed_cells" in done.out


def test_a_run_of_which_nothing_is_left() -> None:
    failed = [{"cell": f"id-{name}", "error": "out of memory"} for name in ("greedy", "sample")]
    run = stored_run(Path("results/broken"), failed=failed, status="failed")
    write_records(run / "generations.parquet", Generation, [])
    done = launch("check", "results/broken", "--against", BASELINE)
    assert (done.code, done.out.splitlines()[-1]) == (1, "regression: 2 failed, 2 missing")


def test_times_beside_those_of_greedy() -> None:
    def timing(name: str, seconds: float) -> Timing:
        known = {"ttft_s": None, "ttft_reason": "not asked", "new_tokens": 8, "peak_bytes": None, "peak_reason": "no"}
        return Timing(
            cell=f"id-{name}",
            model="tiny",
            strategy=name,
            prompt_id="p00",
            round=0,
            e2e_s=seconds,
            **known,  # type: ignore[arg-type]
        )

    write_records(Path("results/then/latency.parquet"), Timing, [timing("greedy", 0.5), timing("sample", 1.5)])
    for limit, code in ((3, 0), (2.9, 1)):
        rules = rules_file(f"- {{kind: bound, metric: e2e_s, relative_to: greedy, at_most: {limit}}}")
        done = launch("check", "results/then", "--against", BASELINE, "--rules", rules)
        assert done.code == code
    assert "sample, e2e_s / greedy: 3 is above 2.9" in done.out


def test_a_run_in_another_unit_is_scored_as_its_baseline() -> None:
    run = Path("results/then")
    entry = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for one in entry["cells"]:
        one["config"]["metrics"]["unit"] = "words"
    (run / "manifest.json").write_text(json.dumps(entry), encoding="utf-8")
    assert entry["schema_version"] == SCHEMA_VERSION
    found = check(run, Path(BASELINE))
    assert found.exit_code == 0
    assert all(each.outcome == "pass" for each in found.findings)


def test_numbers_that_are_not_finite() -> None:
    held = read_baseline(Path(BASELINE))
    arm = held.arms[0]
    length = replace(arm.metrics["length"], rows={**arm.metrics["length"].rows, PROMPTS[0]: (float("nan"),)})
    broken = replace(held, arms=(replace(arm, metrics={**arm.metrics, "length": length}), *held.arms[1:]))
    with pytest.raises(StoreError, match="greedy: length of prompt 'p00' is not finite; allowed are numbers"):
        check(Path("results/now"), broken)


def test_from_a_models_run_to_its_verdict(tiny_dirs: dict[str, Path]) -> None:
    write_prompts(Path())
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
    common = [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8"]
    assert launch("-m", *common, "strategy=greedy,beam,sample", "name=x").code == 0
    assert launch("baseline", "results/x").code == 0

    again = launch("check", "--run", "--against", "baselines/x")
    assert (again.code, again.out.splitlines()[-1]) == (0, "no regression: 35 passed")
    assert [g.token_ids for g in texts("x-check")] == [g.token_ids for g in texts("x")]
    assert launch("check", "--run", "--against", "baselines/x").code == 3, "the texts of before would be checked"

    timed = rules_file("- {kind: bound, metric: e2e_s, relative_to: greedy, at_most: 1000}")
    with_times = launch("check", "--run", "--against", "baselines/x", "--name", "timed", "--rules", timed)
    assert with_times.code == 3, "the baseline's own configuration times nothing"

    changed = [*common, "strategy.repetition_penalty=1.8"]
    assert launch("-m", *changed, "strategy=greedy,beam,sample", "name=y").code == 0
    worse = launch("check", "results/y", "--against", "baselines/x")
    assert worse.code == 1
    assert "  changed: strategy.repetition_penalty 1.0 -> 1.8" in worse.out.splitlines()
    assert any(line.startswith("greedy, tokens: other tokens for ") for line in worse.out.splitlines())
    # Three prompts are too few to tell of anything that draws.
    assert "3 prompts: an interval needs at least 10" in worse.out

    wrong = launch(
        "check", "--run", "--against", "baselines/x", "--name", "no", "--rules", rules_file("- {kind: exakt}")
    )
    assert wrong.code == 3
    assert not Path("results/no").exists(), "nothing is run for rules that are wrong"
    unfit = rules_file("- {kind: statistical, metric: rep_9, margin: 1}")
    assert launch("check", "--run", "--against", "baselines/x", "--name", "no", "--rules", unfit).code == 3
    assert not Path("results/no").exists()
    assert manifest("x-check")["status"] == "complete"
