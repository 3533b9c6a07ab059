"""What a check looks like: every output of one check read back, and texts that would break their formats."""

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from wcwidth import wcswidth

from decodebench.errors import ConfigError
from decodebench.regression import Check, Finding, judge
from decodebench.regression.explaining import explain
from decodebench.regression.rendering import (
    check_json,
    check_markdown,
    check_text,
    explanation_text,
    github_annotations,
    junit_xml,
)
from decodebench.regression.rendering.words import verdict
from regression_data import PROMPTS, arm, baseline, metric, rules, statistical, text

NASTY = "a|b <c> `d` \x00\x1b[31m \ud800 ]]> & % 100, 한글:\r\n끝"


def finding(**changes: Any) -> Finding:
    known: dict[str, Any] = {"kind": "statistical", "prompts": "some", "strategy": "sample", "metric": "rep_4"}
    known |= {"outcome": "pass", "severity": "fail", "message": "fine"}
    return Finding(**known | changes)


FINDINGS = (
    finding(worsening=-0.01, low=-0.02, high=0.01, margin=0.03, detectable=0.05, baseline=0.1, value=0.09, n=40),
    finding(
        metric="surprisal",
        outcome="cannot tell",
        severity="warn",
        message="too few",
        unit="nats",
        worsening=0.2,
        low=-0.1,
        high=0.5,
        margin=0.1,
        detectable=0.6,
        baseline=2,
        value=2.2,
        n=40,
    ),
    finding(
        kind="exact",
        metric=None,
        strategy="greedy",
        outcome="regression",
        message="other tokens for 1 of 40 prompts",
        unit="texts",
        value=1,
        n=40,
        details=("prompt 'p', token 3: 1 -> 2", "  baseline 'left'", "  run      'right'"),
    ),
    finding(
        kind="exact", metric=None, strategy="beam", outcome="numerical tie", message="1 tie", unit="texts", value=1
    ),
    finding(metric="length", outcome="regression", severity="warn", message="longer"),
    finding(kind="bound", metric="e2e_s / greedy", outcome="cannot tell", message="skipped", margin=4),
    finding(kind="cell", metric=None, strategy="top_p", outcome="new", severity="warn", message="not judged"),
)
CHECK = Check(
    run="results/now",
    baseline="baselines/then",
    changes=("strategy.temperature 0.75 -> 1.3",),
    incomparable=(),
    findings=FINDINGS,
)
REFUSED = replace(CHECK, findings=(), incomparable=("some / beam: the run has no such cells", "prompts: another text"))


def test_the_verdict_counts_what_fails_apart() -> None:
    assert CHECK.exit_code == 1
    assert verdict(CHECK) == (
        "regression: 2 failed, 1 passed, 1 cannot tell, 1 equal but for numerical ties, 1 new, 1 worse (only warned of)"
    )
    assert verdict(replace(CHECK, findings=FINDINGS[:2])) == "no regression: 1 passed, 1 cannot tell"
    assert verdict(replace(CHECK, findings=())) == "no regression: nothing failed"
    assert verdict(REFUSED) == "cannot be compared: 2 reasons"
    assert (REFUSED.exit_code, replace(CHECK, findings=FINDINGS[:2]).exit_code) == (2, 0)


def test_the_terminal() -> None:
    assert check_text(CHECK).splitlines() == [
        "results/now against baselines/then",
        "  changed: strategy.temperature 0.75 -> 1.3",
        "",
        "               strategy  metric          baseline       run               worse by  margin  detectable   n",
        "─" * 106,
        f"REGRESSION     greedy    tokens                    1 differ{'40':>47}",
        f"CANNOT TELL    sample    e2e_s / greedy{'4.00':>51}",
        "cannot tell    sample    surprisal           2.00      2.20  0.200 [-0.100, 0.500]   0.100       0.600  40",
        "numerical tie  beam      tokens                    1 differ",
        "worse (warns)  sample    length",
        "new            top_p     cell",
        "",
        "greedy, tokens: other tokens for 1 of 40 prompts",
        "  prompt 'p', token 3: 1 -> 2",
        "    baseline 'left'",
        "    run      'right'",
        "sample, e2e_s / greedy: skipped",
        "beam, tokens: 1 tie",
        "sample, length: longer",
        "top_p, cell: not judged",
        "",
        verdict(CHECK),
    ]


def test_the_terminal_where_nothing_can_be_compared() -> None:
    assert check_text(REFUSED).splitlines()[2:] == [
        "  cannot be compared: some / beam: the run has no such cells",
        "  cannot be compared: prompts: another text",
        "",
        "cannot be compared: 2 reasons",
    ]


def test_the_terminal_stays_narrow() -> None:
    long = [
        replace(
            each,
            strategy=f"{each.strategy} repetition_penalty=1.25 temperature=0.7 한글한글한글한글",
            message="x" * 200,
        )
        for each in FINDINGS
    ]
    many = tuple(f"versions package{n} 1 -> 2 {'x' * 100}" for n in range(30))
    shown = check_text(replace(CHECK, findings=tuple(long), changes=many)).splitlines()
    assert max(map(wcswidth, shown)) <= 110
    assert "  and 10 more changes" in shown


def test_several_prompt_sets_and_models_are_told_apart() -> None:
    two = (finding(outcome="new", model="large"), finding(outcome="new", prompts="others"))
    lines = check_text(replace(CHECK, findings=two))
    assert "large / some / sample" in lines
    assert "others / sample" in lines


def test_the_page() -> None:
    page = check_markdown(CHECK)
    lines = page.splitlines()
    assert lines[0] == f"## decodebench: {verdict(CHECK)}"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["", "strategy", "metric", "baseline", "run", "worse by", "margin", "detectable", "n"]
    assert rows[2] == ["**REGRESSION**", "greedy", "tokens", "", "1 differ", "", "", "", "40"]
    assert rows[4][1:] == ["sample", "surprisal", "2.00", "2.20", r"0.200 \[-0.100, 0.500\]", "0.100", "0.600", "40"]
    assert rows[-1][:3] == ["pass", "sample", r"rep_4"]
    assert "<details><summary>greedy, tokens: other tokens for 1 of 40 prompts</summary>" in lines
    assert "- strategy.temperature 0.75 -\\> 1.3" in lines
    assert "- top_p, cell: not judged" in lines
    assert page.count("<details>") == page.count("</details>") == 2
    refused = check_markdown(REFUSED)
    assert "- prompts: another text" in refused
    assert "<details>" not in refused


def test_junit() -> None:
    suite = ElementTree.fromstring(junit_xml(CHECK))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "2",
        "errors": "0",
        "skipped": "2",
    }
    cases = {(case.get("classname"), case.get("name")): case for case in suite.findall("testcase")}
    assert len(cases) == 7
    failure = cases["decodebench.greedy", "tokens"].find("failure")
    assert failure is not None
    assert failure.get("message") == "other tokens for 1 of 40 prompts"
    assert str(failure.text).splitlines()[1] == "prompt 'p', token 3: 1 -> 2"
    assert cases["decodebench.sample", "surprisal (statistical)"].find("skipped") is not None
    assert cases["decodebench.sample", "e2e_s / greedy (bound)"].find("failure") is not None
    assert cases["decodebench.sample", "length (statistical)"].findtext("system-out") == "regression: longer"
    assert verdict(CHECK) in str(suite.findtext("system-out"))
    errors = ElementTree.fromstring(junit_xml(REFUSED))
    assert (errors.get("tests"), errors.get("errors")) == ("2", "2")


def test_json() -> None:
    found = json.loads(check_json(CHECK))
    assert (found["decodebench_check"], found["exit_code"], found["verdict"]) == (1, 1, verdict(CHECK))
    assert (found["run"], found["baseline"], found["changes"]) == ("results/now", "baselines/then", list(CHECK.changes))
    read = [
        Finding(**{k: v for k, v in each.items() if k != "fails"} | {"details": tuple(each["details"])})
        for each in found["findings"]
    ]
    assert tuple(read) == FINDINGS
    assert [each["fails"] for each in found["findings"]] == [each.fails for each in FINDINGS]
    with pytest.raises(ValueError, match="not JSON compliant"):
        check_json(replace(CHECK, findings=(finding(value=float("nan")),)))


def test_annotations() -> None:
    lines = github_annotations(CHECK).splitlines()
    assert lines[0] == (
        "::error title=greedy%2C tokens::regression: other tokens for 1 of 40 prompts%0Aprompt 'p', token 3: 1 -> 2%0A"
        "  baseline 'left'%0A  run      'right'"
    )
    assert [line.split(" ")[0] for line in lines] == [
        "::error",
        "::error",
        "::warning",
        "::notice",
        "::warning",
        "::notice",
        "::notice",
    ]
    assert [line.split(" ")[0] for line in github_annotations(REFUSED).splitlines()] == [
        "::error",
        "::error",
        "::notice",
    ]


def test_prompts_of_other_tokens_come_first_everywhere() -> None:
    line = "the prompts' tokens differ: some: 'p'"
    check = replace(CHECK, prompts=(line,))
    for shown in (check_text(check), check_markdown(check), github_annotations(check)):
        assert shown.count("the prompts' tokens differ") == 1
        assert shown.index("the prompts' tokens differ") < shown.index("surprisal")
    assert line in (ElementTree.fromstring(junit_xml(check)).findtext("system-out") or "").split("\n")
    assert json.loads(check_json(check))["prompts"] == [line]


def test_texts_that_would_break_a_format() -> None:
    nasty = finding(strategy=NASTY, metric=None, kind="exact", outcome="regression", message=NASTY, details=(NASTY,))
    check = replace(CHECK, run=NASTY, changes=(NASTY,), findings=(nasty, replace(nasty, outcome="new", details=())))
    suite = ElementTree.fromstring(junit_xml(check))
    assert suite.get("failures") == "1"
    assert "\x00" not in check_text(check)
    assert "\x1b" not in check_text(check) + check_markdown(check)
    assert len(github_annotations(check).splitlines()) == 3
    assert json.loads(check_json(check))["run"] == NASTY
    rows = [line for line in check_markdown(check).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    refused = replace(check, findings=(), incomparable=(NASTY,))
    assert ElementTree.fromstring(junit_xml(refused)).get("errors") == "1"


CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN = set(CONTROLS + TURNS + "\u2028\u2029") - set("\n\t")
COMMANDS = ("::error::x", "  ::add-mask::x", "\t::stop-commands::x", "##[error]x", "a ##[group]x", "##vso[task.x]x")


def is_command(line: str) -> bool:
    """Whether GitHub's runner, Azure's agent or TeamCity would obey a line; the first cuts white space before `::`."""
    return line.lstrip().startswith("::") or re.search(r"##[\w.-]*\[", line) is not None


@pytest.mark.parametrize(
    "words", [*COMMANDS, "가" * 26 + "::error::x", "a" * 52 + "::error::x", "a" * 51 + "##[error]x"]
)
@pytest.mark.parametrize("before", ["", "one\n", "one\r", "one\u2028", "one\x85", "one\x0b"])
def test_a_text_is_no_command_to_ci(words: str, before: str) -> None:
    """Also where a text is cut at the end of its column, so that a command would begin the next line."""
    hostile = f"{before}{words}"
    sides = [baseline(arm(texts={0: {"a": (text(n, words=hostile + str(n)),)}})) for n in (1, 2)]
    shown = explanation_text(explain(*sides, (), "sample", "tokens"))
    failed = finding(strategy=words, metric="m", outcome="regression", message=hostile, details=(hostile,))
    check = replace(CHECK, run=words, changes=(hostile,), findings=(failed,))
    refused = replace(check, findings=(), incomparable=(hostile,))
    lines = "\n".join((shown, check_text(check), check_text(refused))).splitlines()
    assert [line for line in lines if is_command(line)] == []
    assert "error" not in words or "error" in shown  # the words themselves stay
    assert all(line.startswith("::") for line in github_annotations(check).splitlines())
    assert len(github_annotations(check).splitlines()) == 2  # the finding, and the verdict


def test_what_cannot_be_seen_neither_reaches_a_terminal_nor_shifts_columns() -> None:
    words = "".join(f"a{letter}" for letter in CONTROLS + TURNS + "\u2028\u2029")
    sides = [baseline(arm(texts={0: {"a": (text(n, words=words + str(n)),)}})) for n in (1, 2)]
    shown = explanation_text(explain(*sides, (), "sample", "tokens"))
    failed = finding(strategy=words, metric=words, outcome="regression", message=words, details=(words,))
    check = replace(CHECK, run=words, baseline=words, changes=(words,), findings=(failed,))
    outputs = (shown, check_text(check), check_markdown(check), github_annotations(check))
    assert [UNSEEN & set(output) for output in outputs] == [set()] * 4
    (case,) = ElementTree.fromstring(junit_xml(check)).iter("failure")
    assert UNSEEN & set(str(case.text)) == set()
    assert "\t" not in shown + check_text(check)
    columns = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(columns) > 3
    assert {wcswidth(line[: line.index(" │ ")]) for line in columns} == {54}
    assert "\\u202e" in shown
    assert "␛" in shown


def explained(strategy: str = "sample", name: str = "distinct_2", *nodes: Any, **changes: Any) -> Any:
    before = dict.fromkeys(PROMPTS, 0.5)
    now = before | {"p03": 0.1, "p07": 0.4, "p09": 0.9}
    sides = [
        baseline(
            arm("sample temperature=1.3", metrics={"distinct_2": metric("distinct_2", values)}, first=first, **changes)
        )
        for first, values in ((5, before), (7, now))
    ]
    return explain(*sides, rules(*(nodes or (statistical("distinct_2", 0.1),))), strategy, name)


def test_the_prompts_that_moved_most() -> None:
    found = explained()
    assert [(each.prompt_id, each.baseline, each.value) for each in found.moved] == [
        ("p03", 0.5, 0.1),
        ("p07", 0.5, 0.4),
    ]
    assert found.moved[0].worsening == pytest.approx(0.4)
    assert explanation_text(found).splitlines()[:6] == [
        "some / sample temperature=1.3, distinct_2: 2 of 20 prompts got worse",
        "",
        "prompt 'p03': worse by 0.400 (0.500 -> 0.100)",
        f"│ baseline{' ' * 44} │ run",
        f"├─{'─' * 52}─┼─{'─' * 52}",
        f"│ 5 6 3{' ' * 47} │ 7 6 3",
    ]
    both = explained("sample", "distinct_2", statistical("distinct_2", 0.1, direction="both"))
    assert [each.prompt_id for each in both.moved] == ["p03", "p09", "p07"] or both.moved[0].worsening == pytest.approx(
        0.4
    )
    assert "3 of 20 prompts changed" in explanation_text(both)


def test_the_texts_that_part() -> None:
    found = explained("sample temperature=1.3", "tokens")
    assert len(found.moved) == 20
    assert {each.worsening for each in found.moved} == {3.0}, "from the first token on"
    shown = explanation_text(found, prompts=1)
    assert "prompt 'p00': 3 tokens from where they part" in shown
    assert shown.endswith("and 19 more")


def test_names_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"--explain samples: allowed: sample temperature=1.3"):
        explained("samples")
    with pytest.raises(
        ConfigError, match=r"--explain sample distinct_3: allowed: distinct_2, tokens; did you mean dist"
    ):
        explained("sample", "distinct_3")
    two = baseline(arm("s a=1"), arm("s a=2"))
    with pytest.raises(
        ConfigError, match=r"--explain s: several strategies have this name; allowed: some / s a=1, some"
    ):
        explain(two, two, (), "s", "tokens")


def test_long_texts_in_two_columns() -> None:
    words = "한글 " * 60 + "\n" + "\n".join(f"line {n}" for n in range(30))
    sides = [baseline(arm(texts={0: {"a": (text(first, words=words + str(first)),)}})) for first in (1, 2)]
    shown = explanation_text(explain(*sides, (), "sample", "tokens"))
    assert max(map(wcswidth, shown.splitlines())) <= 109
    assert "more lines" in shown
    one_sided = [sides[0], baseline(arm(texts={0: {"a": (text(3), text(4, sample=1))}}))]
    assert "(no such text)" in explanation_text(explain(*one_sided, (), "sample", "tokens"))


def test_a_whole_check_of_the_default_kinds_renders() -> None:
    metrics = {"distinct_2": metric("distinct_2", dict.fromkeys(PROMPTS, 0.5))}
    side = baseline(arm("greedy", is_search=True, metrics=metrics))
    check = judge(side, side, rules({"kind": "exact"}, statistical("distinct_2", 0.1)))
    assert check_text(check).splitlines() == ["then against then", "", "no regression: 2 passed"]
    assert "| pass |" in check_markdown(check)
