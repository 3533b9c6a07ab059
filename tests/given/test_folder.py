"""`score FILE`: texts that were made elsewhere become a run folder, and what is wrong with them is said by its line."""

import csv
import gzip
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from decodebench.commands.score import _UNITS
from decodebench.errors import PromptError, StoreError
from decodebench.given import Columns, is_table, read, write
from decodebench.metrics.texts import UNITS, _kiwi
from decodebench.records import Generation, Reading, StoredPrompt
from decodebench.report.folder import load
from decodebench.store.folder import locked
from decodebench.store.tables import read_records
from launches import launch, without_report

ROWS: list[dict[str, Any]] = [
    {"prompt_id": "sea", "text": "a b a b", "strategy": "greedy", "prompt": "The sea", "reference": "is wide"},
    {"prompt_id": "sea", "text": "a b c d", "strategy": "top_p", "prompt": "The sea", "reference": "is wide"},
    {"prompt_id": "비", "text": "오늘 비가", "strategy": "greedy", "prompt": "내일", "reference": ""},
    {"prompt_id": "sea", "text": "", "strategy": "top_p", "prompt": "", "reference": ""},
]
"""Greedy has a text for each prompt, top_p two for the first; an empty prompt or reference is a missing one."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))


def jsonl(rows: Sequence[dict[str, Any]], path: str = "texts.jsonl") -> Path:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Path(path)


def written(rows: Sequence[dict[str, Any]], suffix: str) -> Path:
    """The rows as a file of that format."""
    path = Path(f"texts{suffix}")
    if suffix == ".jsonl":
        return jsonl(rows)
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            lines = csv.DictWriter(stream, list(rows[0]))
            lines.writeheader()
            lines.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def told(text: Generation) -> tuple[str, str, int, str, str]:
    return text.strategy, text.prompt_id, text.sample, text.prompt, text.text


# --- what a file says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_row_is_a_text_in_every_format(suffix: str) -> None:
    found = read(written(ROWS, suffix), Columns())
    assert [told(text) for text in found.texts] == [
        ("greedy", "sea", 0, "The sea", "a b a b"),
        ("greedy", "비", 0, "내일", "오늘 비가"),
        ("top_p", "sea", 0, "The sea", "a b c d"),
        ("top_p", "sea", 1, "The sea", ""),
    ]
    assert [told(text) for text in found.reference_texts] == [("human", "sea", 0, "The sea", "is wide")]
    assert [(prompt.id, prompt.text, prompt.reference) for prompt in found.prompts] == [
        ("sea", "The sea", "is wide"),
        ("비", "내일", None),
    ]
    assert found.strategies == ("greedy", "top_p", "human")
    for text in (*found.texts, *found.reference_texts):
        assert (text.finish_reason, text.token_ids, text.token_logprobs) == ("end", (), ())
        assert (text.model, text.seed, text.is_search) == ("given", 0, False)
    assert {text.cell for text in found.texts} == {cell["id"] for cell in found.cells}


def test_two_columns_suffice_and_the_file_names_the_strategy() -> None:
    found = read(jsonl([{"prompt_id": 7, "text": "x"}], "gpt-2 xl.jsonl"), Columns())
    assert [told(text) for text in found.texts] == [("gpt-2 xl", "7", 0, "", "x")]
    assert found.references == found.reference_texts == ()


def test_samples_with_numbers_keep_them() -> None:
    rows = [{"prompt_id": "a", "text": str(n), "sample": n} for n in (3, 0)]
    found = read(jsonl(rows), Columns())
    assert [(text.sample, text.text) for text in found.texts] == [(0, "0"), (3, "3")]
    assert [text.sample for text in read(written(rows, ".csv"), Columns()).texts] == [0, 3]


def test_numbers_of_a_table_with_gaps() -> None:
    """pandas makes 0 and 7 of a column with a gap 0.0 and 7.0, and writes them so into a CSV, too."""
    rows = [{"prompt_id": 7.0, "text": "x", "sample": 0.0, "strategy": 2.0}, {**A, "sample": 1.0, "strategy": "s"}]
    for suffix in (".jsonl", ".csv"):
        found = read(written(rows, suffix), Columns()).texts
        assert [text.sample for text in found] == [0, 1]
    assert told(read(jsonl(rows), Columns()).texts[0]) == ("2", "7", 0, "", "x")
    for sample in (0.5, float("nan"), "0.", "1.00", "1e3", "-1.0"):
        with pytest.raises(PromptError, match=r"line 1: sample=.*: allowed is a whole number, 0 or more"):
            read(jsonl([{**A, "sample": sample}]), Columns())


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv"])
def test_formats_of_other_programs(suffix: str) -> None:
    """An array of JSON, tabs, and semicolons."""
    path = Path(f"t{suffix}")
    if suffix.startswith(".json"):
        path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")
    else:
        pd.DataFrame(ROWS).to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ";")
    assert [text.text for text in read(path, Columns()).texts] == ["a b a b", "오늘 비가", "a b c d", ""]


def test_other_columns_by_option() -> None:
    rows = [{"key": "a", "out": "x", "who": "me", "gold": "y", "before": "z", "k": 2, "text": "no", "sample": 5}]
    columns = Columns(id="key", text="out", strategy="who", reference="gold", prompt="before", sample="k")
    found = read(jsonl(rows), columns)
    assert [told(text) for text in (*found.texts, *found.reference_texts)] == [
        ("me", "a", 2, "z", "x"),
        ("human", "a", 0, "z", "y"),
    ]


def test_several_references_nested_columns_and_a_packed_file() -> None:
    rows = [{"q": {"id": n}, "turns": ["no", f"t{n}"], "answers": ["x", "", "y"]} for n in (1, 2)]
    path = Path("mine.jsonl.gz")
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = read(path, Columns(id="q.id", text="turns.1", reference="answers"))
    assert [told(text) for text in (*found.texts, *found.reference_texts)] == [
        ("mine", "1", 0, "", "t1"),
        ("mine", "2", 0, "", "t2"),
        ("human", "1", 0, "", "x"),
        ("human", "2", 0, "", "x"),
    ]
    assert [prompt.references for prompt in found.prompts] == [("x", "y")] * 2
    assert (found.name, found.cells[0]["prompts"]) == ("mine", "mine")
    assert is_table(path)
    assert not is_table(Path("results/mine.v2"))
    with pytest.raises(
        PromptError, match=r"mine\.jsonl\.gz: --text-column=turns\.2: no such column; allowed: answers, q, t"
    ):
        read(path, Columns(id="q.id", text="turns.2"))


def test_a_column_that_an_option_takes_is_not_another_one_by_its_name() -> None:
    """The references themselves as texts: they are then no references."""
    found = read(jsonl(ROWS[:1]), Columns(text="reference"))
    assert ([text.text for text in found.texts], found.references) == (["is wide"], ())


def test_cells_are_those_of_the_content_and_the_columns() -> None:
    cells = read(jsonl(ROWS), Columns()).cells
    assert read(jsonl(ROWS, "copy.jsonl"), Columns()).cells == tuple({**cell, "prompts": "copy"} for cell in cells)
    others = [read(jsonl(ROWS[:3]), Columns()), read(jsonl(ROWS), Columns(text="prompt"))]
    assert {c["id"] for c in cells}.isdisjoint(c["id"] for other in others for c in other.cells)


@for_all(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("pq"), st.text(max_size=5)), min_size=1))
def test_every_text_comes_back_once_in_its_order(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = (json.dumps({"strategy": s, "prompt_id": p, "text": t}) + "\n" for s, p, t in rows)
    path.write_text("".join(lines), encoding="utf-8")
    found = read(path, Columns()).texts
    for group in {(s, p) for s, p, _ in rows}:
        texts = [g for g in found if (g.strategy, g.prompt_id) == group]
        assert [g.text for g in texts] == [t for s, p, t in rows if (s, p) == group]
        assert [g.sample for g in texts] == list(range(len(texts)))
    assert len(found) == len(rows)


A = {"prompt_id": "a", "text": "x"}
BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no id": (
        [{"prompt": "a", "text": "x"}],
        "has no column 'prompt_id'; --id-column names it, allowed: prompt, text; did you mean prompt?",
    ),
    "no text": (
        [{"prompt_id": "a", "txt": "x"}],
        "has no column 'text'; --text-column names it, allowed: prompt_id, txt; did you mean txt?",
    ),
    "no columns": ([{}], "has no column 'prompt_id'; --id-column names it, allowed: none"),
    "text missing": ([A, {"prompt_id": "b"}], "line 2: text must be a string, it is null or missing"),
    "text of a wrong type": ([{**A, "text": ["x"]}], "line 1: text must be a string, it is list ['x']"),
    "half a pair": ([A, {**A, "text": "ab\ud83d"}], "line 2: text has half of a surrogate pair at character 2"),
    "id empty": ([{**A, "prompt_id": " "}], "line 1: empty prompt_id"),
    "id of a wrong type": ([{**A, "prompt_id": 1.5}], "line 1: prompt_id must be a string, it is float 1.5"),
    "strategy empty": ([{**A, "strategy": ""}], "line 1: empty strategy"),
    "strategy of the references": (
        [{**A, "strategy": "human"}],
        "line 1: strategy 'human' is that of the references; allowed is any other name",
    ),
    "reference of a wrong type": ([{**A, "reference": 1}], "line 1: reference must be a string, it is int 1"),
    "two references": (
        [{**A, "reference": "y"}, A, {**A, "reference": "z"}],
        "line 1 and line 3: two reference texts for the prompt 'a'; allowed is one",
    ),
    "two prompts": (
        [{**A, "prompt": "y"}, {**A, "prompt": "z"}],
        "line 1 and line 2: two prompt texts for the prompt 'a'; allowed is one",
    ),
    "sample below 0": ([{**A, "sample": -1}], "line 1: sample=-1: allowed is a whole number, 0 or more"),
    "sample of a wrong type": ([{**A, "sample": True}], "line 1: sample=True: allowed is a whole number"),
    "sample without end": ([{**A, "sample": 10**20}], "line 1: sample=100000000000000000000: allowed is"),
    "sample missing": ([{**A, "sample": 0}, A], "line 2: sample=None: allowed is a whole number"),
    "sample twice": (
        [{**A, "sample": 0}, {**A, "sample": 0}],
        "line 1 and line 2: strategy 'texts' has two texts for the prompt 'a', sample 0; allowed is one",
    ),
}
"""Rows of texts.jsonl, and what the error says after the file's name."""


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_said_with_its_line(case: str) -> None:
    rows, message = BAD[case]
    with pytest.raises(PromptError) as error:
        read(jsonl(rows), Columns())
    assert str(error.value).startswith(f"texts.jsonl: {message}")
    assert "\n" not in str(error.value)


def test_columns_that_are_not_there_or_taken() -> None:
    for columns, message in {
        Columns(
            reference="txt"
        ): "--reference-column=txt: no such column; allowed: prompt_id, text; did you mean text?",
        Columns(text="text", prompt="text"): "--text-column=text: is that of --prompt-column; allowed is one for each",
    }.items():
        with pytest.raises(PromptError, match=re.escape(f"texts.jsonl: {message}")):
            read(jsonl([A]), columns)


def test_files_that_cannot_be_read() -> None:
    Path("empty.jsonl").write_bytes(b"\n")
    Path("header.csv").write_text("prompt_id,text\n", encoding="utf-8")
    Path("broken.jsonl").write_text('{"prompt_id": "a", "text": "x"}\n{"prompt_id"\n', encoding="utf-8")
    Path("lines.txt").write_text("x\n", encoding="utf-8")
    for name, message in {
        "empty.jsonl": "the file is empty",
        "header.csv": "has no texts",
        "broken.jsonl": "line 2: not JSON",
        "lines.txt": "unknown suffix .txt: allowed: .csv, .json, .jsonl, .parquet, .tsv",
        "missing.csv": "no such file",
    }.items():
        with pytest.raises(PromptError, match="^" + re.escape(f"{name}: {message}")):
            read(Path(name), Columns())


# --- its run folder -------------------------------------------------------------------------------------------------

RUN = Path("results/x")


def store(rows: Sequence[dict[str, Any]] = ROWS, unit: str = "words") -> None:
    write(read(jsonl(rows), Columns()), RUN, {"unit": unit}, "the command")


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RUN / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_a_folder_says_where_its_texts_are_from() -> None:
    store()
    found, texts = manifest(), read(Path("texts.jsonl"), Columns())
    assert (found["name"], found["status"], found["command"], found["seed"]) == ("x", "complete", "the command", [0])
    assert found["source"] == {
        "file": "texts.jsonl",
        "sha256": texts.sha256,
        "columns": {
            "id": "prompt_id",
            "text": "text",
            "reference": "reference",
            "strategy": "strategy",
            "prompt": "prompt",
        },
    }
    assert found["models"] == {"given": {"source": "texts.jsonl"}}
    assert found["prompts"]["texts"]["count"] == 2
    assert [cell["config"]["metrics"] for cell in found["cells"]] == [{"unit": "words"}] * 2
    assert found["references"] == [
        {"id": texts.reference_texts[0].cell, "model": "given", "prompts": "texts", "strategy": "human"}
    ]
    assert read_records(RUN / "prompts.parquet", StoredPrompt) == [
        StoredPrompt(prompts="texts", prompt_id=id_, text=text, references=references, cluster=None, language=None)
        for id_, text, references in (("sea", "The sea", ("is wide",)), ("비", "내일", ()))
    ]
    assert read_records(RUN / "generations.parquet", Generation) == list(texts.texts)
    assert read_records(RUN / "references.parquet", Generation) == list(texts.reference_texts)


def test_the_same_file_is_written_again() -> None:
    store()
    created = manifest()["created"]
    path = RUN / "manifest.json"
    path.write_text(json.dumps(manifest() | {"created": "earlier"}), encoding="utf-8")
    store(unit="characters")
    assert created != (found := manifest())["created"] == "earlier"
    assert found["cells"][0]["config"]["metrics"] == {"unit": "characters"}


def test_other_content_is_refused_and_nothing_is_changed() -> None:
    store()
    before = {path: path.read_bytes() for path in RUN.iterdir()}
    for rows in (ROWS[:3], [*ROWS, {"prompt_id": "new", "text": "x", "strategy": "greedy"}]):
        with pytest.raises(StoreError, match=r"^--name=x: results/x holds another run, or one of other content"):
            store(rows)
    assert before == {path: path.read_bytes() for path in RUN.iterdir()}


def test_what_is_no_run_folder_is_refused() -> None:
    RUN.parent.mkdir()
    RUN.write_text("a file", encoding="utf-8")
    with pytest.raises(StoreError, match=r"^--name=x: results/x is a file; allowed is another --name"):
        store()
    RUN.unlink()
    RUN.mkdir()
    store()  # an empty folder will do
    (RUN / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"^--name=x: results/x has files but no manifest.json"):
        store()


def test_a_write_that_was_cut_off_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("decodebench.given.folder.write_records", cut)
        with pytest.raises(StoreError, match="the disk is full"):
            store()
    assert manifest()["status"] == "running"
    store()
    assert manifest()["status"] == "complete"
    assert len(read_records(RUN / "generations.parquet", Generation)) == 4


def test_one_process_writes_at_a_time() -> None:
    with locked(RUN), pytest.raises(StoreError, match="another process is writing"):
        store()
    assert not RUN.exists()


# --- the command ----------------------------------------------------------------------------------------------------


def measured(name: str = "texts") -> dict[tuple[str, str], Any]:
    """The rows of measurements.csv by strategy and metric."""
    table = pd.read_csv(Path("results", name, "measurements.csv"))
    return {(row["strategy"], row["metric"]): row for _, row in table.iterrows()}


def test_a_file_is_scored_and_rendered_and_its_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done = launch("score", str(jsonl(ROWS)), "--unit", "word")
    assert (done.code, done.err) == (0, "")
    assert "report: results/texts/report.html" in done.out
    assert {"measurements.parquet", "comparison.csv", "report.md"} <= {p.name for p in Path("results/texts").iterdir()}
    found = measured()
    # greedy: 2 of 4 words of "a b a b" are distinct, 2 of 2 of the other; top_p: 4 of 4, and a text without words
    assert found["greedy", "distinct_1_words"]["value"] == (2 / 4 + 2 / 2) / 2
    assert found["top_p", "distinct_1_words"]["value"] == 4 / 4
    # 4 and 2 words; top_p has 4 and 0 in one prompt
    assert (found["greedy", "length_words"]["value"], found["top_p", "length_words"]["value"]) == (3, 2)
    assert found["top_p", "empty_share"]["value"] == 1 / 2
    for metric in ("perplexity", "perplexity_text", "eos_share", "delivered_tokens", "computed_tokens"):
        row = found["greedy", metric]
        assert pd.isna(row["value"])
        assert row["reason"], metric
    assert load(Path("results/texts")).manifest["command"] == "python -m decodebench score texts.jsonl --unit word"

    assert launch("report", "results/texts").code == 0
    without_report(monkeypatch)
    assert launch("score", "results/texts").code == 0
    assert measured().keys() == found.keys()
    assert launch("score", "results/texts", "--unit", "characters").code == 0
    assert measured()["greedy", "length_characters"]["value"] == (7 + 5) / 2  # "a b a b" and "오늘 비가"
    refused = launch("score", "results/texts", "--unit", "tokens")
    assert refused.code == 3
    assert "--unit=tokens: the texts of results/texts were given without tokens; allowed: characters, " in refused.err


def test_people_are_a_row_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    without_report(monkeypatch)
    assert launch("score", str(jsonl(ROWS)), "--unit", "words").code == 0
    assert measured()["human", "length_words"]["value"] == 2  # "is wide"


def test_a_scorer_reads_them_and_its_readings_stay(monkeypatch: pytest.MonkeyPatch, tiny_dirs: dict[str, Path]) -> None:
    without_report(monkeypatch)
    command = ["score", str(jsonl(ROWS)), "--unit", "word", "--name", "x"]
    assert launch(*command, "--scorer", str(tiny_dirs["llama"])).code == 0
    readings = read_records(RUN / "readings.parquet", Reading)
    texts = read(Path("texts.jsonl"), Columns())
    assert [(r.cell, r.prompt_id, r.sample) for r in readings] == [
        (text.cell, text.prompt_id, text.sample) for text in (*texts.texts, *texts.reference_texts)
    ]
    assert all(len(r.token_logprobs) == len(r.token_ids) for r in readings)
    assert any(r.token_ids for r in readings)
    scorer, rows = manifest()["scorer"], measured("x")
    assert scorer["id"] == str(tiny_dirs["llama"])
    assert launch(*command).code == 0
    assert manifest()["scorer"] == scorer
    assert measured("x").keys() == rows.keys()


def test_a_script_with_a_known_error_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SimCTG's loop leaves out the last n-gram: of "a b a b" it counts a b, b a and not a b again."""
    without_report(monkeypatch)
    path = str(jsonl([replace_text(ROWS[0], "a b a b")]))
    assert launch("score", path, "--unit", "word", "--name", "plain").code == 0
    assert launch("score", path, "--unit", "word", "--name", "theirs", "--compat", "simctg").code == 0
    ours = next(row for (_, metric), row in measured("plain").items() if metric == "rep_2_words")
    assert ours["value"] == pytest.approx(1 - 2 / 3)
    theirs = next(row for (_, m), row in measured("theirs").items() if m.startswith("rep_2") and "simctg" in m)
    assert theirs["value"] == 0


def replace_text(row: dict[str, Any], text: str) -> dict[str, Any]:
    return {**row, "text": text, "strategy": "one"}


ALLOWED = "allowed: characters, "


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], f"texts.jsonl: --unit must be given, a text is not split by a rule that is not named; {ALLOWED}"),
        (["--unit", "tokens"], f"--unit=tokens: the texts of texts.jsonl were given without tokens; {ALLOWED}"),
        (["--unit", "wrods"], "--unit=wrods: allowed: characters, "),
        (["--unit", "word", "--compat", "simct"], "--compat=simct: allowed: simctg; did you mean simctg?"),
        (["--unit", "word", "--leading", "-5"], "--leading=-5: allowed is a number of units, or 0 for none"),
        (["--unit", "word", "--rank-by", "a,,b"], "--rank-by=a,,b: allowed are names of metrics with commas"),
        (["--unit", "word", "--scorer", "self"], "--scorer=self: the texts of texts.jsonl have no model; allowed: a"),
        (["--unit", "word", "--against", "greed"], "--against=greed: allowed: greedy, human, top_p; did"),
        (["--unit", "word", "--name", "a/b"], "--name=a/b: allowed is one folder name, created below --results="),
        (["--unit", "word", "--text-column", "txt"], "texts.jsonl: --text-column=txt: no such column; allowed: "),
        (["--unit", "word", "--untit", "x"], "score --untit: unknown flag; allowed: --against, "),
        (["--unit", "word", "--unit", "jamo"], "score --unit: is given twice; allowed is once"),
        (["--unit"], "score --unit: must have one value after it (see score --help)"),
        (["word"], "score word: allowed beside the run or file are task=NAME and task.KEY=VALUE"),
    ],
)  # fmt: skip
def test_bad_flags_get_one_line_and_leave_nothing(arguments: list[str], message: str) -> None:
    done = launch("score", str(jsonl(ROWS)), *arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert done.err.startswith(f"decodebench: error: {message}")
    assert not Path("results").exists()


@pytest.mark.parametrize("flag", ["--name", "--results", "--id-column", "--sample-column"])
def test_flags_of_a_file_have_no_effect_on_a_run(flag: str) -> None:
    store()
    done = launch("score", "results/x", flag, "y")
    assert done.code == 3
    assert f"{flag}=y: has no effect, results/x is a run folder; it belongs to a file of texts" in done.err


def test_the_help_names_every_unit() -> None:
    assert set(_UNITS.replace(" or", ",").split(", ")) == set(UNITS)


def test_a_unit_whose_package_is_missing_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    _kiwi.cache_clear()
    done = launch("score", str(jsonl(ROWS)), "--unit", "morpheme")
    assert done.code == 3
    assert "pip install 'decodebench[korean]'" in done.err
    assert not Path("results").exists()


def test_another_folder_for_results(monkeypatch: pytest.MonkeyPatch) -> None:
    without_report(monkeypatch)
    done = launch("score", str(jsonl(ROWS)), "--unit=word", "--name=mine", "--results=elsewhere/runs")
    assert (done.code, done.err) == (0, "")
    assert load(Path("elsewhere/runs/mine")).manifest["name"] == "mine"
