"""A run from its plan to its report, stage by stage; each leaves what it found in the run's folder (`run.stages`).

A killed run is taken up again there: a stage begins with what `RunStore` read of the folder (`store.folder`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from decodebench.errors import DecodebenchError, NoMemoryError, one_line, ran_out_of_memory
from decodebench.models import cpu_threads
from decodebench.plan import Job, Plan
from decodebench.run.stages import (
    decode,
    finish,
    judge,
    load_model,
    read_by_another,
    read_by_itself,
    read_references,
    time_cells,
)
from decodebench.run.underway import RunUnderWay
from decodebench.scoring import score_run
from decodebench.store import locked


class RunFailedError(DecodebenchError):
    """Some cells of a finished run could not be decoded; the others are in its report."""

    exit_code = 1


def execute(plan: Plan, *, adds: bool = False, reports: bool = True, echo: Callable[[str], None] = print) -> Path:
    """Decode, time, judge, score and report a plan; returns the run folder.

    `adds` is for launchers that hand over one cell after the other: cells already stored stay beside the plan's.
    Without `reports` scoring and rendering are left to a caller that has more to add to the run.
    Raises the error itself where no cell could be started (nothing is written then), RunFailedError where some failed,
    NoMemoryError where memory ran out.
    """
    from decodebench.report import render

    with locked(plan.run_dir):
        with RunUnderWay.of(plan, adds=adds) as run:
            with cpu_threads(plan.engine.threads), _memory(plan.run_dir):
                for jobs in plan.by_model():
                    _with_one_model(run, jobs)
                read_by_another(run)
            finish(run)
            judge(run)
        if reports:
            score_run(plan.run_dir)
            report = render(plan.run_dir)
            echo(report.table)
            echo(f"\nreport: {report.html}")
    _raise_what_failed(run, plan.run_dir / "report.html")
    return plan.run_dir


@contextmanager
def _memory(run_dir: Path) -> Iterator[None]:
    """Memory that runs out is said on one line, wherever it happens."""
    try:
        yield
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise NoMemoryError(
            f"{run_dir}: out of memory ({one_line(error, 200)}); finished texts are kept, and the same command with "
            f"name={run_dir.name} goes on where there is more"
        ) from error


def _with_one_model(run: RunUnderWay, jobs: Sequence[Job]) -> None:
    """The stages of cells that share a model. It is let go of when this returns: there is room for one."""
    model = load_model(run, jobs)
    if model is not None:
        decode(run, model)
        time_cells(run, model)
        read_references(run, model)
        read_by_itself(run, model)


def _raise_what_failed(run: RunUnderWay, page: Path) -> None:
    """Raise RunFailedError where cells failed, or texts could not be read, timed or judged."""
    if run.progress.failed:
        failed, cells = run.store.manifest["failed"], run.store.manifest["cells"]
        so_far = " so far" if run.adds else ""
        raise RunFailedError(f"{len(failed)} of {len(cells)} cells{so_far} failed; the reasons are in {page}")
    for what, missing in (
        ("read again", run.progress.unread),
        ("timed", run.progress.untimed),
        ("judged", run.progress.unjudged),
    ):
        if missing:
            why = next(iter(missing.values()))
            raise RunFailedError(f"the texts are in {run.plan.run_dir}, but not all could be {what}: {why}")
