"""benchmarks/coverage.py runs at test size and prints a row for every case; docs/statistics.md has them all."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_coverage_benchmark(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "coverage.py"), "--quick", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    tables = json.loads(figures.read_text())
    cells = [cell for cases in tables.values() for row in cases.values() for cell in row.values()]
    assert all(cell["simulations"] >= 20 for cell in cells)
    assert all(cell["share"] is None or 0 <= cell["share"] <= 1 for cell in cells)
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for cases in tables.values():
        for case in cases:
            assert len(re.findall(rf"^\| {re.escape(case)} \|", page, re.M)) >= 1, case
            assert f"| {case} |" in done.stdout
