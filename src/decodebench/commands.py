"""Commands: over stored runs (RUN is always a path), and the list of strategies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from decodebench.errors import ConfigError, allowed_names

if TYPE_CHECKING:
    from decodebench.catalogue import Entry


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


def export(arguments: Sequence[str]) -> None:
    """Write the generation_config.json of a cell, or print the lines that call it through `custom_generate`."""
    from decodebench.exporting import export_cell

    words, folder = list(arguments), None
    if "-o" in words and words.index("-o") + 1 < len(words):
        at = words.index("-o")
        folder = Path(words[at + 1])
        del words[at : at + 2]
    if len(words) != 2 or "-o" in words:
        raise ConfigError("export: takes a run folder and a cell, as in: export results/NAME CELL [-o FOLDER]")
    done = export_cell(Path(words[0]), words[1], folder)
    if done.file is not None:
        print(f"# wrote {done.file}")
    print(f"# {done.note}")
    print("\n".join(done.lines))


def strategies(arguments: Sequence[str]) -> None:
    """List the strategies, or show the one that is named."""
    from decodebench.catalogue import catalogue, entry, in_words

    if len(arguments) > 1:
        raise ConfigError("strategies: takes one name or none, as in: strategies top_p")
    if arguments:
        print(_shown(entry(arguments[0])))
        return
    from tabulate import tabulate

    rows = []
    for one in catalogue().values():
        set_ = {key: value for key, value in one.numbers.items() if value is not None}
        numbers = ", ".join(f"{key} {in_words(value)}" for key, value in set_.items())
        rows.append((one.name, numbers or "-", "; ".join(one.sources) or "-"))
    widths = [22, 56, 32]
    print(tabulate(rows, ("strategy", "numbers", "source"), disable_numparse=True, maxcolwidths=widths))
    print("\nstrategies NAME shows one, with the numbers that are null here and those that go with every strategy")


def _shown(one: "Entry") -> str:
    """A strategy in full: its class's words, its numbers, and what it is in transformers."""
    from decodebench.catalogue import in_words
    from decodebench.deploy import exports

    kind = type(one.strategy)
    fields = ", ".join(f"{key}={value}" for key, value in one.strategy.generation_config().items())
    if not exports(one.strategy):
        fields = f"transformers lacks it; export prints its custom_generate (of its config these hold: {fields})"
    return "\n".join(
        (
            f"strategy={one.name}  {kind.__module__}.{kind.__qualname__}",
            "",
            one.text,
            "",
            *(f"  strategy.{key}={in_words(value)}" for key, value in one.numbers.items()),
            "  and, as every strategy:",
            *(f"  strategy.{key}={in_words(value)}" for key, value in one.rules.items()),
            "",
            f"generate: {fields}",
        )
    )


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "report": report,
    "score": score,
    "export": export,
    "strategies": strategies,
}


def command(name: str) -> Callable[[Sequence[str]], None]:
    """The command of that name. Raises ConfigError where there is none."""
    if name not in COMMANDS:
        raise ConfigError(f"{name}: unknown command; {allowed_names(name, COMMANDS)} (see --help)")
    return COMMANDS[name]


def _run_dir(command: str, arguments: Sequence[str], most: int) -> Path:
    if not 1 <= len(arguments) <= most:
        raise ConfigError(f"{command}: takes the path of a run folder, as in: {command} results/NAME")
    return Path(arguments[0])
