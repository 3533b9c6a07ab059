"""Prompt sets: the committed ones, the four file formats, the hub, and one test for each thing that can be wrong."""

import gzip
import hashlib
import json
import sys
import unicodedata
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decodebench.errors import ConfigError, PromptError
from decodebench.prompts.sets import PromptsConfig, load_prompts, prompts_sha256
from decodebench.records import Prompt

CONF = Path(__file__).parents[2] / "conf" / "prompts"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": " 안녕, \u2028 세계 ", "reference": "그래."},
    {"id": "b", "text": 'She said: "no",\nand left.\n', "reference": None},
    {"id": "c", "text": "\n1 2 3", "reference": "4 5"},
]
EXPECTED = tuple(
    Prompt(id=row["id"], text=row["text"], references=(row["reference"],) if row["reference"] else ()) for row in ROWS
)


def conf(name: str, **changes: Any) -> PromptsConfig:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return PromptsConfig(**{**values, **changes})


def from_file(path: Path, **changes: Any) -> tuple[Prompt, ...]:
    return load_prompts(conf("file", path=str(path), **changes))


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# --- The committed sets ---


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_conf_has_exactly_the_fields(path: Path) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(values) == {field.name for field in fields(PromptsConfig)}
    assert PromptsConfig(**values).name == path.stem


def test_seed_ko_is_letter_for_letter() -> None:
    greeting, interview = load_prompts(conf("seed_ko"))
    assert (greeting.id, interview.id, greeting.language, interview.language) == ("greeting", "interview", "ko", "ko")
    assert greeting.text == "야! 너는 AI지? 정말로 말을 알아듣니?"
    assert interview.text == (
        "\n요즘 굉장히 핫한 인공지능인 GPT님과 인터뷰를 나눠보겠습니다!\nQ : GPT님, 요즘 바쁘시죠?\nA : "
    )
    assert all(unicodedata.is_normalized("NFC", prompt.text) for prompt in (greeting, interview))


def test_open_en_is_a_dozen_unfinished_openings() -> None:
    prompts = load_prompts(conf("open_en"))
    assert len(prompts) == 12
    assert {prompt.language for prompt in prompts} == {"en"}
    assert not [prompt.id for prompt in prompts if prompt.text.endswith((".", "!", "?", " "))]


@pytest.mark.parametrize(("name", "key"), [("file", "path"), ("hub", "id")])
def test_what_must_be_given(name: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_prompts(conf(name))
    assert f"prompts.{key}=null: prompts={name} must be given" in message(error)


def test_items_and_split_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"prompts\.items=null"):
        load_prompts(conf("seed_ko", items=None))
    with pytest.raises(ConfigError, match=r"prompts\.split=null"):
        load_prompts(conf("hub", id="a/b", split=None))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "fiel"}, "prompts.source=fiel: allowed: corpus, file, hub, inline; did you mean file?"),
        ({"path": "x.txt"}, "prompts.path='x.txt': has no effect with prompts=seed_ko"),
        ({"split": "train"}, "prompts.split='train': has no effect"),
        ({"date": "2025-02-03"}, "prompts.date=2025-02-03: has no effect without prompts.template=chat"),
        ({"date": "today", "template": "chat"}, "prompts.date=today: allowed is a day as YYYY-MM-DD, or null"),
        ({"date": "2025-02-30", "template": "chat"}, "prompts.date=2025-02-30: allowed is a day as YYYY-MM-DD"),
        ({"date": "2025-W05-1", "template": "chat"}, "prompts.date=2025-W05-1: allowed is a day as YYYY-MM-DD"),
        ({"date": 20250203, "template": "chat"}, "prompts.date=20250203: must be a string"),
        ({"limit": 0}, "prompts.limit=0: must be a whole number of at least 1"),
        ({"limit": True}, "prompts.limit=True: must be a whole number"),
        ({"limit": "2"}, "prompts.limit='2': must be a whole number"),
        ({"ids": "greeting"}, "prompts.ids='greeting': must be a list"),
        ({"ids": []}, "prompts.ids=[]: must be a list with at least one entry"),
        ({"language": 7}, "prompts.language=7: must be a string"),
        ({"text_column": None}, "prompts.text_column=None: must be a string"),
    ],
)
def test_a_value_that_is_not_allowed(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        conf("seed_ko", **changes)
    assert expected in message(error)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["just a text"], "prompts.items: item 1: must be a mapping, not 'just a text'"),
        (
            [{"id": "a", "txt": "x"}],
            "prompts.items: item 1: key txt: allowed: cluster, id, language, reference, tags, text; did",
        ),
        ([{"text": "x"}, {"text": "x", "tags": "one"}], "item 2: tags must be a list of strings, not 'one'"),
        ([{"text": "x", "tags": [1]}], "item 1: tags must be a string, it is int 1"),
    ],
)
def test_a_bad_inline_item(items: list[Any], expected: str) -> None:
    with pytest.raises(PromptError) as error:
        load_prompts(conf("seed_ko", items=items))
    assert expected in message(error)


def test_an_inline_item_has_labels_of_its_own() -> None:
    items = [{"text": "un", "language": "fr", "tags": ["x", "y"]}, {"text": "둘", "reference": ""}]
    assert load_prompts(conf("seed_ko", items=items)) == (
        Prompt(id="0001", text="un", language="fr", tags=("x", "y")),
        Prompt(id="0002", text="둘", language="ko"),
    )


# --- Choosing prompts, and their hash ---


def test_ids_keep_the_order_of_the_set_and_limit_comes_after() -> None:
    assert [prompt.id for prompt in load_prompts(conf("open_en", ids=["cache", "harbour"]))] == ["harbour", "cache"]
    assert [prompt.id for prompt in load_prompts(conf("open_en", ids=["cache", "bread"], limit=1))] == ["bread"]
    assert len(load_prompts(conf("open_en", limit=99))) == 12


def test_an_unknown_id_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(PromptError) as error:
        load_prompts(conf("seed_ko", ids=["greetings"]))
    assert message(error) == (
        "prompts.ids=greetings: none of the 2 prompts; allowed: greeting, interview; did you mean greeting?"
    )
    many = written(tmp_path, "many.jsonl", "".join(f'{{"id": "prompt{i}", "text": "x"}}\n' for i in range(500)))
    with pytest.raises(PromptError) as error:
        from_file(many, ids=["pronpt499"])
    assert "did you mean prompt499?" in message(error)
    assert len(message(error)) < 200


def test_sha256_is_of_ids_texts_and_references_in_order() -> None:
    one = Prompt(id="a", text="é")
    by_hand = r'[{"id":"a","reference":null,"text":"\u00e9"}]'
    assert prompts_sha256([one]) == hashlib.sha256(by_hand.encode()).hexdigest()
    assert prompts_sha256([replace(one, language="fr", tags=("x",))]) == prompts_sha256([one])
    for other in (replace(one, id="b"), replace(one, text="e\u0301"), replace(one, references=("",))):
        assert prompts_sha256([other]) != prompts_sha256([one])
    several = replace(one, references=("x", "y"))
    assert len({prompts_sha256([p]) for p in (several, replace(several, references=("x",)), one)}) == 3
    assert prompts_sha256([several]) != prompts_sha256([replace(several, references=("y", "x"))])
    as_one = '[{"id":"a","reference":"x","text":"\\u00e9"}]'  # as it was when there could be but one
    assert prompts_sha256([replace(one, references=("x",))]) == hashlib.sha256(as_one.encode()).hexdigest()
    assert prompts_sha256(EXPECTED) != prompts_sha256(EXPECTED[::-1])


# --- Round trips ---


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8", newline="")
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".CSV"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prompts{suffix.lower()}"
    write_rows(path, ROWS)
    path = path.rename(tmp_path / f"prompts{suffix}")
    assert from_file(path) == EXPECTED
    assert from_file(path, limit=2, language="ko") == tuple(replace(prompt, language="ko") for prompt in EXPECTED[:2])


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_columns_of_other_names_and_made_ids(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prompts{suffix}"
    write_rows(path, [{"key": 7, "question": "x", "answer": "y"}, {"key": 8, "question": "z", "answer": None}])
    named = from_file(path, id_column="key", text_column="question", reference_column="answer")
    assert named == (Prompt(id="7", text="x", references=("y",)), Prompt(id="8", text="z"))
    made = from_file(path, text_column="question")
    assert made == (Prompt(id="0001", text="x"), Prompt(id="0002", text="z"))


@pytest.mark.parametrize("content", ["하나\nb \n", "하나\r\nb \r\n", "\ufeff하나\nb "])
def test_txt_has_a_prompt_on_each_line(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "p.txt", content)
    assert from_file(path) == (Prompt(id="0001", text="하나"), Prompt(id="0002", text="b "))


def test_bom_is_accepted_before_a_csv_header(tmp_path: Path) -> None:
    assert from_file(written(tmp_path, "p.csv", "\ufeffid,text\na,b\n")) == (Prompt(id="a", text="b"),)


def test_texts_are_not_normalised(tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "한글")
    assert from_file(written(tmp_path, "p.txt", f"{nfd}\n한글\n")) == (
        Prompt(id="0001", text=nfd),
        Prompt(id="0002", text="한글"),
    )


any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())
one_line = any_text.filter(lambda text: "\n" not in text and "\r" not in text)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(one_line, min_size=1))
def test_any_txt_comes_back(tmp_path: Path, texts: list[str]) -> None:
    path = written(tmp_path, "p.txt", ("\n".join(texts) + "\n").encode("utf-8-sig"))
    assert [prompt.text for prompt in from_file(path)] == texts


@quick
@given(st.lists(st.tuples(any_text, st.none() | any_text), min_size=1), st.booleans())
def test_any_jsonl_comes_back(tmp_path: Path, pairs: list[tuple[str, str | None]], ascii_only: bool) -> None:
    lines = [json.dumps({"text": text, "reference": ref}, ensure_ascii=ascii_only) for text, ref in pairs]
    path = written(tmp_path, "p.jsonl", "\n".join(lines).encode("utf-8-sig"))
    prompts = from_file(path)
    assert [(prompt.text, prompt.reference) for prompt in prompts] == pairs
    assert len({prompt.id for prompt in prompts}) == len(pairs)


# --- Ids as other programs write them ---


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_whole_number_with_a_point_is_an_id(tmp_path: Path, suffix: str) -> None:
    """A column of pandas with one missing number is one of floats: 7 becomes 7.0."""
    path = tmp_path / f"p{suffix}"
    write_rows(path, [{"id": 7.0, "text": "a"}, {"id": -3.0, "text": "b"}, {"id": 2.0**53 - 1, "text": "c"}])
    assert [prompt.id for prompt in from_file(path)] == ["7", "-3", "9007199254740991"]
    for value in (7.5, 2.0**53, 1e300, float("inf"), float("nan")):
        write_rows(path, [{"id": 1.0, "text": "a"}, {"id": value, "text": "b"}])
        with pytest.raises(PromptError, match=r"2: id must be a string, it is (float|null)"):
            from_file(path)


def test_an_id_that_is_text_stays_as_it_is(tmp_path: Path) -> None:
    """A version, or a number with zeros before it, is no number."""
    path = written(tmp_path, "p.csv", "id,text\n7.0,a\n007,b\n1e3,c\n")
    assert [prompt.id for prompt in from_file(path)] == ["7.0", "007", "1e3"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_prompt_that_is_said_again_is_there_once(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with a row for each sample names its prompt in all of them: it is one prompt, not several."""
    path = tmp_path / f"p{suffix}"
    rows = [{"id": 1, "text": "a", "reference": "x"}, {"id": 2, "text": "a", "reference": None}]
    write_rows(path, [rows[0], rows[1], rows[0], rows[0]])
    with caplog.at_level("INFO", "decodebench"):
        assert from_file(path) == (Prompt(id="1", text="a", references=("x",)), Prompt(id="2", text="a"))
    assert caplog.messages == [
        f"prompts.path={path}: 2 rows say again what another one says; such a prompt is there once"
    ]
    for other, field in (
        ({"text": "b"}, "text"),
        ({"reference": "y"}, "reference"),
        ({"reference": None}, "reference"),
    ):
        write_rows(path, [rows[0], rows[1], rows[0] | other])
        with pytest.raises(PromptError, match=f"have the same id '1', and another {field}; allowed is an id for each"):
            from_file(path)


# --- Files that cannot be used ---

BAD_FILES: list[tuple[str, str | bytes, dict[str, Any], str]] = [
    ("p.jsn", "[]", {}, "unknown suffix .jsn: allowed: .csv, .json, .jsonl, .parquet, .tsv, .txt; did you mean .json?"),
    ("prompts", "x", {}, "unknown suffix (none): allowed: .csv"),
    ("p.txt", "", {}, "the file is empty"),
    ("p.txt", "\n\n", {}, "the file is empty"),
    ("p.csv", b"\xef\xbb\xbf", {}, "the file is empty"),
    ("p.csv", "id,text\n", {}, "has no prompts"),
    # "ab\n" is 3 bytes; then "c" is byte 3, and the bad byte is byte 4, on line 2.
    ("p.txt", b"ab\nc\xff\n", {}, "not UTF-8 at byte 4 (line 2)"),
    ("p.csv", b"\xef\xbb\xbftext\n\xb0\xa1\n", {}, "not UTF-8 at byte 8 (line 2)"),  # EUC-KR after a BOM
    ("p.txt", "a\n\nb\n", {}, "line 2: empty prompt"),
    ("p.txt", "a\n \t\n", {}, "line 2: empty prompt"),
    ("p.txt", "a\n", {"text_column": "question"}, "prompts.text_column=question: no such column; allowed: text"),
    ("p.txt", "a\n", {"id_column": "key"}, "prompts.id_column=key: no such column; allowed: text"),
    (
        "p.csv",
        "id,texts\na,b\n",
        {},
        "prompts.text_column=text: no such column; allowed: id, texts; did you mean texts?",
    ),
    ("p.csv", "text\na\n", {"reference_column": "answer"}, "prompts.reference_column=answer: no such column"),
    ("p.csv", "text,text\na,b\n", {}, "two columns are named 'text'"),
    ("p.csv", "id,text\na,b\nc\n", {}, "line 3: 1 cells, but the header has 2"),
    ("p.csv", "id,text\na,b,c\n", {}, "line 2: 3 cells, but the header has 2"),
    # The prompt of row 1 fills lines 2 to 4, so the bad row begins on line 5.
    ("p.csv", 'id,text\na,"1\n2\n3"\nb,\n', {}, "line 5: empty prompt"),
    ("p.csv", 'id,text\na,"1\r\n2"\r\n,b\r\n', {}, "line 4: empty id"),
    ("p.csv", "text\na\n\nb\n", {}, "line 3: empty prompt"),
    ("p.csv", 'id,text\na,"never closed\n', {}, "line 2: not CSV: unexpected end of data"),
    ("p.csv", "id,text\na,b\nc,d\na,e\n", {}, "line 2 and line 4 have the same id 'a', and another text; allowed"),
    ("p.jsonl", '{"text": "a"}\n{"text": \n', {}, "line 2: not JSON: Expecting value (column 10)"),
    ("p.jsonl", '{"text": "a"}\n\n{"text": "b"}\n', {}, "line 2: not JSON"),
    ("p.jsonl", '{"text": "a"}\n["b"]\n', {}, "line 2: must be a JSON object"),
    ("p.jsonl", '{"text": "a", "n": ' + "9" * 5000 + "}", {}, "line 1: not readable JSON"),
    ("p.jsonl", "[" * 100_000, {}, "line 1: not readable JSON"),
    ("p.jsonl", '{"text": "a"}\n{"text": 12}\n', {}, "line 2: text must be a string, it is int 12"),
    ("p.jsonl", '{"text": "a"}\n{"text": null}\n', {}, "line 2: text must be a string, it is null or missing"),
    ("p.jsonl", '{"text": "a"}\n{"id": "b"}\n', {}, "line 1: id must be a string, it is null or missing"),
    ("p.jsonl", '{"text": "a", "id": true}\n', {}, "line 1: id must be a string, it is bool True"),
    ("p.jsonl", '{"text": "a", "reference": 3}\n', {}, "line 1: reference must be a string, it is int 3"),
    ("p.jsonl", '{"text": "a\\ud800"}\n', {}, "line 1: text has half of a surrogate pair at character 1"),
    ("p.jsonl", '{"id": 1, "text": "a"}\n{"id": "1", "text": "b"}', {}, "line 1 and line 2 have the same id '1'"),
    ("p.parquet", b"PAR1 this is not one", {}, "not a readable parquet file"),
]


@pytest.mark.parametrize(("name", "content", "changes", "expected"), BAD_FILES, ids=lambda value: str(value)[:24])
def test_a_file_that_cannot_be_used(
    tmp_path: Path, name: str, content: str | bytes, changes: dict[str, Any], expected: str
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(PromptError) as error:
        from_file(path, **changes)
    assert message(error).startswith(f"prompts.path={path}: ")
    assert expected in message(error)


def test_no_file_and_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PromptError) as error:
        load_prompts(conf("file", path="foo.txt"))
    assert message(error) == f"prompts.path=foo.txt: no such file (looked for {tmp_path / 'foo.txt'})"
    with pytest.raises(PromptError) as error:
        from_file(tmp_path)
    assert "is a folder; give a file (.txt, .jsonl, .json, .csv, .tsv, .parquet)" in message(error)


def test_parquet_rows_are_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    for texts, expected in (
        (["a", ""], "row 2: empty prompt"),
        ([1.5], "row 1: text must be a string, it is float 1.5"),
        ([], "has no prompts"),
    ):
        pd.DataFrame({"text": texts}).to_parquet(path)
        with pytest.raises(PromptError, match=expected):
            from_file(path)


# --- The hub ---


def test_hub_offline_says_what_to_do() -> None:
    pytest.importorskip("datasets")
    import datasets

    assert datasets.config.HF_HUB_OFFLINE, "run the tests with HF_HUB_OFFLINE=1, as make test does"
    with pytest.raises(PromptError) as error:
        load_prompts(conf("hub", id="decodebench/no-such-set"))
    assert message(error).startswith("prompts.id=decodebench/no-such-set: the hub cannot be reached")
    assert "prompts=file prompts.path=" in message(error)


def test_hub_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PromptError) as error:
        load_prompts(conf("hub", id="a/b"))
    assert "pip install 'decodebench[hub]'" in message(error)


def test_hub_reads_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "train.jsonl", ROWS)
    assert load_prompts(conf("hub", id=str(folder))) == EXPECTED
    with pytest.raises(PromptError) as error:
        load_prompts(conf("hub", id=str(folder), split="tset"))
    assert "cannot be loaded with prompts.split=tset: Unknown split" in message(error)
    with pytest.raises(PromptError, match=r"prompts.text_column=body: no such column; allowed: id, reference, text"):
        load_prompts(conf("hub", id=str(folder), text_column="body"))


class FakeDataset(list[dict[str, Any]]):
    """What hub_table needs of a data set: a length, items, column_names. It counts what is read."""

    column_names = ("text",)
    reads = 0

    def __getitem__(self, index: Any) -> Any:
        type(self).reads += 1
        return super().__getitem__(index)


def test_hub_passes_every_key_and_reads_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def load_dataset(path: str, **options: Any) -> FakeDataset:
        seen.update(options, path=path)
        return FakeDataset({"text": f"t{i}"} for i in range(1000))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    prompts = load_prompts(conf("hub", id="a/b", split="test", revision="abc", config_name="ko", limit=2))
    assert prompts == (Prompt(id="0001", text="t0"), Prompt(id="0002", text="t1"))
    assert seen == {"path": "a/b", "split": "test", "revision": "abc", "name": "ko"}
    assert FakeDataset.reads == 2


# --- Several answers, nested values, clusters, gzip ---


def test_a_prompt_may_have_several_accepted_answers(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "reference": ["x", "y", "x"]},
        {"text": "b", "reference": ["", None, "z"]},
        {"text": "c", "reference": []},
        {"text": "d", "reference": "[not, JSON"},
    ]
    answers = [("x", "y"), ("z",), (), ("[not, JSON",)]
    for suffix in (".jsonl", ".json"):
        content = json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows))
        assert [prompt.references for prompt in from_file(written(tmp_path, f"p{suffix}", content))] == answers
    cells = [row["reference"] if isinstance(row["reference"], str) else json.dumps(row["reference"]) for row in rows]
    pd.DataFrame({"text": [row["text"] for row in rows], "reference": cells}).to_csv(tmp_path / "p.csv", index=False)
    assert [prompt.references for prompt in from_file(tmp_path / "p.csv")] == answers
    pd.DataFrame({"text": ["a"], "reference": [["x", "y"]]}).to_parquet(tmp_path / "p.parquet")
    assert from_file(tmp_path / "p.parquet")[0].references == ("x", "y")
    # a text that looks like a list stays a text where a list can be written as one
    literal = written(tmp_path, "q.jsonl", json.dumps({"text": "a", "reference": '["x"]'}))
    assert from_file(literal)[0].references == ('["x"]',)


def test_answers_in_several_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", 'text,first,second\na,x,y\nb,,z\nc,,\nd,"[""u"", ""v""]",u\n')
    found = from_file(path, reference_column=["first", "second"])
    assert [prompt.references for prompt in found] == [("x", "y"), ("z",), (), ("u", "v")]
    assert [prompt.references for prompt in from_file(path, reference_column=["second"])] == [
        ("y",), ("z",), (), ("u",)
    ]  # fmt: skip
    with pytest.raises(
        PromptError, match=r"prompts\.reference_column=third: no such column; allowed: first, second, t"
    ):
        from_file(path, reference_column=["first", "third"])


@pytest.mark.parametrize("column", [[], ["a", "a"], ["a", 1], None, 7])
def test_columns_that_are_none(column: Any) -> None:
    with pytest.raises(ConfigError, match=r"must be the name of a column .* or a list of different ones"):
        conf("file", path="x", reference_column=column)


def test_nested_values_are_named_by_their_path(tmp_path: Path) -> None:
    rows = [
        {"key": {"n": 7}, "turns": [{"say": "a"}], "answers": {"text": ["x", "y"], "start": [3]}, "from": {"doc": "d"}},
        {"key": {"n": 8}, "turns": [{"say": "b"}], "answers": {"text": []}, "from": None},
    ]
    columns = {"id_column": "key.n", "text_column": "turns.0.say", "cluster_column": "from.doc"}
    jsonl = written(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_parquet(tmp_path / "p.parquet")
    for path in (jsonl, tmp_path / "p.parquet"):
        assert from_file(path, reference_column="answers.text", **columns) == (
            Prompt(id="7", text="a", references=("x", "y"), cluster="d"),
            Prompt(id="8", text="b"),
        )
        second = from_file(path, reference_column="answers.text.1", **columns)
        assert [prompt.references for prompt in second] == [("y",), ()]
    for setting, column in (
        ("text_column", "turns.1.say"),
        ("text_column", "turns.x"),
        ("id_column", "key.m"),
        ("cluster_column", "from.doc.x"),
    ):
        with pytest.raises(
            PromptError, match=rf"prompts\.{setting}={column}: no such column; allowed: answers, from, k"
        ):
            from_file(jsonl, **columns | {setting: column})
    # a column that has the whole name goes before a path
    dotted = written(tmp_path, "d.jsonl", json.dumps({"a.b": "whole", "a": {"b": "path"}}))
    assert from_file(dotted, text_column="a.b")[0].text == "whole"


def test_clusters_are_labels(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", "text,cluster,book\na,x,1\nb,,1\nc,x,2\n")
    assert [prompt.cluster for prompt in from_file(path)] == ["x", None, "x"]
    assert [prompt.cluster for prompt in from_file(path, cluster_column="book")] == ["1", "1", "2"]
    inline = load_prompts(conf("seed_ko", items=[{"text": "a", "cluster": 3, "reference": ["x", "y"]}, {"text": "b"}]))
    assert [(prompt.cluster, prompt.references) for prompt in inline] == [("3", ("x", "y")), (None, ())]
    assert prompts_sha256([replace(inline[0], cluster=None)]) == prompts_sha256(inline[:1])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "p.csv",
            'text,reference\na,"[1, 2]"\n',
            "line 2: reference: the list '[1, 2]' must hold strings alone, such as",
        ),
        ("p.jsonl", '{"text": "a", "reference": [1]}', "line 1: reference must be a string, it is int 1"),
        ("p.jsonl", '{"text": "a", "reference": {"x": 1}}', "line 1: reference must be a string, it is dict"),
        ("p.jsonl", '{"text": "a", "reference": false}', "line 1: reference must be a string, it is bool False"),
        ("p.jsonl", '{"text": "a", "cluster": [1]}', "line 1: cluster must be a string, it is list [1]"),
        ("p.csv", "text,cluster\na, \n", "line 2: empty cluster"),
        ("p.jsonl.gz", '{"text": "a"}', "not a readable gzip file"),
        ("p.jsonl.gz", gzip.compress(b'{"text": "a"}', mtime=0)[:-9], "not a readable gzip file"),
        ("p.jsonl.gz", gzip.compress(b"\n", mtime=0), "the file is empty"),
        ("p.xml.gz", gzip.compress(b"x", mtime=0), "unknown suffix .xml.gz: allowed: .csv, .json,"),
        ("p.gz", gzip.compress(b"x", mtime=0), "unknown suffix .gz: allowed: .csv, .json,"),
    ],
)
def test_bad_references_clusters_and_archives(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    with pytest.raises(PromptError) as error:
        from_file(written(tmp_path, name, content))
    assert expected in message(error)


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_any_format_may_be_packed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    if suffix == ".parquet":
        pd.DataFrame({"text": ["하나", "b"]}).to_parquet(path)
    elif suffix.startswith(".json"):
        path.write_text('{"text": "하나"}\n{"text": "b"}\n', encoding="utf-8")
    else:
        path.write_text("하나\nb\n" if suffix == ".txt" else "text\n하나\nb\n", encoding="utf-8")
    packed = written(tmp_path, f"p{suffix}.GZ", gzip.compress(path.read_bytes()))
    assert [prompt.text for prompt in from_file(packed)] == ["하나", "b"]
    assert from_file(packed) == from_file(path)
