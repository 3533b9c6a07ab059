"""Rules: the file and everything that can be wrong in it, which arms and metrics a rule judges, and rules that would
judge nothing."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from decodebench.errors import ConfigError
from decodebench.metrics import METRICS, TASK_METRICS
from decodebench.regression import Rule, judge, parse_rules, read_rules
from decodebench.regression.assigning import assign, metric_named
from decodebench.regression.exact import DTYPE_NOISE
from decodebench.regression.matching import match
from decodebench.regression.rules import DEFAULT_RULES, Margin
from regression_data import PROMPTS, arm, baseline, metric, rules, statistical

ZERO = dict.fromkeys(PROMPTS, 0.0)


def file(folder: Path, content: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_a_file_of_every_kind(tmp_path: Path) -> None:
    found = read_rules(
        file(
            tmp_path,
            """
- kind: exact
  ties_within: 0.01
  strategies: [greedy, beam*]
- {kind: statistical, metric: rep_4, margin: {absolute: 0.02, relative: 0.1, noise: 2}, severity: warn}
- kind: statistical
  metric: length
  margin: 3
  direction: both
  prompts: open_en
  cannot_tell: fail
- {kind: bound, metric: e2e_s, relative_to: greedy, at_most: 4, at_least: 0, optional: true}
""",
        )
    )
    exact, rep, length, times = found
    assert (exact.kind, exact.ties_within, exact.strategies, exact.metric) == ("exact", 0.01, ("greedy", "beam*"), None)
    assert (exact.severity, exact.cannot_tell, exact.optional, exact.prompts) == ("fail", "warn", False, ("*",))
    assert rep.margin == Margin(absolute=0.02, relative=0.1, noise=2)
    assert (rep.severity, rep.direction, rep.number) == ("warn", None, 2)
    assert (length.margin, length.direction, length.prompts) == (Margin(absolute=3), "both", ("open_en",))
    assert length.cannot_tell == "fail"
    assert (times.relative_to, times.at_most, times.at_least, times.optional) == ("greedy", 4, 0, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rules, it would check nothing; allowed is a list of rules"),
        ("# nothing\n", "has no rules, it would check nothing; allowed is a list of rules"),
        ("[]", "has no rules, it would check nothing; allowed is a list of rules"),
        ("kind: exact", "must be a list of rules (lines that begin with '- '), not {'kind': 'exact'}"),
        ("exact", "must be a list of rules (lines that begin with '- '), not exact"),
        ("- exact", "rule 1: must be keys with values, not exact"),
        ("- kind: exact\n- 3: 4", "rule 2: must be keys with values, not {3: 4}"),
        ("- metric: rep_4", "rule 1: needs kind; allowed: bound, exact, statistical"),
        ("- kind: null", "rule 1: needs kind; allowed: bound, exact, statistical"),
        ("- kind: exakt", "rule 1: kind=exakt: allowed: bound, exact, statistical; did you mean exact?"),
        (
            "- {kind: exact, metric: rep_4}",
            "rule 1: metric=rep_4: has no effect with kind=exact; allowed: kind, optional, prompts, severity, "
            "strategies, ties_within",
        ),
        (
            "- {kind: exact, severty: fail}",
            "rule 1: severty=fail: unknown key; allowed: kind, optional, prompts, severity, strategies, ties_within; "
            "did you mean severity?",
        ),
        ("- {kind: exact, ties_within: -1}", "rule 1: ties_within=-1: must be a number of 0 or more"),
        ("- {kind: exact, severity: error}", "rule 1: severity=error: allowed: fail, warn"),
        (
            "- {kind: bound, metric: rep_4, at_most: 1, cannot_tell: null}",
            "rule 1: cannot_tell=null: allowed: fail, warn",
        ),
        (
            "- {kind: exact, cannot_tell: fail}",
            "rule 1: cannot_tell=fail: has no effect with kind=exact; allowed: kind, optional, prompts, severity, "
            "strategies, ties_within",
        ),
        ("- {kind: exact, optional: 1}", "rule 1: optional=1: must be true or false"),
        ("- {kind: exact, strategies: []}", "rule 1: strategies=[]: must be a label (* for any) or a list of them"),
        ("- {kind: exact, strategies: [1]}", "rule 1: strategies=[1]: must be a label (* for any) or a list of them"),
        ("- {kind: exact, prompts: ''}", "rule 1: prompts=: must be a label (* for any) or a list of them"),
        ("- {kind: statistical, metric: rep_4}", "rule 1: a rule of kind=statistical needs margin"),
        ("- {kind: statistical, margin: 1}", "rule 1: a rule of kind=statistical needs metric"),
        ("- {kind: statistical, metric: 4, margin: 1}", "rule 1: metric=4: must be a name"),
        (
            "- {kind: statistical, metric: rep_4, margin: 1%}",
            "rule 1: margin=1%: must be a number of 0 or more (or absolute, relative, noise below it)",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: .nan}",
            "rule 1: margin=nan: must be a number of 0 or more (or absolute, relative, noise below it)",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: true}",
            "rule 1: margin=True: must be a number of 0 or more (or absolute, relative, noise below it)",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: {}}",
            "rule 1: margin is empty; allowed: absolute, noise, relative",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: {absolut: 1}}",
            "rule 1: margin.absolut=1: allowed: absolute, noise, relative; did you mean absolute?",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: {relative: -0.1}}",
            "rule 1: margin.relative=-0.1: must be a number of 0 or more",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: {noise: .inf}}",
            "rule 1: margin.noise=inf: must be a number of 0 or more",
        ),
        (
            "- {kind: statistical, metric: rep_4, margin: 1, direction: up}",
            "rule 1: direction=up: allowed: both, higher, lower",
        ),
        ("- {kind: bound, at_most: 1}", "rule 1: a rule of kind=bound needs metric"),
        ("- {kind: bound, metric: rep_4}", "rule 1: a rule of kind=bound needs at_most or at_least"),
        ("- {kind: bound, metric: rep_4, at_most: high}", "rule 1: at_most=high: must be a number"),
        (
            "- {kind: bound, metric: rep_4, at_most: 1, at_least: 2}",
            "rule 1: at_least=2: allowed is 1 (at_most) or less",
        ),
        ("- {kind: bound, metric: rep_4, at_most: 1, relative_to: ' '}", "rule 1: relative_to=: must be a name"),
        (
            "- {kind: bound, metric: rep_4, at_most: 1, margin: 1}",
            "rule 1: margin=1: has no effect with kind=bound; allowed: at_least, at_most, cannot_tell, kind, metric, "
            "optional, prompts, relative_to, severity, strategies; did you mean metric?",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = file(tmp_path, content)
    with pytest.raises(ConfigError) as raised:
        read_rules(path)
    assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("- kind: [", "is no yaml ("),
        ("- kind: exact\n  kind: bound", "is no yaml (kind is given twice"),
        ("- !!python/object:os.system {}", "is no yaml ("),
        ("\tx", "is no yaml ("),
    ],
)
def test_no_yaml(content: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read_rules(file(tmp_path, content))
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        *(
            ("1e-3", 0.001),
            ("1E-3", 0.001),
            ("+1e-3", 0.001),
            ("1.5e-3", 0.0015),
            (".1e1", 1),
            ("2e2", 200),
            ("12e03", 12000),
        ),
        *(("010", 10), ("1.", 1), (".5", 0.5), ("0", 0), ("-0", 0)),
    ],
)
def test_a_number_is_what_people_and_yaml_1_2_take_for_one(written: str, number: float, tmp_path: Path) -> None:
    """PyYAML's own rules are those of YAML 1.1, where 1e-3 is a text and 010 is eight."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"- {{kind: statistical, metric: rep_4, margin: {written}}}\n"
        f"- {{kind: statistical, metric: length, margin: {{relative: {written}}}}}\n"
        f"- {{kind: bound, metric: rep_4, at_most: {written}}}\n"
    )
    first, second, third = read_rules(path)
    assert (first.margin, second.margin, third.at_most) == (Margin(absolute=number), Margin(relative=number), number)


@pytest.mark.parametrize(
    "written", ["1:30", "1_000", "0x10", "1e", "'1e-3'", "-.inf", "1e999", "1" * 400, "2026-01-01"]
)
def test_what_is_no_number_of_yaml_1_2_is_refused(written: str, tmp_path: Path) -> None:
    """1:30 was 90, 1_000 was 1000, and a whole number of 400 digits a traceback."""
    path = tmp_path / "rules.yaml"
    path.write_text(f"- {{kind: bound, metric: rep_4, at_least: {written}}}\n")
    with pytest.raises(ConfigError, match=r"rule 1: at_least=.*: must be a number$"):
        read_rules(path)


@pytest.mark.parametrize(
    "value", ["!!int x", "!!bool x", "!!timestamp x", "!!map x", "2024-99-99", "[" * 600, "1" * 5000]
)
def test_a_value_that_pyyaml_stumbles_over_is_one_line(value: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"- kind: exact\n  ties_within: {value}\n")
    with pytest.raises(ConfigError, match=r"^[^\n]*rules.yaml: is no yaml \([^\n]+\)$"):
        read_rules(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot be read \(No such file or directory\)"):
        read_rules(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"- kind: \xe4")
    with pytest.raises(ConfigError, match=r"latin.yaml: cannot be read \(is no UTF-8 text\)"):
        read_rules(tmp_path / "latin.yaml")


def test_the_rules_that_are_shipped() -> None:
    shipped = read_rules()
    known = {metric.name for metric in (*TASK_METRICS, *METRICS)} | {"failed_cells"}
    assert {rule.metric for rule in shipped if rule.metric} <= known
    tested = {rule.metric for rule in shipped if rule.kind == "statistical"}
    assert {
        "task",
        "diversity",
        "rep_4",
        "loop_share",
        "empty_share",
        "distinct_2",
        "surprisal",
        "length",
        "eos_share",
    } <= tested
    blocks = DEFAULT_RULES.read_text(encoding="utf-8").split("\n\n")
    assert all(block.startswith("#") for block in blocks), "each rule has its reason above it"


def sides(*labels: str, prompts: str = "some", **names: Any) -> Any:
    """A baseline of these strategies; greedy is what draws nothing."""
    metrics = {name: metric(name, ZERO, **changes) for name, changes in (names or {"rep_4": {}}).items()}
    return baseline(
        *(arm(label, metrics=metrics, is_search=label.startswith("greedy"), prompts=prompts) for label in labels)
    )


def assigned(side: Any, *nodes: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """(number of the rule, strategy, metric) of each task."""
    tasks = assign(rules(*nodes), match(side, side).pairs, side, side)
    return [(task.rule.number, task.pair.key[2], task.metric) for task in tasks]


def test_a_rule_is_for_every_strategy_unless_it_names_some() -> None:
    side = sides("sample temperature=0.7", "sample temperature=1.3", "top_p", "chain rules=[top_k,top_p]")
    for globs, places in (
        ("*", [0, 1, 2, 3]),
        ("sample", [0, 1]),  # the first word
        ("sample temperature=0.7", [0]),
        ("*temperature=1.3", [1]),
        (["top_p", "s*"], [0, 1, 2]),
        ("chain rules=[top_k,top_p]", [3]),  # brackets are a part of a label
    ):
        labels = [side.arms[place].strategy for place in places]
        found = assigned(side, statistical("rep_4", 0.1, strategies=globs))
        assert [strategy for _, strategy, _ in found] == labels, globs


def test_a_rule_is_for_every_prompt_set_unless_it_names_some() -> None:
    side = baseline(*sides("sample").arms, *sides("sample", prompts="open_en limit=5").arms)
    tasks = assign(rules(statistical("rep_4", 0.1, prompts="open_en")), match(side, side).pairs, side, side)
    assert [task.pair.key[1] for task in tasks] == ["open_en limit=5"]


def test_the_last_rule_for_the_same_thing_holds() -> None:
    side = sides("sample", "greedy")
    general, special = statistical("rep_4", 0.1), statistical("rep_4", 0.5, strategies="greedy")
    assert assigned(side, general, special) == [(1, "sample", "rep_4"), (2, "greedy", "rep_4")]
    with pytest.raises(ConfigError, match=r"rule 1 \(statistical rep_4\): has no effect, later rules judge the same"):
        assigned(side, special, general)
    bound = {"kind": "bound", "metric": "rep_4", "at_most": 1}
    assert len(assigned(side, general, bound)) == 4, "another kind is another thing"


def test_metrics_in_the_unit_of_the_baseline() -> None:
    side = sides("sample", rep_4_words={"direction": "lower"}, surprisal={})
    in_words = baseline(*side.arms, metrics={"unit": "words", "compat": None})
    assert assigned(in_words, statistical("rep_4", 0.1)) == [(1, "sample", "rep_4_words")]
    assert assigned(in_words, statistical("rep_4_words", 0.1)) == [(1, "sample", "rep_4_words")]
    compat = baseline(
        *sides("sample", rep_4_simctg_words={"direction": "lower"}).arms, metrics={"unit": "words", "compat": "simctg"}
    )
    assert assigned(compat, statistical("rep_4", 0.1)) == [(1, "sample", "rep_4_simctg_words")]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            statistical("rep_5", 0.1),
            "rules: rule 1 (statistical rep_5): the baseline does not have this metric; allowed are its 4, such as "
            "rep_4",
        ),
        (
            statistical("e2e_s", 0.1),
            "rules: rule 1 (statistical e2e_s): has no numbers by prompt to be tested; allowed are: ",
        ),
        (
            statistical("vendi", 0.1),
            "rules: rule 1 (statistical vendi): has no numbers by prompt to be tested; allowed are: ",
        ),
        (
            {"kind": "bound", "metric": "e2e_s", "at_most": 1},
            "rules: rule 1 (bound e2e_s): the run does not have this metric; allowed are its 4, such as ",
        ),
        (
            statistical("rep_4", 0.1, strategies=["sample", "samples"]),
            "rules: rule 1 (statistical rep_4): strategies=samples: the baseline has none such; allowed: sample; "
            "did you mean sample?",
        ),
        (
            statistical("rep_4", 0.1, prompts="others"),
            "rules: rule 1 (statistical rep_4): prompts=others: the baseline has none such; allowed: some",
        ),
        (
            {"kind": "exact"},
            "rules: rule 1 (exact): no strategy of the baseline is a search that draws nothing: it would check nothing "
            "(optional: true allows that)",
        ),
        (
            statistical("length", 0.1),
            "rules: rule 1 (statistical length): needs a direction, the metric has none of its own; allowed: both, "
            "higher, lower",
        ),
        (
            statistical("rep_4", 0.1, direction="higher"),
            "rules: rule 1 (statistical rep_4): direction=higher: lower is better here; allowed: both, lower",
        ),
        (
            {"kind": "bound", "metric": "rep_4", "at_most": 1, "relative_to": "greedy"},
            "rules: rule 1 (bound rep_4): relative_to=greedy: allowed: sample",
        ),
        (
            {"kind": "bound", "metric": "rep_4", "at_most": 1, "relative_to": "sample"},
            "rules: rule 1 (bound rep_4): matches nothing but sample itself: it would check nothing (optional: true "
            "allows that)",
        ),
    ],
)
def test_rules_that_do_not_fit(node: dict[str, Any], message: str) -> None:
    side = sides("sample", rep_4={}, loop_share={}, length={}, diversity={"rows": {}, "value": None})
    with pytest.raises(ConfigError) as raised:
        assigned(side, node)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_an_optional_rule_may_match_nothing_but_not_all_of_them() -> None:
    side = sides("sample")
    kept = statistical("rep_4", 0.1)
    for node in ({"kind": "exact"}, statistical("rep_5", 0.1), statistical("rep_4", 1, strategies="x")):
        assert assigned(side, kept, {**node, "optional": True}) == [(1, "sample", "rep_4")]
    with pytest.raises(ConfigError, match="no rule matches anything: nothing would be checked"):
        judge(side, side, rules({"kind": "exact", "optional": True}))


def test_what_a_metrics_name_is_made_of() -> None:
    for name in ("rep_4", "rep_4_words", "rep_4_simctg", "rep_4_simctg_first32", "rep_4_first16_jamo"):
        known = metric_named(name)
        assert known is not None
        assert known.name == "rep_4"
    assert metric_named("delivered_tokens") is not None
    assert metric_named("e2e_s") is None


def test_rules_of_plain_containers() -> None:
    assert parse_rules([{"kind": "exact"}])[0].source == "rules"
    with pytest.raises(ConfigError, match=r"^mine: has no rules"):
        parse_rules(None, "mine")


def test_the_page_explains_every_key_and_its_example_can_be_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "regression.md").read_text(encoding="utf-8")
    keys = {field.name for field in fields(Rule)} - {"source", "number"}
    assert set(re.findall(r"^\| `(\w+)` \| [a-z, ]+ \| \S", page, re.M)) == keys
    example = re.search(r"^```yaml\n(- kind.*?)^```", page, re.M | re.S)
    assert example is not None
    assert len(parse_rules(yaml.safe_load(example[1]))) == 5
    for dtype, noise in DTYPE_NOISE.items():
        assert re.search(rf"^\| {dtype} \| {noise:f}".rstrip("0"), page, re.M), dtype
