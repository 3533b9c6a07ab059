"""The command line. In: words. Out: an exit code. What a command needs is imported when it is called.

`launch` runs Hydra over words that `overrides` made readable for it. The others are commands over stored runs, with
ordinary flags and `--help` (`arguments`): `report`, `score` (with the `tasks` of its words), `export`,
`import` (`importing`), `baseline`, `check`, `choose`, `strategies`.
"""

from collections.abc import Callable, Sequence

from decodebench.commands.baseline import baseline
from decodebench.commands.check import check
from decodebench.commands.choose import choose
from decodebench.commands.export import export
from decodebench.commands.importing import import_
from decodebench.commands.report import report
from decodebench.commands.score import score
from decodebench.commands.strategies import strategies
from decodebench.errors import ConfigError, allowed_names

COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "report": report,
    "score": score,
    "export": export,
    "import": import_,
    "baseline": baseline,
    "check": check,
    "choose": choose,
    "strategies": strategies,
}


def command(name: str) -> Callable[[Sequence[str]], int | None]:
    """The command of that name: it takes the words after its name, and gives its exit code (None: 0). Raises
    ConfigError where there is none."""
    if name not in COMMANDS:
        raise ConfigError(f"{name}: unknown command; {allowed_names(name, COMMANDS)} (see --help)")
    return COMMANDS[name]
