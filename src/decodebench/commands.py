"""Commands over stored runs. RUN is always a path."""

from collections.abc import Callable, Sequence
from pathlib import Path

from decodebench.errors import ConfigError, allowed_names


def report(arguments: Sequence[str]) -> None:
    """Render a stored run again."""
    from decodebench.report import render

    done = render(_run_dir("report", arguments, most=1))
    print(done.table)
    print(f"\nreport: {done.html}")


def score(arguments: Sequence[str]) -> None:
    """Compute the metrics of a stored run again, in another unit if one is named, and render it."""
    from decodebench.metrics import UNITS, Unit
    from decodebench.score import score_run

    run_dir = _run_dir("score", arguments, most=2)
    unit: Unit = "tokens"
    if len(arguments) == 2:
        if arguments[1] not in UNITS:
            raise ConfigError(f"score {run_dir} {arguments[1]}: {allowed_names(arguments[1], UNITS)}")
        unit = arguments[1]  # type: ignore[assignment]
    score_run(run_dir, unit=unit)
    report([str(run_dir)])


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"report": report, "score": score}


def _run_dir(command: str, arguments: Sequence[str], most: int) -> Path:
    if not 1 <= len(arguments) <= most:
        raise ConfigError(f"{command}: takes the path of a run folder, as in: {command} results/NAME")
    return Path(arguments[0])
