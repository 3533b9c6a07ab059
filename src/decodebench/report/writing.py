"""Render a stored run: everything is made in memory first, then each file appears whole or not at all."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from decodebench.report.comparison import compare, reporting, to_frame
from decodebench.report.folder import load
from decodebench.report.markdown import markdown
from decodebench.report.page import page
from decodebench.report.plots import Plot, draw_all
from decodebench.report.terminal import terminal_text
from decodebench.store import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to show once a run is rendered: the table for the terminal, and the page to open."""

    table: str
    html: Path


def render(run_dir: Path) -> Report:
    """Write comparison.csv, report.md, report.html and plots/ into the run folder.

    Raises StoreError where the folder cannot be read or written; nothing is then half-written.
    """
    run = load(run_dir)
    comparison = compare(run)
    plots = draw_all(reporting(comparison, run.choice), run.curves, run.choice)
    table = terminal_text(run, comparison)
    pages = {
        "comparison.csv": to_frame(comparison).to_csv(index=False, lineterminator="\n").encode(),
        "report.md": markdown(run, comparison, plots).encode(),
        "report.html": page(run, comparison, plots).encode(),
    }
    drawn = [plot for plot in plots if isinstance(plot, Plot)]
    images = {f"plots/{plot.name}.png": plot.png for plot in drawn} | {f"plots/{p.name}.svg": p.svg for p in drawn}
    for name, content in (images | pages).items():
        write_whole(run_dir / name, partial(_put, content))
    for plot in plots:
        for ending in ("png", "svg"):
            # A plot of an earlier rendering that this one leaves out would contradict the page.
            if not isinstance(plot, Plot):
                (run_dir / f"plots/{plot.name}.{ending}").unlink(missing_ok=True)
    return Report(table=table, html=run_dir / "report.html")


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)
