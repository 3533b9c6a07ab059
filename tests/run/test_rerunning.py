"""What is stored can be run again: the same texts from a run's own configurations, others with other seeds."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from decodebench.errors import ConfigError, DecodebenchError, ModelError, PromptError, StoreError
from decodebench.records import Measurement
from decodebench.regression.baseline import significant
from decodebench.regression.baseline_file import read_baseline
from decodebench.run.rerunning import rerun
from decodebench.store.tables import read_records
from launches import launch, manifest, one_thread, texts, without_report, write_prompts

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def good(tiny_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A working folder, and the arguments of a small run in it, without a strategy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    without_report(monkeypatch)
    write_prompts(tmp_path)
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x"]


def configs(name: str = "x") -> list[Mapping[str, Any]]:
    return [cell["config"] for cell in manifest(name)["cells"]]


def tokens(name: str) -> dict[tuple[str, int, str, int], tuple[int, ...]]:
    return {(g.strategy, g.seed, g.prompt_id, g.sample): g.token_ids for g in texts(name)}


def test_a_baseline_is_run_again_token_for_token(good: list[str]) -> None:
    assert launch("-m", *good, "strategy=greedy,beam,sample", "seed=3,4").code == 0
    assert launch("baseline", "results/x").code == 0
    kept = read_baseline(Path("baselines/x"))
    assert [(arm.strategy, arm.is_search, list(arm.texts)) for arm in kept.arms] == [
        ("greedy", True, [3, 4]),
        ("beam", True, [3, 4]),
        ("sample", False, [3, 4]),
    ]
    assert rerun(kept.configs, results="results", name="again", seeds=None) == Path("results/again")
    assert tokens("again") == tokens("x")
    stored = {
        (arm.strategy, seed, prompt_id, each.sample): each.token_ids
        for arm in kept.arms
        for seed, of in arm.texts.items()
        for prompt_id, found in of.items()
        for each in found
    }
    assert stored == tokens("x")
    assert launch("baseline", "results/again").code == 0
    again = read_baseline(Path("baselines/again"))
    assert [(arm.texts, arm.metrics) for arm in again.arms] == [(arm.texts, arm.metrics) for arm in kept.arms]
    assert again.prompts == kept.prompts


def test_other_seeds_are_taken_once_for_each_configuration(good: list[str]) -> None:
    assert launch("-m", *good, "strategy=greedy,sample", "seed=0,1").code == 0
    rerun(configs(), results="results", name="seeds", seeds=(5, 6))
    assert [(cell["strategy"], cell["seed"]) for cell in manifest("seeds")["cells"]] == [
        ("greedy", 5),
        ("greedy", 6),
        ("sample", 5),
        ("sample", 6),
    ]
    drawn = {key[1:]: ids for key, ids in tokens("seeds").items() if key[0] == "sample"}
    assert any(drawn[5, prompt_id, n] != drawn[6, prompt_id, n] for seed, prompt_id, n in drawn if seed == 5)


def test_the_noise_of_a_baseline_is_that_of_such_runs(good: list[str]) -> None:
    assert launch("-m", *good, "strategy=greedy,sample").code == 0
    assert launch("-m", *good, "strategy=sample", "seed=1,2", "name=y").code == 0
    done = launch("baseline", "results/x", "--seeds", "2")
    assert (done.code, done.out.splitlines()[0]) == (0, "running sample with the seeds 1, 2")
    assert "2 strategies, 3 prompts, 12 texts; the noise of 2 seeds" in done.out
    assert sorted(path.name for path in Path("results").iterdir()) == ["x", "y"], "what was run for it is gone"

    greedy, sample = read_baseline(Path("baselines/x")).arms
    measured: dict[str, list[float | None]] = {}
    for each in read_records(Path("results/y/measurements.parquet"), Measurement):
        measured.setdefault(each.metric, []).append(each.value)
    known = {name: [v for v in measured[name] if v is not None] for name in sample.metrics}
    noise: dict[str, Any] = {
        name: significant(stdev(values)) if len(values) == 2 else None for name, values in known.items()
    }
    assert {name: metric.noise for name, metric in sample.metrics.items()} == noise
    assert noise["surprisal"] > 0
    assert {metric.noise for metric in greedy.metrics.values()} == {None}


def test_what_was_stopped_goes_on(good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch("-m", *good, "strategy=sample").code == 0

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("decodebench.run.flow.score_run", stopped)
        assert launch("baseline", "results/x", "--seeds", "2").code == 130
    (folder,) = (path.name for path in Path("results").iterdir() if path.name != "x")
    assert folder.startswith(".x-seeds-")
    decoded: list[int] = []
    monkeypatch.setattr("decodebench.run.rerunning.execute", counted(decoded))
    assert launch("baseline", "results/x", "--seeds", "2").code == 0
    assert decoded == [0]
    assert [path.name for path in Path("results").iterdir()] == ["x"]


def counted(decoded: list[int]) -> Any:
    """`execute`, which notes how many texts it decoded."""
    from decodebench.run import execute

    def counting(plan: Any, **options: Any) -> Path:
        run_dir = execute(plan, **options)
        decoded.append(json.loads((run_dir / "manifest.json").read_text())["counts"]["requests_decoded"])
        return run_dir

    return counting


def test_noise_of_other_weights_is_refused(good: list[str], tiny_dirs: dict[str, Path]) -> None:
    assert launch("-m", *good, "strategy=sample").code == 0
    path = Path("results/x/manifest.json")
    path.write_text(path.read_text().replace(manifest()["models"]["local"]["fingerprint"], "0ff"))
    done = launch("baseline", "results/x", "--seeds", "2")
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("decodebench: error: seed noise: model=local has other weights now (")
    assert not Path("baselines").exists()
    assert [path.name for path in Path("results").iterdir()] == ["x"]


def test_nothing_is_resolved_a_second_time(good: list[str]) -> None:
    """A text that looks like an interpolation is only a text once it is stored."""
    assert launch(*good, "strategy=greedy").code == 0
    stored = dict(configs()[0])
    item = {"id": "price", "text": "It costs ${price}, \\${not} more"}
    stored["prompts"] |= {"source": "inline", "path": None, "items": [item]}
    rerun([stored], results="results", name="again", seeds=None)
    assert configs("again")[0]["prompts"]["items"] == [item]
    assert [text.prompt for text in texts("again")] == [item["text"]]


def test_a_group_of_later_days_is_as_it_is_by_default(good: list[str]) -> None:
    assert launch(*good, "strategy=greedy").code == 0
    older = {key: value for key, value in configs()[0].items() if key not in ("scorer", "engine")}
    rerun([older | {"metrics": {"unit": "tokens"}}], results="results", name="again", seeds=None)
    assert tokens("again") == tokens("x")


def test_the_timed_pass_is_left_out_unless_wanted(good: list[str]) -> None:
    assert launch(*good, "strategy=greedy").code == 0
    quick = {"name": "quick", "warmups": 1, "rounds": 3, "prompts": 1, "new_tokens": 2}
    stored = [config | {"latency": quick} for config in map(dict, configs())]
    rerun(stored, results="results", name="untimed", seeds=None)
    rerun(stored, results="results", name="timed", seeds=None, timed=True)
    assert not Path("results/untimed/latency.parquet").exists()
    assert Path("results/timed/latency.parquet").exists()
    assert tokens("untimed") == tokens("timed") == tokens("x")


def test_cells_that_fail_are_in_the_manifest(good: list[str]) -> None:
    assert launch("-m", *good, "strategy=greedy,sample").code == 0
    greedy, sample = (json.loads(json.dumps(config)) for config in configs())
    sample["strategy"]["max_total_tokens"] = 12
    run_dir = rerun([greedy, sample], results="results", name="again", seeds=None)
    assert [cell["cell"] for cell in manifest("again")["failed"]] == [manifest("again")["cells"][1]["id"]]
    done = launch("baseline", str(run_dir))
    assert done.code == 3
    assert "results/again: the cell sample failed (strategy.max_total_tokens=12: prompt long has " in done.err


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": {"path": "gone"}}, ModelError, "model.path=gone: does not exist"),
        ({"prompts": {"path": "gone.jsonl"}}, PromptError, "prompts.path=gone.jsonl: no such file"),
        ({"strategy": {"top_q": 1}}, ConfigError, "strategy.top_q=1: has no effect with strategy=greedy; allowed: "),
        ({"strategy": {"_target_": "own.Gone"}}, ConfigError, "strategy._target_=own.Gone: cannot be imported"),
        ({"strategy": {"max_total_tokens": 4}}, PromptError, "strategy.max_total_tokens=4: prompt ko has "),
    ],
)
def test_what_cannot_be_run_again_is_one_line(
    good: list[str], change: Mapping[str, Mapping[str, Any]], kind: type[DecodebenchError], message: str
) -> None:
    assert launch(*good, "strategy=greedy").code == 0
    stored = {key: value | change[key] if key in change else value for key, value in configs()[0].items()}
    with pytest.raises(kind) as caught:
        rerun([stored], results="results", name="again", seeds=None)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not Path("results/again").exists()


def test_a_run_of_another_day_is_not_taken_for_todays(good: list[str]) -> None:
    assert launch(*good, "strategy=greedy").code == 0
    with pytest.raises(StoreError, match=r"^results/x: is there already, and its texts would not be decoded again"):
        rerun(configs(), results="results", name="x", seeds=None)
    with pytest.raises(ConfigError, match=r"^no stored configurations"):
        rerun([], results="results", name="y", seeds=None)
