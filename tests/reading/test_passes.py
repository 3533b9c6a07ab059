"""The pass of a scorer over a stored run: what is half-written is made again, what is lost is named."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from decodebench.errors import ModelError
from decodebench.plan.cells import plan
from decodebench.plan.config import job_config
from decodebench.reading import read_run
from decodebench.records import Generation, Reading
from decodebench.run import execute
from decodebench.store.tables import read_records, write_records
from launches import PROMPTS, compose, manifest, one_thread, texts, without_report, write_prompts

threads = pytest.fixture(autouse=True, scope="module")(one_thread)
RUN = Path("results/x")


@pytest.fixture
def run(tiny_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Generation]:
    """A run of greedy and beam that no scorer has read; its texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    write_prompts(tmp_path)
    without_report(monkeypatch)
    good = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip", "prompts=file"]
    good += ["prompts.path=prompts.jsonl", "strategy.max_new_tokens=4", "name=x"]
    jobs = [job_config(compose(*good, f"strategy={name}")) for name in ("greedy", "beam")]
    execute(plan(jobs), echo=lambda said: None)
    return texts()


def keys() -> list[tuple[str, str, int]]:
    return [(each.cell, each.prompt_id, each.sample) for each in read_records(RUN / "readings.parquet", Reading)]


def test_rows_that_are_lost_are_named_and_those_that_came_back_are_read(run: list[Generation]) -> None:
    """An empty file was kept of the cell without rows, which no later call could read."""
    path = RUN / "generations.parquet"
    greedy = [text for text in run if text.strategy == "greedy"]
    write_records(path, Generation, greedy)
    read_run(RUN, "self")
    (beam,) = [cell["id"] for cell in manifest()["cells"] if cell["strategy"] == "beam"]
    error = f"results/x: has no text of the cell {beam} that the manifest names"
    assert manifest()["unread"] == [{"cell": beam, "error": error}]
    assert keys() == [(text.cell, text.prompt_id, text.sample) for text in greedy]
    assert len(greedy) == len(PROMPTS)
    write_records(path, Generation, run)
    read_run(RUN, "self")
    assert manifest()["unread"] == []
    assert keys() == [(text.cell, text.prompt_id, text.sample) for text in run]


def test_a_run_that_lost_all_rows_is_refused_and_can_be_read_when_they_are_back(run: list[Generation]) -> None:
    path = RUN / "generations.parquet"
    write_records(path, Generation, [])
    with pytest.raises(ModelError, match=r"^results/x: has no text of the cell \w+ that the manifest names$"):
        read_run(RUN, "self")
    write_records(path, Generation, run)
    read_run(RUN, "self")
    assert len(keys()) == len(run)


@pytest.mark.parametrize("kind", ["empty", "cut", "no parquet", "another table"])
def test_a_half_written_file_of_a_cell_is_made_again(run: list[Generation], kind: str) -> None:
    read_run(RUN, "self")
    before = read_records(RUN / "readings.parquet", Reading)
    whole = pq.read_table(RUN / "readings.parquet")
    (RUN / "readings.parquet").unlink()
    part = RUN / "readings" / f"{run[0].cell}.parquet"
    part.parent.mkdir()
    kept = {"empty": whole[:0], "another table": whole.drop(["token_ids"])}
    pq.write_table(kept.get(kind, whole), part)
    if kind in ("cut", "no parquet"):
        part.write_bytes(part.read_bytes()[:-40] if kind == "cut" else b"PAR1")
    read_run(RUN, "self")
    assert read_records(RUN / "readings.parquet", Reading) == before
    assert not part.parent.exists()
