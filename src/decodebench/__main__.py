"""`python -m decodebench`: a bare first word is a command over a stored run, everything else is a Hydra launch."""

import os
import re
import sys
from collections.abc import Callable, Sequence

USAGE = """python -m decodebench [-m] [key=value ...]     run a strategy, or with -m a grid: -m strategy=beam,sample
python -m decodebench report RUN              render the report of a stored run again
python -m decodebench score RUN [UNIT]        compute the metrics of a stored run again (tokens, characters, words)
python -m decodebench --help                  every key and what it may be"""

_FLAG = re.compile(r"-|[^\s]*=|\+|~")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 (some cells failed), 3 (bad input), 130 (stopped)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to the one place that words them
    from decodebench.errors import DecodebenchError

    try:
        if arguments and not _FLAG.match(arguments[0]):
            return _command(arguments)
        return _launch(arguments)
    except DecodebenchError as error:
        if wants_traceback:
            raise
        print(f"decodebench: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("decodebench: stopped; finished texts are kept: the same command with name=RUN goes on", file=sys.stderr)
        return 130


def _command(arguments: Sequence[str]) -> int:
    from decodebench.commands import COMMANDS
    from decodebench.errors import ConfigError, allowed_names

    command: Callable[[Sequence[str]], None] | None = COMMANDS.get(arguments[0])
    if command is None:
        raise ConfigError(f"{arguments[0]}: unknown command; {allowed_names(arguments[0], COMMANDS)}\n{USAGE}")
    command(arguments[1:])
    return 0


def _launch(arguments: Sequence[str]) -> int:
    from decodebench.launch import launch

    launch(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
