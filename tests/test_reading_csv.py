"""Text stays text wherever a CSV of a run is read back: pandas takes `NA`, `null` and `nan` for missing, 007 for 7.

That lost the labels of such strategies in the README's snippet and in the notebook.
"""

import re
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from decodebench.report import render
from sample_run import cell, generation, manifest, measurement, save

ROOT = Path(__file__).parents[1]
NAMES = ("NA", "None", "null", "nan", "N/A", "007", "1e5", "true", "-inf", "plain")
"""Names of strategies; cells have ids that are all digits, or read as a power of ten."""
READING = r"read_csv\((?:[^()]|\([^()]*\))*\)"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """results/reference, with such names."""
    ids = {name: f"{at}23e4567" if at % 2 else f"00{at}456" for at, name in enumerate(NAMES)}
    cells = [cell(name, id=ids[name]) for name in NAMES]
    values = [
        measurement(name, metric, at + 0.5, cell=ids[name], direction="none")
        for at, name in enumerate(NAMES)
        for metric in ("diversity", "perplexity", "tok_per_s")
    ]
    texts = [generation(name, prompt, cell=ids[name]) for name in NAMES for prompt in ("greeting", "markup")]
    monkeypatch.chdir(tmp_path)
    folder = save(Path("results/reference"), manifest(cells), texts, values)
    render(folder)
    return folder


def test_the_readme_reads_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(import pandas as pd\n.*?)```", readme, re.DOTALL)
    found: dict[str, pd.DataFrame] = {}
    exec(snippet, found)
    assert tuple(found["compared"].index) == NAMES
    assert tuple(found["compared"]["strategy"]) == NAMES
    assert found["compared"]["diversity"].tolist() == [at + 0.5 for at in range(len(NAMES))]
    assert found["compared"]["cell"].tolist() == found["texts"].drop_duplicates("cell")["cell"].tolist()
    assert capsys.readouterr().out.count("plain") >= 2


def test_the_notebook_reads_them(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECODEBENCH_RUN", str(run.resolve()))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    path = ROOT / "notebooks" / "explore_run.ipynb"
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells.append(nbformat.v4.new_code_cell("print('read:', [*comparison.index], [*texts.columns])"))  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(path.parent)}}).execute()
    said = [output["text"] for each in notebook.cells for output in each.get("outputs", []) if "text" in output]
    assert said[-1] == f"read: {[*NAMES]} {[*NAMES]}\n"


def test_no_other_place_reads_one() -> None:
    """Every call of read_csv that is shown or made outside the tests says that only an empty field is missing."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    calls = {
        name: found
        for name in listed.stdout.splitlines()
        if not name.startswith("tests/")
        and (found := re.findall(READING, (ROOT / name).read_text(encoding="utf-8").replace('\\"', '"')))
    }
    assert {"README.md", "notebooks/explore_run.ipynb"} <= calls.keys()
    for name, found in calls.items():
        for call in found:
            assert 'keep_default_na=False, na_values=""' in call, name
            assert "dtype=" in call, name
