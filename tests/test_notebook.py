"""The notebook runs from the first cell to the last on a run folder, and shows what it promises."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from decodebench.report import render
from sample_run import golden

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def test_explore_run_shows_comparison_texts_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = golden(tmp_path / "run")
    render(run)
    monkeypatch.setenv("DECODEBENCH_RUN", str(run))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook: nbformat.NotebookNode = nbformat.read(NOTEBOOKS / "explore_run.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"

    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = "\n".join(str(output.get("text", "")) + str(output.get("data", "")) for output in outputs)
    assert "made by:" in shown
    assert "diversity" in shown
    assert "broken failed: ModelError: logits are NaN <at> step 3" in shown
    assert "알아듣습니다" in shown
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    assert "missing from font" not in shown
