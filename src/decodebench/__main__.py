"""`python -m decodebench`: a bare first word is a command over a stored run, everything else is a Hydra launch."""

import os
import re
import sys
from collections.abc import Sequence

_FLAG_OR_OVERRIDE = re.compile(r"-|\+|~|\S*=")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 (some cells failed; a regression), 2 (cannot be compared), 3
    (bad input), 130 (stopped).

    HYDRA_FULL_ERROR=1 in the environment shows the traceback of an error instead of its one line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    from decodebench.errors import DecodebenchError, no_command, one_line

    try:
        if arguments and not _FLAG_OR_OVERRIDE.match(arguments[0]):
            from decodebench.commands import command

            return command(arguments[0])(arguments[1:]) or 0
        from decodebench.commands.launch import launch

        launch(arguments)
        return 0
    except DecodebenchError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(no_command(f"decodebench: error: {one_line(error)}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("decodebench: stopped; finished texts are kept: the same command with name=RUN goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
