"""Baselines: what is kept of a run, the file it is kept in, and everything that can be wrong with either."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decodebench.errors import StoreError
from decodebench.records import Generation
from decodebench.regression.baseline import Baseline, BaselineArm, BaselineMetric, BaselineText, significant
from decodebench.regression.baseline_file import read_baseline, write_baseline
from decodebench.regression.making import make_baseline, with_noise
from decodebench.store.tables import read_records, write_records
from launches import launch
from sample_run import cell, generation, manifest, save

CONFIG = {"model": {"name": "gemma"}, "prompts": {"name": "seed_ko"}, "metrics": {}, "engine": {}}


def entry(name: str, seed: int = 0, *, do_sample: bool = False, **changes: Any) -> dict[str, Any]:
    """A cell of the manifest as a run leaves it."""
    config = CONFIG | {"strategy": {"name": name}, "seed": seed}
    return cell(
        name, id=f"id-{name}-{seed}", seed=seed, config=config, generation_config={"do_sample": do_sample}, **changes
    )


def text(name: str, seed: int, prompt_id: str, sample: int, tokens: Sequence[int], **changes: Any) -> Any:
    """A text whose tokens have the log-probabilities -1, -2, ..."""
    return generation(
        name,
        prompt_id,
        sample,
        cell=f"id-{name}-{seed}",
        seed=seed,
        token_ids=tuple(tokens),
        token_logprobs=tuple(-float(n) for n, _ in enumerate(tokens, start=1)),
        delivered_tokens=len(tokens),
        finish_reason="length",
        **changes,
    )


def run(folder: Path, **changes: Any) -> Path:
    """Two prompts; greedy with margins, a beam search of two, a sampler with two seeds of two samples.

    The sampler's lengths: prompt a has 1 and 2 tokens with seed 0, 3 and 4 with seed 1; prompt b always 5.
    """
    cells = [entry("greedy"), entry("beam"), *(entry("sample", seed, do_sample=True) for seed in (0, 1))]
    texts = [
        *(text("greedy", 0, p, 0, (5, 6), is_search=True, token_margins=(0.12345, 20.0)) for p in ("a", "b")),
        *(text("beam", 0, p, n, (7, 8, n), score=-1.0 / (3 + n), is_search=True) for p in ("a", "b") for n in (0, 1)),
    ]
    for seed, lengths in ((0, (1, 2)), (1, (3, 4))):
        texts += [text("sample", seed, "a", n, range(length), text="가") for n, length in enumerate(lengths)]
        texts += [text("sample", seed, "b", n, range(5), text="나") for n in (0, 1)]
    return save(folder, manifest(cells, status="complete") | changes, texts, [])


def changed(run_dir: Path, **changes: Any) -> Path:
    path = run_dir / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return run_dir


# --- what is kept


def test_texts_and_prompts_are_kept(tmp_path: Path) -> None:
    made = make_baseline(run(tmp_path / "run"))
    assert [(arm.strategy, arm.is_search) for arm in made.arms] == [
        ("greedy", True),
        ("beam", True),
        ("sample", False),
    ]
    greedy, beam, sample = made.arms
    assert greedy.texts[0]["a"] == (
        BaselineText(
            sample=0,
            token_ids=(5, 6),
            text="네, 저는 <script>alert('x')</script> 알아듣습니다.\n그리고 ``` 도 압니다.",
            sha256=hashlib.sha256(greedy.texts[0]["a"][0].text.encode()).hexdigest(),
            finish_reason="length",
            margins=(0.123, 20.0),  # three digits
        ),
    )
    assert [each.score for each in beam.texts[0]["b"]] == [-0.333333333, -0.25]  # nine digits
    assert {seed: {p: len(found) for p, found in of.items()} for seed, of in sample.texts.items()} == {
        0: {"a": 2, "b": 2},
        1: {"a": 2, "b": 2},
    }
    # the sample run's prompts are their ids
    assert made.prompts == {"seed_ko": {p: hashlib.sha256(p.encode()).hexdigest() for p in ("a", "b")}}
    assert made.made["run"] == "sample run"
    assert made.made["models"]["gemma"]["dtype"] == "float32"
    assert made.made["metrics"]["unit"] == "tokens"
    assert [config["seed"] for config in made.configs] == [0, 0, 0, 1]


def test_rows_are_those_of_every_prompt_with_all_seeds(tmp_path: Path) -> None:
    metrics = make_baseline(run(tmp_path / "run")).arms[2].metrics
    # Mean length of prompt a: (1 + 2 + 3 + 4) / 4 = 2.5, of b 5; together 3.75.
    assert metrics["length"].rows == {"a": (2.5,), "b": (5.0,)}
    assert metrics["length"].value == 3.75
    # All that was returned for a: seed 0 has 1 + 2, seed 1 has 3 + 4; their mean is 5. For b always 2 x 5.
    assert metrics["delivered_tokens"].rows == {"a": (5.0,), "b": (10.0,)}
    # Sums of log-probs and of tokens. a: -(1 + 3 + 6 + 10) / 4 = -5 over 2.5 tokens; b: -15 over 5. In all 20 / 7.5.
    assert sorted(map(abs, metrics["surprisal"].rows["a"])) == [2.5, 5.0]
    assert sorted(map(abs, metrics["surprisal"].rows["b"])) == [5.0, 15.0]
    assert metrics["surprisal"].value == significant(20 / 7.5) == 2.66666667
    assert metrics["entropy"].value is None
    assert metrics["entropy"].rows == {}
    assert metrics["entropy"].reason == "no scorer has read the texts (scorer.id=self, or another model)"
    assert {metric.noise for metric in metrics.values()} == {None}
    assert not [name for name in metrics if name.endswith(("_first32", "_w1"))]
    assert "self_bleu" in metrics, "a value between the texts of a prompt has rows"
    assert "mauve" not in metrics, "a value of a whole set has none"


def test_a_search_that_draws_need_not_come_again(tmp_path: Path) -> None:
    cells = [entry("beam", do_sample=True)]
    texts = [text("beam", 0, p, 0, (1, 2), is_search=True) for p in ("a", "b")]
    made = make_baseline(save(tmp_path / "run", manifest(cells, status="complete"), texts, []))
    assert not made.arms[0].is_search


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"failed": [{"cell": "id-beam-0", "error": "no <memory>"}], "status": "failed"},
            "the cell beam failed (no <memory>); a baseline must be whole; run its command again, or without this cell",
        ),
        ({"status": "running"}, "is not finished (status running); run its command again first"),
        ({"unread": [{"cell": None, "error": "gone"}]}, "not all texts could be read again (gone)"),
        ({"source": {"file": "x.csv"}}, "its texts were made elsewhere (x.csv) and have no tokens"),
        ({"cells": []}, "has no cells"),
    ],
)
def test_runs_that_are_not_whole_are_refused(tmp_path: Path, changes: Mapping[str, Any], message: str) -> None:
    run_dir = changed(run(tmp_path / "run"), **changes)
    with pytest.raises(StoreError) as caught:
        make_baseline(run_dir)
    assert str(caught.value).startswith(f"{run_dir}: {message}")
    assert "\n" not in str(caught.value)


def test_a_run_to_be_checked_need_not_be_whole(tmp_path: Path) -> None:
    failed = [{"cell": "id-beam-0", "error": "no memory"}]
    run_dir = changed(run(tmp_path / "run"), failed=failed, status="failed")
    assert [arm.strategy for arm in make_baseline(run_dir, whole=False).arms] == ["greedy", "sample"]


def test_what_was_fed_and_all_of_the_model_is_kept(tmp_path: Path) -> None:
    run_dir = run(tmp_path / "run")
    path = run_dir / "generations.parquet"
    texts = [replace(g, prompt_ids_sha256=g.prompt_id * 3) for g in read_records(path, Generation)]
    write_records(path, Generation, [*texts[:-1], replace(texts[-1], prompt_ids_sha256=None)])
    model = {"source": "s", "fingerprint": "aa", "tokenizer": "tt", "chat_template": None, "eos_ids": [1]}
    model["resolved_config"] = {"rope": 1}
    changed(run_dir, models={"gemma": model | {"parameters": 5}}, second_identities={"draft": {"tokenizer": "uu"}})
    made = make_baseline(run_dir)
    assert made.fed == {("gemma", "seed_ko"): {"a": "aaa", "b": "bbb"}}
    assert made.made["models"] == {"gemma": model}
    assert made.made["second_identities"] == {"draft": {"tokenizer": "uu"}}


# --- noise


def other_seeds(folder: Path, **changes: Any) -> Path:
    """The sampler alone with three other seeds, its texts of 2, 3 and 7 tokens."""
    cells = [entry("sample", seed, do_sample=True) for seed in (2, 3, 4)]
    texts = [text("sample", seed, p, 0, range(n)) for seed, n in ((2, 2), (3, 3), (4, 7)) for p in ("a", "b")]
    return save(folder, manifest(cells, status="complete", seed=[2, 3, 4]) | changes, texts, [])


def test_noise_is_the_standard_deviation_over_seeds(tmp_path: Path) -> None:
    made = make_baseline(run(tmp_path / "run"))
    noisy = with_noise(made, other_seeds(tmp_path / "seeds"))
    # The mean of 2, 3 and 7 is 4: sqrt((4 + 1 + 9) / 2) = sqrt(7)
    assert noisy.arms[2].metrics["length"].noise == significant(7**0.5)
    assert noisy.arms[2].metrics["entropy"].noise is None  # it has no value with any seed
    assert noisy.arms[:2] == made.arms[:2]
    assert noisy.made["noise_seeds"] == [2, 3, 4]


def test_noise_of_other_weights_or_of_failed_cells_is_none(tmp_path: Path) -> None:
    made = make_baseline(run(tmp_path / "run", models={"gemma": {"fingerprint": "0aa", "dtype": "float32"}}))
    with pytest.raises(StoreError, match=r"^seed noise: model=gemma has other weights now \(fingerprint 0aa -> 0ff\)"):
        with_noise(made, other_seeds(tmp_path / "seeds", models={"gemma": {"fingerprint": "0ff"}}))
    with pytest.raises(StoreError, match=r"^seed noise: a cell with another seed failed: no memory$"):
        with_noise(made, changed(tmp_path / "seeds", failed=[{"cell": "id-sample-3", "error": "no memory"}]))


# --- the file

NAMES = st.text(max_size=6)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | NUMBERS | NAMES, st.lists, max_leaves=3)


@st.composite
def texts_of_a_prompt(draw: st.DrawFn) -> tuple[BaselineText, ...]:
    found = []
    for sample in sorted(draw(st.sets(st.integers(0, 3), min_size=1))):
        words, ids = draw(st.text(max_size=12)), draw(st.lists(st.integers(0, 3), max_size=3))
        found.append(
            BaselineText(
                sample=sample,
                token_ids=tuple(ids),
                text=words,
                sha256=hashlib.sha256(words.encode()).hexdigest(),
                finish_reason=draw(st.sampled_from(["eos", "length"])),
                score=draw(st.none() | NUMBERS),
                margins=draw(st.none() | st.lists(NUMBERS, min_size=len(ids), max_size=len(ids)).map(tuple)),
            )
        )
    return tuple(found)


@st.composite
def metrics_of_an_arm(draw: st.DrawFn, prompt_ids: Sequence[str]) -> BaselineMetric:
    row = st.lists(NUMBERS, min_size=(k := draw(st.integers(1, 3))), max_size=k).map(tuple)
    return BaselineMetric(
        version=draw(NAMES),
        unit=draw(NAMES),
        direction=draw(st.sampled_from(["higher", "lower", "none"])),
        value=draw(st.none() | NUMBERS),
        reason=draw(st.none() | NAMES),
        rows=draw(st.dictionaries(st.sampled_from(prompt_ids), row)),
        noise=draw(st.none() | NUMBERS),
    )


CONFIGS = st.dictionaries(NAMES.filter(lambda name: name != "strategy"), VALUES, max_size=3)
MODELS = st.dictionaries(NAMES, st.dictionaries(NAMES, st.none() | NAMES, max_size=2), max_size=2)


@st.composite
def baselines(draw: st.DrawFn) -> Baseline:
    prompts = draw(
        st.dictionaries(NAMES, st.dictionaries(NAMES, NAMES, min_size=1, max_size=3), min_size=1, max_size=2)
    )
    arms = []
    labels = st.tuples(NAMES, st.sampled_from(sorted(prompts)), NAMES)
    for model, name, strategy in draw(st.lists(labels, min_size=1, max_size=3, unique=True)):
        ids = sorted(prompts[name])
        of_a_seed = st.dictionaries(st.sampled_from(ids), texts_of_a_prompt(), min_size=1)
        arms.append(
            BaselineArm(
                model=model,
                prompts=name,
                strategy=strategy,
                is_search=draw(st.booleans()),
                config=draw(CONFIGS),
                texts=draw(st.dictionaries(st.integers(0, 9), of_a_seed, min_size=1, max_size=3)),
                metrics=draw(st.dictionaries(NAMES, metrics_of_an_arm(ids), max_size=2)),
            )
        )
    made = draw(st.fixed_dictionaries({"run": VALUES, "versions": VALUES, "models": MODELS, "metrics": st.just({})}))
    fed = {}
    for name, model in draw(st.sets(st.tuples(st.sampled_from(sorted(prompts)), NAMES), max_size=2)):
        fed[model, name] = draw(st.dictionaries(st.sampled_from(sorted(prompts[name])), NAMES, min_size=1))
    clusters = {}
    for name in draw(st.sets(st.sampled_from(sorted(prompts)))):
        named = NAMES.filter(bool)
        clusters[name] = draw(st.dictionaries(st.sampled_from(sorted(prompts[name])), named, min_size=1))
    return Baseline(made=made, prompts=prompts, arms=tuple(arms), fed=fed, clusters=clusters)


SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@SAME_FOLDER
@given(baseline=baselines())
def test_what_is_written_is_read_back(baseline: Baseline, tmp_path: Path) -> None:
    path = tmp_path / "it"
    write_baseline(path, baseline)
    assert read_baseline(path) == baseline


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The baseline of the run above, written."""
    path = tmp_path / "baselines" / "it"
    write_baseline(path, make_baseline(run(tmp_path / "run")))
    return path


def test_the_file_is_lines_that_say_what_they_are(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    kinds = ["row" if isinstance(line, list) else next(iter(line)) for line in lines]
    assert kinds[0] == "decodebench_baseline"
    assert lines[0]["lines"] == len(lines) - 1
    assert kinds.count("arm") == 3
    assert kinds.count("text_of") == 2 + 4 + 6  # of the sampler's 8, the two of prompt b come with both seeds
    assert [line["seeds"] for line in lines if "text_of" in line and line["text"] == "나"] == [[0, 1], [0, 1]]
    # The second arm's configuration differs from the first's in the strategy alone, the third's too.
    assert kinds.count("config") == 6 + 1 + 1
    at = next(n for n, line in enumerate(lines) if "metric" in line and line["metric"] == "length")
    assert lines[at : at + 3] == [
        {"metric": "length", "version": "1", "unit": "tokens", "direction": "none", "value": 2.0},
        ["a", 2],
        ["b", 2],
    ]
    assert "알아듣습니다" in path.read_text(encoding="utf-8")


def as_windows(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"\n\n",
        as_windows,
        lambda data: as_windows(data).rstrip(),
        lambda data: b"\xef\xbb\xbf" + data,
    ],
)
def test_what_editors_do_to_line_ends_changes_nothing(path: Path, edit: Callable[[bytes], bytes]) -> None:
    before = read_baseline(path)
    path.write_bytes(edit(path.read_bytes()))
    assert read_baseline(path) == before


def refused(path: Path) -> str:
    """The one line that reading it gives, without its path."""
    with pytest.raises(StoreError) as caught:
        read_baseline(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@SAME_FOLDER
@given(data=st.data())
def test_one_other_byte_is_seen(path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    before = read_baseline(path)
    path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
    try:
        assert read_baseline(path) == before  # a space for another sign of the head, a CR for the last newline
    except StoreError:
        pass
    finally:
        path.write_bytes(whole)


@SAME_FOLDER
@given(data=st.data())
def test_a_file_that_ends_too_early_is_seen(path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 2))])  # without its last newline it is whole
    refused(path)
    path.write_bytes(whole)


def test_what_is_no_baseline_is_said(path: Path, tmp_path: Path) -> None:
    again = f"make it with `python -m decodebench baseline RUN -o {path}`"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:9]))
    assert refused(path) == f"is cut off, 8 of {len(lines) - 1} lines are there; {again}"
    path.write_bytes(whole + b'["a",1]\n')
    assert refused(path) == f"was edited, or its end cut off: its checksum is of other content; {again}"
    path.write_bytes(whole.replace("나".encode(), "너".encode(), 1))
    assert refused(path).startswith("was edited")
    path.write_bytes(whole.replace(b'"value":2.0', b'"value":2.5', 1))
    assert refused(path).startswith("was edited")
    path.write_bytes(b"")
    assert refused(path) == f"is no baseline (its first line is not the head of one); {again}"
    path.write_bytes(b"\xff\xfe\x00")
    assert refused(path).startswith("is no baseline")
    path.write_text('{"schema_version": 1}')
    assert refused(path).startswith("is no baseline")
    path.unlink()
    assert refused(path) == f"there is no such baseline; {again}"
    make = f"make one with `python -m decodebench baseline RUN -o baselines/{tmp_path.name}` first"
    assert refused(tmp_path) == f"is a folder; {make}, then check against that file"
    run_dir = tmp_path / "run"
    make = f"make one with `python -m decodebench baseline {run_dir} -o baselines/run` first"
    assert refused(run_dir) == f"is the folder of a run, not its baseline; {make}, then check against that file"


def rewritten(path: Path, *body: Any, **head: Any) -> None:
    """Lines under a head that fits them, as a person could make them who means it."""
    lines = [line if isinstance(line, str) else json.dumps(line) for line in body]
    checksum = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    fitting = {"decodebench_baseline": 1, "lines": len(lines), "sha256": checksum} | head
    told = {key: value for key, value in fitting.items() if value is not None}
    path.write_text("\n".join([json.dumps(told), *lines, ""]))


def test_another_version_is_said_before_anything_else(path: Path) -> None:
    rewritten(path, "whatever this will be", decodebench_baseline=2, lines=None, sha256=None)
    assert refused(path) == "was made by a newer decodebench (format 2, this one reads 1)"
    rewritten(path, decodebench_baseline="one")
    assert refused(path) == "is of a version that is not known (format one, this one reads 1)"
    rewritten(path, sha256=None)
    assert refused(path).startswith("its head has no sha256; ")


def test_what_is_not_finite_is_not_written(path: Path) -> None:
    before, kept = read_baseline(path), path.read_bytes()
    arm = before.arms[0]
    metrics = {"length": replace(arm.metrics["length"], value=float("nan"))}
    with pytest.raises(StoreError, match=r"it: cannot be written \(Out of range float values"):
        write_baseline(path, replace(before, arms=(replace(arm, metrics=metrics),)))
    assert path.read_bytes() == kept


# --- the command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "results" / "mine")
    return tmp_path


def test_the_command_writes_and_replaces(here: Path) -> None:
    done = launch("baseline", "results/mine")
    assert (done.code, done.err) == (0, "")
    path = here / "baselines" / "mine"
    size = f"{path.stat().st_size / 1000:,.0f} kB"
    told = "3 strategies, 2 prompts, 14 texts; no seed noise: --seeds 5 measures it"
    assert done.out == f"baseline: baselines/mine ({told}; {size})\n"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])  # one that is damaged is made again
    assert launch("baseline", "results/mine", "-o", "baselines/mine").code == 0
    assert path.read_bytes() == whole
    assert read_baseline(path) == make_baseline(here / "results" / "mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results/mine", "-o", "notes.txt"], "notes.txt: is a file, and no baseline; allowed is a new path, or"),
        (["results/mine", "-o", "results"], "results: cannot be replaced (Is a directory); allowed is the path of a"),
        (["results/other"], "results/other: there is no such folder; allowed: the folder of a run"),
        (["results/mine", "--seeds", "1"], "--seeds=1: allowed is a number of seeds from 2 to 100"),
        (["results/mine", "--seeds", "five"], "--seeds=five: allowed is a number of seeds from 2 to 100"),
        (["results/mine", "--seed", "5"], "baseline --seed: unknown flag; allowed: --help, --output, --seeds"),
        ([], "baseline: takes the path of a run folder, as in: baseline results/NAME"),
    ],
)
def test_bad_calls_are_one_line(here: Path, arguments: Sequence[str], message: str) -> None:
    (here / "notes.txt").write_text("mine\n")
    done = launch("baseline", *arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert done.err.startswith(f"decodebench: error: {message}")
    assert (here / "notes.txt").read_text() == "mine\n"
    assert not (here / "baselines").exists()


def test_seeds_have_no_effect_where_nothing_draws(here: Path) -> None:
    texts = [text("greedy", 0, p, 0, (5, 6), is_search=True) for p in ("a", "b")]
    save(here / "results" / "flat", manifest([entry("greedy")], status="complete"), texts, [])
    done = launch("baseline", "results/flat", "--seeds", "3")
    assert done.code == 3
    assert "--seeds=3: has no effect, no strategy of flat draws; allowed is no --seeds" in done.err


def test_no_torch_is_needed(here: Path) -> None:
    code = (
        "import sys\nfrom decodebench.__main__ import main\nassert main(['baseline', 'results/mine']) == 0\n"
        "from decodebench.regression.baseline_file import read_baseline\nfrom pathlib import Path\n"
        "read_baseline(Path('baselines/mine'))\n"
        "print(sorted({'torch', 'transformers', 'hydra'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
