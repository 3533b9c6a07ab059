"""Commands over stored runs. RUN is always a path."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from decodebench.errors import ConfigError, allowed_names


def report(arguments: Sequence[str]) -> None:
    """Render a stored run again."""
    from decodebench.report import render

    done = render(_run_dir("report", arguments, most=1))
    print(done.table)
    print(f"\nreport: {done.html}")


def score(arguments: Sequence[str]) -> None:
    """Compute the metrics of a stored run again, over the run's own unit or the one that is named, and render it."""
    from decodebench.metrics import UNITS, Unit
    from decodebench.scoring import score_run

    run_dir = _run_dir("score", arguments, most=2)
    for unit in arguments[1:]:
        if unit not in UNITS:
            raise ConfigError(f"score {run_dir} {unit}: {allowed_names(unit, UNITS)}")
    score_run(run_dir, unit=cast(Unit, arguments[1]) if len(arguments) == 2 else None)
    report([str(run_dir)])


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"report": report, "score": score}


def command(name: str) -> Callable[[Sequence[str]], None]:
    """The command of that name. Raises ConfigError where there is none."""
    if name not in COMMANDS:
        raise ConfigError(f"{name}: unknown command; {allowed_names(name, COMMANDS)} (see --help)")
    return COMMANDS[name]


def _run_dir(command: str, arguments: Sequence[str], most: int) -> Path:
    if not 1 <= len(arguments) <= most:
        raise ConfigError(f"{command}: takes the path of a run folder, as in: {command} results/NAME")
    return Path(arguments[0])
