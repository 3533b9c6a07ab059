"""configuration -> cells: what names a cell, what labels it, and what a plan refuses."""

from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import ConfigError, PromptError
from decodebench.plan.cells import Plan, cell_labels, plan
from decodebench.plan.config import job_config
from decodebench.prompts.sets import PromptsConfig, load_prompts
from decodebench.records import Prompt
from launches import PROMPTS, compose, write_prompts


@pytest.fixture(autouse=True)
def prompt_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("decodebench.models.packaged.check_available", lambda: None)
    write_prompts(tmp_path)


def planned(*jobs: str) -> Plan:
    """The plan of jobs, each given by its overrides."""
    return plan([job_config(compose(*job.split())) for job in jobs])


def cell_id(job: str) -> str:
    return planned(job).jobs[0].cell.id


def test_a_cell_that_the_grid_names_twice_is_decoded_once() -> None:
    jobs = planned("strategy=greedy", "strategy=top_p", "strategy=greedy", "strategy=top_p strategy.top_p=0.9").jobs
    assert [job.cell.strategy for job in jobs] == ["greedy", "top_p"]


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "results=elsewhere",
        "latency=skip",
        "engine.max_rows=7",
        "metrics.unit=words",
        "task=python task.function=math.sqrt",
        "model.device=cpu",
        "model.licence=other",
        "model.name=other",
        "strategy.name=other",
        "prompts.name=other",
        "prompts.language=en",
        "strategy.num_return_sequences=4",
    ],
)
def test_the_id_does_not_hang_on_what_changes_no_token(override: str) -> None:
    assert cell_id(override) == cell_id("")


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model.dtype=bfloat16",
        "model=local model.path=MODEL",
        "model=hub model.id=a/b",
        "prompts=file prompts.path=prompts.jsonl",
        "prompts.ids=[greeting]",
        "prompts.limit=1",
        "prompts.template=chat",
        "strategy=top_p",
        "strategy.top_p=0.9",
        "strategy.max_new_tokens=65",
        "strategy.repetition_penalty=1.1",
    ],
)
def test_the_id_hangs_on_all_that_changes_tokens(override: str, tiny_dirs: dict[str, Path]) -> None:
    assert cell_id(override.replace("MODEL", str(tiny_dirs["llama"]))) != cell_id("")


def test_the_same_prompts_in_another_file_are_the_same_cell() -> None:
    Path("copy.jsonl").write_bytes(Path("prompts.jsonl").read_bytes())
    assert cell_id("prompts=file prompts.path=copy.jsonl") == cell_id("prompts=file prompts.path=prompts.jsonl")
    Path("copy.jsonl").write_bytes(Path("prompts.jsonl").read_bytes().replace(b"boat", b"ship"))
    assert cell_id("prompts=file prompts.path=copy.jsonl") != cell_id("prompts=file prompts.path=prompts.jsonl")


def test_a_job_carries_its_prompts() -> None:
    (job,) = planned("prompts=file prompts.path=prompts.jsonl prompts.template='say:{text}'").jobs
    assert [(p.id, p.text) for p in job.prompts] == [(p["id"], p["text"]) for p in PROMPTS]
    assert job.template == "say:{text}"


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("name", "name=a", "name=b"),
        ("results", "results=a", "results=b"),
        ("metrics", "", "metrics.unit=words"),
        ("scorer", "", "scorer.id=self"),
        ("task", "", "task=python task.function=math.sqrt"),
        ("latency", "", "latency=skip"),
        ("engine", "", "engine.max_rows=9"),
    ],
)
def test_what_holds_for_the_whole_run_cannot_be_swept(key: str, one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: cannot be swept"):
        planned(one, other)


def test_prompts_are_read_once_for_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def noted(config: PromptsConfig) -> tuple[Prompt, ...]:
        read.append(config.name)
        return load_prompts(config)

    monkeypatch.setattr("decodebench.plan.cells.load_prompts", noted)
    planned("strategy=greedy", "strategy=top_p", "prompts=open_en")
    assert read == ["seed_ko", "open_en"]


def test_prompts_that_cannot_be_read_refuse_the_plan() -> None:
    with pytest.raises(PromptError, match="no such file"):
        planned("strategy=greedy", "prompts=file prompts.path=missing.txt")


def node(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, **values}


def labels(noun: str, *nodes: dict[str, Any]) -> list[str]:
    """The labels of cells that differ in one noun."""
    same = {"model": node("m"), "prompts": node("p"), "strategy": node("s")}
    found = cell_labels({str(n): {**same, noun: each} for n, each in enumerate(nodes)})
    return [found[str(n)][noun] for n in range(len(nodes))]


@pytest.mark.parametrize(
    ("noun", "nodes", "expected"),
    [
        ("strategy", [node("greedy", a=1), node("beam", a=2)], ["greedy", "beam"]),
        ("strategy", [node("top_p", p=0.8, k=1), node("top_p", p=0.9, k=1)], ["top_p p=0.8", "top_p p=0.9"]),
        ("strategy", [node("a", x=1), node("b", x=1), node("b", x=2)], ["a", "b x=1", "b x=2"]),
        ("strategy", [node("a", x=None), node("a", x=True)], ["a x=null", "a x=true"]),
        ("strategy", [node("a", x=1), node("a", x=1)], ["a", "a"]),
        ("model", [node("m", path="a", device="cpu"), node("m", path="b", device="cuda")], ["m path=a", "m path=b"]),
        ("prompts", [node("p", ids=["x", "y"], items=[1]), node("p", ids=None)], ["p ids=[x,y]", "p ids=null"]),
        ("prompts", [node("p", template="a\n{text}"), node("p")], ["p template=a {text}", "p template=null"]),
    ],
)
def test_labels_tell_namesakes_apart(noun: str, nodes: list[dict[str, Any]], expected: list[str]) -> None:
    assert labels(noun, *nodes) == expected


def test_no_cells_no_labels() -> None:
    assert cell_labels({}) == {}


REFERENCED = "prompts=file prompts.path=referenced.jsonl"


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("latency=skip metrics.rank_by=[e2e_s]", "nothing is timed: latency.rounds=0"),
        ("latency=skip metrics.rank_by=[distinct_1,peak_bytes]", "nothing is timed: latency.rounds=0"),
        ("metrics.rank_by=[vendi]", "no scorer has read the texts (scorer.id=self, or another model)"),
        ("scorer.id=self metrics.rank_by=[mauve]", "the prompts have no references"),
        ("metrics.rank_by=[length_w1]", "the prompts have no references"),
        (f"{REFERENCED} scorer.id=self metrics.rank_by=[mauve]", "2 prompts have references, MAUVE needs at least 100"),
        ("metrics.rank_by=[self_bleu]", "every strategy gives one text for a prompt"),
        ("metrics.rank_by=[acceptance_rate]", "no strategy drafts tokens"),
        (
            "strategy.max_new_tokens=16 metrics.rank_by=[diversity_first32]",
            "no text has 32 tokens: strategy.max_new_tokens=16",
        ),
    ],
)
def test_a_ranking_by_what_the_run_will_not_measure_is_refused(override: str, why: str | None) -> None:
    """Everything was decoded first."""
    Path("referenced.jsonl").write_text('{"text": "a", "reference": "b"}\n{"text": "c", "reference": "d"}\n')
    with pytest.raises(ConfigError) as caught:
        planned(f"strategy=greedy {override}")
    message = str(caught.value)
    assert message.startswith("metrics.rank_by=")
    assert "\n" not in message
    if why is not None:
        assert f"this run will not measure it ({why})" in message


@pytest.mark.parametrize(
    "override",
    [
        "metrics.rank_by=[e2e_s,diversity]",
        "scorer.id=self metrics.rank_by=[vendi]",
        f"{REFERENCED} metrics.rank_by=[length_w1]",
        "strategy=sample strategy.num_return_sequences=2 metrics.rank_by=[self_bleu]",
        "strategy=beam strategy.num_return_sequences=2 metrics.rank_by=[self_bleu]",
        "strategy=prompt_lookup metrics.rank_by=[acceptance_rate]",
        "strategy.max_new_tokens=32 metrics.rank_by=[diversity_first32]",
        "strategy.max_new_tokens=16 metrics.unit=characters metrics.rank_by=[diversity_first32_characters]",
    ],
)
def test_a_ranking_by_what_it_may_measure_is_planned(override: str) -> None:
    Path("referenced.jsonl").write_text('{"text": "a", "reference": "b"}\n{"text": "c", "reference": "d"}\n')
    assert planned(override).jobs
