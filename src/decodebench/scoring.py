"""generations -> measurements: the metrics of every cell of a stored run; needs no model."""

from itertools import groupby
from pathlib import Path

from decodebench.metrics import Unit, measure, measure_timings
from decodebench.records import Generation, Measurement, Timing
from decodebench.store import read_manifest
from decodebench.tables import read_records, write_csv, write_records


def score_run(run_dir: Path, *, unit: Unit | None = None) -> list[Measurement]:
    """Compute measurements.parquet and .csv of a run folder, cells in the manifest's order, failed ones left out.

    `unit` is what n-grams, loops and lengths are counted in; None: what the run's configuration says.
    """
    manifest = read_manifest(run_dir)
    failed = {entry["cell"] for entry in manifest["failed"]}
    unit = unit or manifest["cells"][0]["config"]["metrics"]["unit"]
    generations = read_records(run_dir / "generations.parquet", Generation)
    latency = run_dir / "latency.parquet"
    timings = read_records(latency, Timing, optional=True)
    measurements: list[Measurement] = []
    for cell, group in groupby(generations, key=lambda g: g.cell):
        if cell not in failed:
            measurements += measure(list(group), unit=unit)
            measurements += measure_timings([t for t in timings if t.cell == cell])
    write_records(run_dir / "measurements.parquet", Measurement, measurements)
    write_csv(run_dir / "measurements.csv", Measurement, measurements)
    return measurements
