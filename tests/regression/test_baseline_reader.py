"""A baseline with a right checksum and wrong content: refused at the door, in one line, whatever is wrong with it."""

import copy
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import DecodebenchError, StoreError
from decodebench.regression import (
    check_json,
    check_markdown,
    check_text,
    explain,
    explanation_text,
    github_annotations,
    junit_xml,
    make_baseline,
    read_baseline,
    read_rules,
    refuse_rules,
    write_baseline,
)
from decodebench.regression.checking import Sides, check_sides, read_sides
from launches import launch
from regression_runs import lengthened, stored_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it"


def rewritten(path: Path, *body: Any) -> None:
    """Lines under a head that fits them, as a person could make them who means it."""
    lines = [line if isinstance(line, str) else json.dumps(line) for line in body]
    checksum = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    head = json.dumps({"decodebench_baseline": 1, "lines": len(lines), "sha256": checksum})
    path.write_text("\n".join([head, *lines, ""]))


def refused(path: Path) -> str:
    """The one line that reading it gives, without its path."""
    with pytest.raises(StoreError) as caught:
        read_baseline(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


MADE: list[Any] = [{"made": key, "is": {}} for key in ("run", "versions", "models", "metrics")]
ARM = {"arm": "greedy", "prompts": "p", "model": "m", "is_search": True}
METRIC = {"metric": "length", "version": "1", "unit": "tokens", "direction": "none", "value": 1.0}
TEXT = {"text_of": "a", "sample": 0, "seeds": [0], "finish": "eos", "text": "x", "token_ids": [1]}
PROMPTS = [{"prompt": id_, "of": "p", "sha256": "00"} for id_ in ("a", "b")]
CONFIG = {"config": "strategy", "is": {"name": "greedy"}}
GOOD: list[Any] = [*MADE, *PROMPTS, ARM, CONFIG, TEXT, METRIC, ["a", 1]]


def without(line: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != key}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([*GOOD, ["b", 1, 2]], "line 13 cannot be used (a row of 2 numbers, those before it have 1)"),
        ([*GOOD, ["b"]], "line 13 cannot be used (a row has the id of a prompt and at least one number)"),
        ([*GOOD, ["b", []]], "line 13 cannot be used ([] is no number)"),
        ([*GOOD, ["b", True]], "line 13 cannot be used (True is no number)"),
        ([*GOOD, ["b", 10**400]], f"line 13 cannot be used (1{'0' * 59} is too large)"),
        ([*GOOD, ["a", 1]], "line 13 cannot be used ('a' is given twice)"),
        ([*GOOD, ["c", 1]], "line 13 cannot be used ('p' has no prompt 'c')"),
        ([*GOOD, '["b",' + "[" * 5000], "line 13 cannot be used (it is nested too deeply)"),
        ([*GOOD, '{"metric":"x","metric":"y"}'], "line 13 cannot be used ('metric' is given twice)"),
        ([*GOOD, METRIC], "line 13 cannot be used ('length' is given twice)"),
        ([*GOOD, METRIC | {"metric": ["x"]}], "line 13 cannot be used (['x'] is no text)"),
        ([*GOOD, METRIC | {"metric": "x", "value": "1"}], "line 13 cannot be used ('1' is no number)"),
        ([*GOOD, METRIC | {"metric": "x", "noise": {}}], "line 13 cannot be used ({} is no number)"),
        ([*GOOD, METRIC | {"metric": "x", "reason": 5}], "line 13 cannot be used (5 is no text)"),
        ([*GOOD, METRIC | {"metric": "x", "direction": "up"}], "line 13 cannot be used ('up' is no direction)"),
        ([*GOOD, TEXT], "line 13 cannot be used (0 is given twice)"),
        ([*GOOD, TEXT | {"sample": "1"}], "line 13 cannot be used ('1' is no whole number of 0 or more)"),
        ([*GOOD, TEXT | {"sample": 1.0}], "line 13 cannot be used (1.0 is no whole number of 0 or more)"),
        ([*GOOD, TEXT | {"sample": 1, "token_ids": "12"}], "line 13 cannot be used ('12' is no list)"),
        ([*GOOD, TEXT | {"sample": 1, "token_ids": [-1]}], "line 13 cannot be used (-1 is no whole number of 0 or"),
        ([*GOOD, TEXT | {"sample": 1, "seeds": 0}], "line 13 cannot be used (0 is no list)"),
        ([*GOOD, TEXT | {"sample": 1, "seeds": []}], "line 13 cannot be used (a text has at least one seed)"),
        ([*GOOD, TEXT | {"sample": 1, "margins": [1, 2]}], "line 13 cannot be used (2 margins of 1 tokens)"),
        ([*GOOD, TEXT | {"sample": 1, "text": "\ud800"}], "line 13 cannot be used ('utf-8' codec can't encode"),
        ([*GOOD, '{"made":"x","is":"\\uD800"}'], "line 13 cannot be used ('utf-8' codec can't encode"),
        ([*GOOD, MADE[0]], "line 13 cannot be used ('run' is given twice)"),
        ([*GOOD, {"made": {}, "is": 1}], "line 13 cannot be used ({} is no text)"),
        ([*GOOD, ARM], "line 13 cannot be used ('m / p / greedy' is given twice)"),
        ([*GOOD, ARM | {"arm": "beam", "is_search": "yes"}], "line 13 cannot be used ('yes' is neither true nor"),
        ([*GOOD, ARM | {"arm": "beam"}], "the strategy 'beam' has no texts"),
        ([*GOOD, {"config": "strategy", "is": []}], "line 13 cannot be used ([] has no keys)"),
        ([*GOOD, {"config": "strategy", "is": {"length_penalty": "1"}}], "line 13 cannot be used ('1' is no number)"),
        ([*GOOD, {"config": "scorer"}], "line 13 has no 'scorer'"),
        ([*MADE[:2], {"made": "models", "is": {"m": 1}}], "line 4 cannot be used (1 has no keys)"),
        ([*MADE[:2], {"made": "models", "is": {"m": {"dtype": []}}}], "line 4 cannot be used ([] is no text)"),
        ([*MADE[:3], {"made": "metrics", "is": {"unit": {}}}], "line 5 cannot be used ({} is no text)"),
        ([*GOOD, '["b",NaN]'], "line 13 cannot be used (NaN is no finite number)"),
        ([*GOOD, '["b",-Infinity]'], "line 13 cannot be used (-Infinity is no finite number)"),
        ([*GOOD, '["b",1e999]'], "line 13 cannot be used (1e999 is no finite number)"),
        ([*GOOD, ["b", "1"]], "line 13 cannot be used ('1' is no number)"),
        ([*GOOD, [7, 1]], "line 13 cannot be used (7 is no text)"),
        ([*GOOD, []], "line 13 cannot be used"),
        ([*GOOD, {}], "line 13 cannot be used"),
        ([*GOOD, 5], "line 13 cannot be used"),
        ([*GOOD, '{"metric":'], "line 13 cannot be used"),
        ([*GOOD, {"unheard": 1}], "line 13 cannot be used (it begins with 'unheard')"),
        ([*GOOD, without(METRIC, "value")], "line 13 has no 'value'"),
        ([*GOOD, without(METRIC, "version")], "line 13 has no 'version'"),
        ([*GOOD, without(TEXT, "token_ids")], "line 13 has no 'token_ids'"),
        ([*GOOD, without(ARM | {"arm": "beam"}, "is_search")], "line 13 has no 'is_search'"),
        ([*GOOD, TEXT | {"text": 5}], "line 13 cannot be used (5 is no text)"),
        ([*GOOD, TEXT | {"text_of": "c"}], "line 13 cannot be used ('p' has no prompt 'c')"),
        ([*GOOD, TEXT | {"sample": 1, "margins": [None]}], "line 13 cannot be used (None is no number)"),
        ([*MADE, TEXT], "line 6 cannot be used (it stands before its strategy)"),
        ([*MADE, ["a", 1]], "line 6 cannot be used (it stands before its metric)"),
        (GOOD[1:], "does not say its run"),
        (GOOD[:6], "has no strategies"),
    ],
)
def test_lines_that_no_one_wrote(path: Path, body: Sequence[Any], message: str) -> None:
    rewritten(path, *GOOD)
    assert read_baseline(path).arms[0].metrics["length"].rows == {"a": (1.0,)}
    rewritten(path, *body)
    assert refused(path).startswith(message)


# --- a check of it

JUNK = (
    *(None, True, False, 0, -1, 1.5, 1e300, 10**30, -(10**400)),
    *("", "x", "NaN", "\ud800", "\u2028", "a\nb"),
    *([], [1], [None], ["a", "b"], [[1, 2]], [1, 2, 3, 4, 5], {}, {"a": 1}, {"x": None}),
)
CHANGES = 300


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a line: the keys that lead to it."""
    yield at
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, part in parts:
        yield from places(part, (*at, key))


def damaged(body: Sequence[Any], rng: random.Random) -> list[Any]:
    """The lines with one change: of a line of any kind, all kinds alike often."""
    lines, kinds = copy.deepcopy(list(body)), defaultdict(list)
    for n, line in enumerate(lines):
        kinds["row" if isinstance(line, list) else next(iter(line))].append(n)
    n = rng.choice(kinds[rng.choice(sorted(kinds))])
    how, place = (
        rng.choice(("line gone", "line twice", "lines swapped", *["part"] * 5)),
        rng.choice([*places(lines[n])]),
    )
    if how == "line gone":
        del lines[n]
    elif how == "line twice":
        lines.insert(rng.randrange(len(lines)), copy.deepcopy(lines[n]))
    elif how == "lines swapped":
        other = rng.randrange(len(lines))
        lines[n], lines[other] = lines[other], lines[n]
    elif not place:
        lines[n] = copy.deepcopy(rng.choice(JUNK))
    else:
        *parents, key = place
        node = lines[n]
        for parent in parents:
            node = node[parent]
        if rng.random() < 0.3:
            del node[key]
        elif isinstance(node, list) and rng.random() < 0.5:
            node.insert(key, copy.deepcopy(rng.choice(JUNK)))
        else:
            node[key] = copy.deepcopy(rng.choice(JUNK))
    return lines


def test_a_check_against_any_damaged_baseline_is_a_verdict_or_one_line(tmp_path: Path, path: Path) -> None:
    """What is shown must also be written: a half of a surrogate pair cannot be encoded."""
    renders = (check_text, check_json, check_markdown, junit_xml, github_annotations)
    write_baseline(path, make_baseline(stored_run(tmp_path / "then")))
    run = read_sides(lengthened(stored_run(tmp_path / "now")), read_baseline(path)).run
    body = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    rules, refusals, verdicts = read_rules(), [], 0
    for seed in range(CHANGES):
        rewritten(path, *map(json.dumps, damaged(body, random.Random(seed))))
        try:
            held = read_baseline(path)
            refuse_rules(rules, held)
            found = check_sides(Sides(baseline=held, run=run, failed=()), rules, run="now", baseline="it")
            shown = [render(found) for render in renders]
            if not found.incomparable:
                asked = (("greedy", "tokens"), ("sample", "length"))
                shown += [explanation_text(explain(held, run, rules, *names)) for names in asked]
        except DecodebenchError as error:
            refusals.append(str(error))
        else:
            assert all(text.encode() for text in shown)
            verdicts += 1
    assert len(refusals) > CHANGES / 4
    assert {len(refusal.splitlines()) for refusal in refusals} == {1}
    assert verdicts > CHANGES / 10  # a change of a text, a number or a name is no damage


def test_another_number_of_numbers_than_the_metric_has_is_one_line(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_baseline(path, make_baseline(stored_run(tmp_path / "then")))
    lengthened(stored_run(tmp_path / "now"))
    body = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    rewritten(path, *([*line, 7] if isinstance(line, list) else line for line in body))
    monkeypatch.chdir(tmp_path)
    done = launch("check", "now", "--against", "it")
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert "diversity: the baseline has 7 numbers of a prompt, the run has 6; make the baseline again" in done.err


def test_an_edited_row_of_a_real_baseline_is_one_line(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_baseline(path, make_baseline(stored_run(tmp_path / "then")))
    body = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    at = max(n for n, line in enumerate(body) if isinstance(line, list))
    body[at].append(7)
    rewritten(path, *body)
    monkeypatch.chdir(tmp_path)
    done = launch("check", "then", "--against", "it")
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert f"it: line {at + 2} cannot be used (a row of" in done.err
