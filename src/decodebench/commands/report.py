"""`report RUN`: render a stored run again."""

from collections.abc import Sequence
from pathlib import Path

from decodebench.commands.arguments import Arguments


def report(words: Sequence[str]) -> None:
    """Render a stored run again, from its records alone."""
    parser = Arguments(
        "report",
        does="Render a stored run again: comparison.csv, report.md, report.html and plots, from its measurements.",
        takes="the path of a run folder",
        examples=["report results/NAME"],
    )
    parser.positional("RUN", "the folder of a run")
    show(Path(parser.read(words).run))


def show(run_dir: Path) -> None:
    """Render a run, print its short table and say where the page is."""
    from decodebench.report import render

    done = render(run_dir)
    print(done.table)
    print(f"\nreport: {done.html}")
