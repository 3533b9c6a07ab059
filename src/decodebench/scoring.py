"""generations -> measurements: the metrics of every cell of a stored run, and what they say of its strategies.

Needs no model. One cell is in memory at a time, and people's texts beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from decodebench.comparing import Arms, differences, ranking
from decodebench.metrics import MetricsConfig, measure_curves, measure_timings, score
from decodebench.metrics.corpus import Corpus, corpus
from decodebench.metrics.quality import check_one_cell
from decodebench.records import CurvePoint, Difference, Generation, Measurement, Rank, Reading, Timing
from decodebench.store import read_manifest
from decodebench.tables import cells_of, read_cell, read_records, write_csv, write_records


def score_run(run_dir: Path, **changes: Any) -> list[Measurement]:
    """Compute the tables of a run folder that hold what was measured: measurements, curves, differences, ranking.

    Cells are in the manifest's order, failed ones left out, people's texts last. `changes` are keys of MetricsConfig
    that are to be otherwise than the run's configuration says.
    """
    manifest = read_manifest(run_dir)
    config = MetricsConfig(**(manifest["cells"][0]["config"]["metrics"] | changes))
    timings = read_records(run_dir / "latency.parquet", Timing, optional=True)
    measurements: list[Measurement] = []
    curves: list[CurvePoint] = []
    arms = Arms()
    for entry, texts in _corpora(run_dir, manifest, config):
        scored = score(texts, config)
        measurements += [each.measurement(texts.first) for each in scored]
        of_cell = measure_timings([t for t in timings if t.cell == entry["id"]])
        measurements += of_cell
        curves += measure_curves(texts, unit=config.unit)
        arms.add(entry, scored, of_cell)
    tables: dict[str, tuple[type, Sequence[Any]]] = {
        "measurements": (Measurement, measurements),
        "curves": (CurvePoint, curves),
        "differences": (Difference, differences(arms, config.against)),
        "ranking": (Rank, ranking(arms, config.rank_by)),
    }
    for name, (kind, records) in tables.items():
        write_records(run_dir / f"{name}.parquet", kind, records)
        write_csv(run_dir / f"{name}.csv", kind, records)
    return measurements


def _corpora(
    run_dir: Path, manifest: Mapping[str, Any], config: MetricsConfig
) -> Iterator[tuple[Mapping[str, Any], Corpus]]:
    """Each cell that has texts, with its entry in the manifest, and then people's texts."""
    failed = {entry["cell"] for entry in manifest["failed"]}
    generated, given = (run_dir / f"{name}.parquet" for name in ("generations", "references"))
    humans = {
        (entry["model"], entry["prompts"]): (entry, _corpus(run_dir, given, entry, manifest, config))
        for entry in manifest.get("references", ())
    }
    stored = cells_of(generated)
    entries = [entry for entry in manifest["cells"] if entry["id"] in stored and entry["id"] not in failed]
    with tqdm(total=len(entries) + len(humans), unit="cell", desc="scoring", disable=None) as bar:
        for entry in entries:
            _, human = humans.get((entry["model"], entry["prompts"]), (None, None))
            yield entry, _corpus(run_dir, generated, entry, manifest, config, human)
            bar.update()
        for entry, texts in humans.values():
            yield entry, texts
            bar.update()


def _corpus(
    run_dir: Path,
    path: Path,
    entry: Mapping[str, Any],
    manifest: Mapping[str, Any],
    config: MetricsConfig,
    human: Corpus | None = None,
) -> Corpus:
    """The texts of a cell, with what the scorer said of them."""
    generations = read_cell(path, Generation, entry["id"])
    check_one_cell(generations)
    return corpus(
        generations,
        unit=config.unit,
        readings=read_cell(run_dir / "readings.parquet", Reading, entry["id"], optional=True),
        human=human,
        vocabulary=manifest["models"].get(entry["model"], {}).get("vocabulary"),
    )
