"""Runs that are judged for a task, on tiny models: what they leave, what is judged again, and what bad input gets."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from decodebench.records import CurvePoint, Difference, Generation, Judgement, Measurement, Rank
from decodebench.regression import check, make_baseline, parse_rules
from decodebench.store.tables import read_records
from launches import Launch, launch, manifest, one_thread, texts, without_report

threads = pytest.fixture(autouse=True, scope="module")(one_thread)

PROMPTS = [f"{word} {n}" for n in range(4) for word in ("오늘은 비가", "The old boat", "A small dog")]
TABLES = ("measurements", "curves", "differences", "ranking")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def good(tiny_dirs: dict[str, Path]) -> list[str]:
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip", "name=x"]
    return [*model, "prompts=file", "prompts.path=qa.jsonl", "strategy.max_new_tokens=4"]


def write(answers: Callable[[int], str | None] = lambda n: None) -> None:
    """qa.jsonl: the prompts with an answer each, where there is one."""
    rows = [{"id": f"p{n:02}", "text": text, "reference": answers(n)} for n, text in enumerate(PROMPTS)]
    lines = (json.dumps({key: value for key, value in row.items() if value is not None}) for row in rows)
    Path("qa.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def greedy_says(good: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What greedy search makes of each prompt."""
    without_report(monkeypatch)
    write()
    assert launch(*good, "strategy=greedy", "name=first").code == 0
    stored = read_records(Path("results/first/generations.parquet"), Generation)
    return [text.text for text in sorted(stored, key=lambda text: text.prompt_id)]


def measured(name: str = "x") -> dict[tuple[str, str], Measurement]:
    rows = read_records(Path(f"results/{name}/measurements.parquet"), Measurement)
    return {(row.strategy, row.metric): row for row in rows}


def judgements(name: str = "x") -> list[Judgement]:
    return read_records(Path(f"results/{name}/judgements.parquet"), Judgement)


def fine(done: Launch) -> Launch:
    assert (done.code, done.err) == (0, ""), done
    return done


def test_right_and_wrong_answers_are_measured(good: list[str], greedy_says: Sequence[str]) -> None:
    write(lambda n: greedy_says[n] if n % 2 == 0 else "never said")
    fine(launch("-m", *good, "strategy=greedy,sample", "task=exact_match"))
    rows = measured()
    # Greedy is right for every second of the 12 prompts: Wilson's interval of 6 of 12 is 0.254 to 0.746.
    task = rows["greedy", "task"]
    assert (task.value, task.n, task.direction) == (0.5, 12, "higher")
    assert (task.ci_low, task.ci_high) == (pytest.approx(0.254, abs=1e-3), pytest.approx(0.746, abs=1e-3))
    assert rows["greedy", "pass_at_1"].value == rows["greedy", "majority_at_1"].value == 0.5
    assert (rows["greedy", "pass_at_3"].value, rows["greedy", "pass_at_3"].reason) == (
        None,
        "no prompt has 3 judged texts",
    )
    stored = judgements()
    assert [(j.cell, j.prompt_id, j.sample) for j in stored] == [(g.cell, g.prompt_id, g.sample) for g in texts()]
    sampled = {j.prompt_id: [] for j in stored}
    for each in stored[12:]:
        sampled[each.prompt_id].append(each.value)
    assert rows["sample", "task"].value == pytest.approx(sum(map(sum, sampled.values())) / 36)
    assert rows["sample", "pass_at_3"].value == pytest.approx(sum(max(of) for of in sampled.values()) / 12)
    assert rows["human", "task"].reason == "human references are not judged"

    found = read_records(Path("results/x/differences.parquet"), Difference)
    assert {d.metric for d in found} >= {"task", "pass_at_1", "majority_at_1"}
    ranks = read_records(Path("results/x/ranking.parquet"), Rank)
    assert {rank.metrics for rank in ranks} == {("task",)}
    curves = read_records(Path("results/x/curves.parquet"), CurvePoint)
    assert {(c.strategy, c.curve, c.start) for c in curves if c.unit == "samples"} == {
        ("sample", curve, k) for curve in ("pass_at_k", "majority_at_k") for k in (1, 2, 3)
    }

    read = pd.read_csv("results/x/judgements.csv", keep_default_na=False)
    wrong = read[(read["strategy"] == "greedy") & (read["value"] == 0)]
    assert [*wrong["prompt_id"]] == [f"p{n:02}" for n in range(1, 12, 2)]
    assert {*wrong["references"]} == {"never said"}
    assert [*wrong["text"]] == greedy_says[1::2]


def test_all_right_and_all_wrong(good: list[str], greedy_says: Sequence[str]) -> None:
    write(lambda n: greedy_says[n])
    fine(launch(*good, "strategy=greedy", "task=exact_match"))
    assert measured()["greedy", "task"].value == 1.0
    assert measured()["greedy", "task"].ci_high == 1.0
    fine(launch("score", "results/x", "task=contains", "task.extract=after", "task.after=###"))
    rows = measured()
    assert (rows["greedy", "task"].value, rows["greedy", "task"].ci_low) == (0.0, 0.0)
    assert rows["greedy", "no_answer_share"].value == 1.0
    assert {j.answer for j in judgements()} == {None}


def test_another_task_judges_the_same_texts_and_none_leaves_what_there_was(
    good: list[str], greedy_says: Sequence[str]
) -> None:
    write(lambda n: greedy_says[n])
    fine(launch(*good, "strategy=greedy", "name=plain"))
    fine(launch(*good, "strategy=greedy", "task=exact_match"))
    first = Path("results/x/judgements.parquet").read_bytes()
    fine(launch(*good, "strategy=greedy", "task=exact_match"))
    assert Path("results/x/judgements.parquet").read_bytes() == first
    assert manifest()["counts"]["requests_decoded"] == 0
    rule = manifest()["task"]["rule"]
    assert measured()["greedy", "task"].version == f"1.{rule}"
    fine(launch(*good, "strategy=greedy", "task=contains"))
    assert manifest()["counts"]["requests_decoded"] == 0
    assert manifest()["task"]["rule"] != rule
    fine(launch("score", "results/x"))
    assert manifest()["task"]["config"]["name"] == "contains", "of a run: its own"
    fine(launch(*good, "strategy=greedy"))
    assert not list(Path("results/x").glob("judgements.*"))
    assert "task" not in manifest()
    for table in TABLES:
        plain = Path(f"results/plain/{table}.csv").read_bytes()
        assert Path(f"results/x/{table}.csv").read_bytes() == plain


def test_a_cell_more_is_judged_beside_the_others(good: list[str], greedy_says: Sequence[str]) -> None:
    write(lambda n: greedy_says[n])
    fine(launch(*good, "strategy=greedy", "task=exact_match"))
    fine(launch("-m", *good, "strategy=greedy,beam", "task=exact_match", "task.k=[1,5]"))
    assert {g.cell for g in texts()} == {j.cell for j in judgements()}
    assert len(judgements()) == 12 + 12 * 5
    rows = measured()
    cell, stored = texts()[-1].cell, judgements()
    ranks = [[j for j in stored if (j.prompt_id, j.cell) == (f"p{n:02}", cell)] for n in range(12)]
    assert rows["beam", "task"].value == pytest.approx(sum(of[0].value or 0 for of in ranks) / 12)
    assert rows["beam", "pass_at_5"].value == pytest.approx(sum(max(j.value or 0 for j in of) for of in ranks) / 12)
    assert rows["greedy", "pass_at_5"].value is None


def test_a_made_regression_is_found(good: list[str], greedy_says: Sequence[str]) -> None:
    write(lambda n: greedy_says[n])
    fine(launch(*good, "strategy=greedy", "task=exact_match"))
    baseline = make_baseline(Path("results/x"))
    rules = parse_rules([{"kind": "statistical", "metric": "task", "margin": 0.1}])
    assert [f.outcome for f in check(Path("results/x"), baseline, rules).findings] == ["pass"]
    write(lambda n: greedy_says[n] if n < 2 else "never said")
    fine(launch(*good, "strategy=greedy", "task=exact_match", "name=y"))
    found = check(Path("results/y"), baseline, rules).findings
    assert [(f.metric, f.outcome) for f in found] == [("task", "regression")]
    fine(launch("score", "results/y", "task=contains"))
    other = check(Path("results/y"), baseline, rules)
    assert other.exit_code == 2
    assert "task: is defined otherwise in the run (version 1." in other.incomparable[0]
    assert "task name exact_match -> contains" in other.changes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["task=exact_match", "task.k=[1,4]"], "task.k=4: no strategy gives so many texts for a prompt, the most are"),
        (["task=exact_match", "metrics.rank_by=[pass_at_2]"], "will not measure it (task.k has 1, 3)"),
        (["metrics.rank_by=[task]"], "will not measure it (no text is judged: task=none)"),
        (["task=exactly"], "task=exactly: unknown"),
    ],
)
def test_what_cannot_be_is_said_before_decoding(words: list[str], says: str, good: list[str]) -> None:
    write(lambda n: "x")
    done = launch(*good, "strategy=sample", *words)
    assert done.code == 3
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not Path("results").exists()


def test_prompts_without_references_are_named(good: list[str]) -> None:
    write(lambda n: "x" if n else None)
    done = launch(*good, "strategy=greedy", "task=exact_match")
    assert done.code == 3
    assert "task=exact_match: 1 of 12 prompts have no reference ('p00')" in done.err
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["task=exactly"], "task=exactly: unknown"),
        (["task.extract=first_lin"], "task.extract=first_lin"),
        (["task=exact_match", "task.choices=[A,B]"], "has no effect with task=exact_match"),
        (["name=y"], "score name=y: allowed beside the run or file are task=NAME and task.KEY=VALUE"),
        (["task=exact_match,contains"], "several values"),
    ],
)
def test_score_refuses_what_is_no_task_and_leaves_the_run(
    words: list[str], says: str, good: list[str], greedy_says: Sequence[str]
) -> None:
    before = Path("results/first/measurements.csv").read_bytes()
    done = launch("score", "results/first", *words)
    assert done.code == 3
    assert says in done.err
    assert done.err.count("\n") == 1
    assert Path("results/first/measurements.csv").read_bytes() == before


def test_texts_that_cannot_be_judged_at_all_are_kept(
    good: list[str], greedy_says: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(lambda n: greedy_says[n])

    def refuses(*_: object) -> None:
        raise RuntimeError("the judge is away")

    monkeypatch.setattr("decodebench.scoring.judging.judge", refuses)
    done = launch(*good, "strategy=greedy", "task=exact_match")
    assert done.code == 1
    assert "not all could be judged: RuntimeError: the judge is away" in done.err
    assert len(texts()) == 12
    row = measured()["greedy", "task"]
    assert (row.value, row.reason) == (None, "RuntimeError: the judge is away")
    monkeypatch.undo()


def test_one_text_that_cannot_be_judged_is_that_texts(
    good: list[str], greedy_says: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from decodebench.scoring import judging
    from decodebench.tasks import Judged

    write(lambda n: greedy_says[n])
    judge = judging.judge
    monkeypatch.setattr(
        "decodebench.scoring.judging.judge",
        lambda config, items: [*judge(config, items[:-1]), Judged(answer=None, value=None, reason="it raised")],
    )
    fine(launch(*good, "strategy=greedy", "task=exact_match"))
    row = measured()["greedy", "task"]
    assert (row.value, row.n) == (1.0, 11)
    [warning] = manifest()["warnings"]
    assert warning["warning"] == (
        "1 of 12 texts have no judgement, and are left out of the metrics of the task; the first: it raised"
    )
