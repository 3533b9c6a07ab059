"""The words of a launch: texts need no quotes, nothing is lost in silence, and what is wrong is one line."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given as for_all
from hypothesis import strategies as st

from decodebench.commands.overrides import quoted, readable
from decodebench.errors import ConfigError
from decodebench.plan import Plan, conf_dir
from launches import launch_as_typed as launch


@pytest.fixture(autouse=True)
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would be run."""
    found: list[Plan] = []

    def execute(plan: Plan, **_: object) -> Path:
        found.append(plan)
        return plan.run_dir

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("decodebench.choosing.flow.execute", execute)
    return found


def value(word: str) -> object:
    """What Hydra reads of a word, as we hand it on."""
    return OverridesParser.create().parse_override(readable([word], [conf_dir()])[0]).value()


def refused(*words: str) -> str:
    done = launch(*words)
    (line,) = done.err.splitlines()
    assert (done.code, done.out) == (3, "")
    return line.removeprefix("decodebench: error: ")


# --- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "한국어", "내 파일.csv", "데이터/한글.jsonl", "Q: {text} A:", "{text}", "### {text}", "[INST] {text} [/INST]",
        "<s>{text}</s>", "질문: {text}!", "it's {text}", 'say "x" {text}', "it's \"{text}\"", "a=b", "a=b.csv", "50%",
        "train[:10]", "naïve", "日本語 (テスト)", "ends with \\", "back\\'slash'", "1e3", "007", "1_000", "+7", "true",
        "NaN", "inf", "12345", "1.10", ".5", "2026-11-28", "C:\\data\\x.csv", "~/x", "a\nb", "tab\there", "#1", "😀",
    ],
)  # fmt: skip
def test_a_text_needs_no_quotes(text: str) -> None:
    for key in ("prompts.path", "model.revision", "name"):
        assert value(f"{key}={text}") == text


@for_all(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_text_comes_back_from_quotes(text: str) -> None:
    assert OverridesParser.create().parse_override(f"prompts.path={quoted(text)}").value() == text


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("[인사,greeting]", ["인사", "greeting"]),
        ("[1e3, 007, 1_000, true]", ["1e3", "007", "1_000", "true"]),
        ("['1e3',\"둘, 셋\"]", ["1e3", "둘, 셋"]),
        ("[나의 글]", ["나의 글"]),
    ],
)
def test_a_list_of_texts_needs_no_quotes(written: str, ids: list[str]) -> None:
    assert value(f"prompts.ids={written}") == ids


def test_null_is_null_and_numbers_are_numbers_where_no_text_belongs() -> None:
    assert value("prompts.template=null") is None
    assert value("strategy.temperature=1e-1") == 0.1
    assert value("prompts.limit=1_000") == 1000
    assert value("strategy.eos=[1,2]") == [1, 2]
    assert value("model.trust_remote_code=true") is True


def test_a_line_break_in_a_template() -> None:
    r"""A shell hands \n on as it stands; \\n is how to have a backslash and an n, as LaTeX needs it."""
    for written in (r"Q: {text}\nA:", r"'Q: {text}\nA:'", '"Q: {text}\\nA:"'):
        assert value(f"prompts.template={written}") == "Q: {text}\nA:"
    assert value(r"prompts.template={text}\\nabla\tx") == "{text}\\nabla\tx"
    assert value(r'strategy.dry_sequence_breakers=["\n",":"]') == ["\n", ":"]
    assert value(r"prompts.path=C:\new\text.csv") == r"C:\new\text.csv"


@pytest.mark.parametrize(
    "text",
    [
        r"(?i)answer:\s*([^\n,]+)",
        "(a",
        "[ab",
        "{",
        "a,b",
        r"\boxed\{(\d{1,3})\}",
        "정답: (.)",
        "1e3",
        "#### (-?[0-9]+)",
    ],
)
def test_a_pattern_is_one_text_with_all_its_signs(text: str) -> None:
    for written in (text, quoted(text)):
        assert value(f"task.pattern={written}") == text


def test_what_an_answer_follows_may_be_a_line_break() -> None:
    assert value(r"task.after=A:\n") == "A:\n"
    assert value("task.after=null") is None


def test_a_path_with_a_comma(tmp_path: Path, plans: list[Plan]) -> None:
    """Where it is there it is meant; else the error shows how a text with commas is quoted."""
    line = refused("prompts=file", "prompts.path=a,b.txt")
    assert line.startswith("prompts.path=a,b.txt: several values are a sweep; launch it with -m ")
    (quotes,) = shlex.split(line.split("in a shell twice: ")[1])
    assert value(quotes) == "a,b.txt"
    assert refused("prompts.ids=007,1e3").startswith("prompts.ids=007,1e3: several values are a sweep; ")
    Path("a,b.txt").write_text("x\n", encoding="utf-8")
    for words in (["prompts.path=a,b.txt"], [quotes], ["-m", "prompts.path=a,b.txt"]):
        assert launch("prompts=file", *words).code == 0
        assert [prompt.text for prompt in plans.pop().jobs[0].prompts] == ["x"]


@pytest.mark.parametrize(
    "word", ["strategy.top_p=[1", "prompts.path=f(x", "한글=1", "strategy.한글=1", "prompts.path=${nope}"]
)
def test_what_is_not_read_names_the_word_as_it_was_typed(word: str) -> None:
    line = refused(word)
    assert word.split("${")[0].rstrip("=") in line
    assert "++" not in line
    assert "Lexer" not in line


# --- given twice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-m strategy=greedy strategy=beam", "allowed is once, several values with commas: -m strategy=greedy,beam"),
        ("strategy.temperature=0.5,0.7 strategy.temperature=0.9 -m", "commas: -m strategy.temperature=0.5,0.7,0.9"),
        ("strategy.top_k=5 +strategy.top_k=6", "strategy.top_k is given twice"),
        ("++strategy.top_k=5 strategy.top_k=5", "strategy.top_k is given twice"),
        ("~strategy.top_k strategy.top_k=5", "strategy.top_k is given twice; allowed is once"),
        ("seed=1 latency=skip seed=1", "seed=1 seed=1: seed is given twice"),
        ("experiment=tour experiment=seed_notebook -m", "experiment is given twice"),
        ("hydra/launcher=basic hydra/launcher=packed", "hydra/launcher is given twice; allowed is once"),
        ("-m grids=[{strategy:greedy,strategy:beam}]", "grids: strategy is given twice in a grid; allowed is once"),
        ("-m grids=[{seed:1},{seed:[2,3],'seed':4}]", "grids: seed is given twice in a grid"),
        ("-m grids=[{seed:[{a:1},{a:2}],a:1}] seed=4", "seed=4: seed is given in grids=, too"),
        ("-m strategy=beam grids=[{strategy:greedy}]", "strategy=beam: strategy is given in grids=, too"),
        ("-m grids=[] hydra.sweeper.grids=[]", "hydra.sweeper.grids is given twice; allowed is once"),
        ("name=x name=y", "name=x name=y: name is given twice; allowed is once"),
        ("--config-dir . --config-dir=..", "--config-dir: is given twice; allowed is once"),
    ],
)  # fmt: skip
def test_the_first_of_two_values_is_not_lost(words: str, message: str) -> None:
    assert message in refused(*words.split())


def test_the_form_that_an_error_shows_works(plans: list[Plan]) -> None:
    line = refused("-m", "strategy=temperature", "strategy.temperature=0.5,0.7", "strategy.temperature=0.9")
    assert launch("strategy=temperature", *line.split("commas: ")[1].split()).code == 0
    assert [job.cell.config["strategy"]["temperature"] for job in plans[0].jobs] == [0.5, 0.7, 0.9]


# --- grids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperatures", ["[0.3, 0.7]", "'0.3,0.7'", '"0.3,0.7"'])
def test_greedy_beside_several_temperatures(temperatures: str, plans: list[Plan]) -> None:
    grids = f"grids=[{{strategy: greedy}}, {{strategy: temperature, strategy.temperature: {temperatures}}}]"
    assert launch("-m", grids, "seed=1,2").code == 0
    assert [(job.cell.strategy, job.cell.seed) for job in plans[0].jobs] == [
        *(("greedy", seed) for seed in (1, 2)),
        *((f"temperature temperature={t}", seed) for t in (0.3, 0.7) for seed in (1, 2)),
    ]


def test_a_list_in_a_list_is_a_value(plans: list[Plan]) -> None:
    assert (
        launch("-m", "grids=[{strategy: [greedy, beam], prompts.ids: [[greeting], [greeting, interview]]}]").code == 0
    )
    assert [(job.cell.strategy.split()[0], len(job.prompts)) for job in plans[0].jobs] == [
        ("greedy", 1), ("greedy", 2), ("beam", 1), ("beam", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words", ["grids=3", "grids=[3]", "grids={strategy: greedy}", "grids=[{strategy: 1}]", "grids=[{strategy: topp}]"]
)
def test_grids_that_are_none(words: str) -> None:
    assert refused("-m", words)


def test_grids_need_a_sweep() -> None:
    assert refused("grids=[{strategy: greedy}]") == (
        "grids: is a grid; launch it with -m (python -m decodebench -m ...)"
    )


# --- groups, sweeps, flags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "group", ["strategy", "latency", "model", "prompts", "metrics", "scorer", "engine", "experiment"]
)
@pytest.mark.parametrize(
    "wrong", ["1", "-1", "1.5", "nan", "true", "null", "[]", "[x,y]", "{}", "{a: 1}", "1,2", "range(3)"]
)
def test_a_group_takes_a_name(group: str, wrong: str) -> None:
    assert refused("-m", f"{group}={wrong}").startswith(f"{group}={wrong}: must be a name; allowed: ")


def test_other_groups_take_a_name_too() -> None:
    for word in ("hydra/launcher=null", "hydra/sweeper=1", "hydra=1"):
        assert refused(word).startswith(f"{word}: must be a name")


def test_a_strategy_that_is_called_null_is_a_name(tmp_path: Path, plans: list[Plan]) -> None:
    (tmp_path / "own/strategy").mkdir(parents=True)
    text = (conf_dir() / "strategy/greedy.yaml").read_text(encoding="utf-8")
    for name in ("null", "1", "한글"):
        (tmp_path / f"own/strategy/{name}.yaml").write_text(text.replace("name: greedy", f"name: '{name}'"), "utf-8")
        assert launch("--config-dir", "own", f"strategy={name}").code == 0
        assert plans.pop().jobs[0].cell.strategy == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("strategy=glob(beams*)", "strategy=glob(beams*): gives no value; allowed: adaptive_contrastive, "),
        ("model=glob([x*,y*])", "model=glob([x*,y*]): gives no value; allowed: gemma3_270m, "),
        ("prompts.path=glob(*.csv)", "prompts.path=glob(*.csv): gives no value; allowed are one or more"),
        ("seed=range(3,1)", "seed=range(3,1): gives no value; allowed are one or more"),
        ("strategy=glob(beams*) hydra/sweeper=basic", "-m: a sweep gives no value; allowed are one or more for each"),
        ("seed=range(1,3,0)", "range() arg 3 must not be zero"),
        ("seed=interval(1,2)", "does not support sweep type"),
    ],
)
def test_a_sweep_of_nothing(words: str, message: str) -> None:
    assert message in refused("-m", *words.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resolve", "--resolve: has no effect alone; allowed is --cfg job --resolve"),
        ("--resolve -m strategy=greedy", "--resolve: has no effect alone"),
        ("--package strategy", "--package=strategy: has no effect alone; allowed is --cfg job --package GROUP"),
        ("--cfg job --info all", "--cfg --info: allowed is one of them"),
        ("-r -m", "--run --multirun: allowed is one of them"),
        ("--cfg", "argument --cfg/-c: expected one argument"),
        ("--cfg nope", "argument --cfg/-c: invalid choice"),
        ("--info nope", "argument --info/-i: invalid choice"),
        ("--shell-completion", "Expecting one subcommand"),
        ("--config-dir nowhere", "Additional config directory"),
        ("seed=99999999999999999999999", "seed=99999999999999999999999: allowed is a whole number, 0 or more, "),
        (f"seed={2**63}", f"seed={2**63}: allowed is a whole number"),
    ],
)  # fmt: skip
def test_flags_and_numbers_that_ended_in_a_traceback(words: str, message: str) -> None:
    assert refused(*words.split()).startswith(message)


def test_a_package_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^3$"):
        launch("--cfg", "job", "--package", "nope")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: x\n_target_: [a\n", "line 3: not yaml: expected ',' or ']'"),
        (b"name: x\n\tb: 1\n", "line 2: not yaml: found character '\\t' that cannot start any token (column 1)"),
        (b"name: x\nname: y\n", "line 2: not yaml: found duplicate key name"),
        (b"name: 'x\n", "line 2: not yaml: found unexpected end of stream"),
        (b"name: caf\xe9\n", "is no UTF-8 text"),
    ],
)
@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_yaml_that_cannot_be_read(tmp_path: Path, content: bytes, message: str, sweep: list[str]) -> None:
    (tmp_path / "own/strategy").mkdir(parents=True)
    path = tmp_path / "own/strategy/mine.yaml"
    path.write_bytes(content)
    line = refused(*sweep, "--config-dir", "own", "strategy=mine")
    assert "own/strategy/mine.yaml: " + message in line
    assert refused("strategy=topp").startswith("strategy=topp: unknown; ")


@pytest.mark.parametrize("content", ["", "- a\n", "just a text\n", "defaults: 3\n", "defaults: [nope]\n"])
def test_a_yaml_that_is_no_strategy(tmp_path: Path, content: str) -> None:
    (tmp_path / "own/strategy").mkdir(parents=True)
    (tmp_path / "own/strategy/mine.yaml").write_text(content, encoding="utf-8")
    assert "strategy" in refused("--config-dir", "own", "strategy=mine")


def test_words_that_are_fine_are_left_as_they_are() -> None:
    words = ["strategy=beam,sample", "seed=1,2", "hydra.sweeper.params={a: 1}", "model=glob(*)", "~latency"]
    assert readable(words, [conf_dir()]) == words
    with pytest.raises(ConfigError, match=r"^=3: has no key; "):
        readable(["=3"], [])
