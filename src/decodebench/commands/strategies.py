"""`strategies [NAME]`: every strategy, or one in full."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decodebench.commands.arguments import Arguments

if TYPE_CHECKING:
    from decodebench.plan import Entry

_WIDTHS = [25, 54, 31]


def strategies(words: Sequence[str]) -> None:
    """List the strategies, or show the one that is named."""
    parser = Arguments(
        "strategies",
        does="List every strategy with its numbers and its source, or show one in full: what it does, every number of\n"
        "it, and what it is in transformers.",
        takes="one name or none",
        examples=["strategies top_p", "strategies"],
    )
    parser.positional("NAME", "a strategy (default: the list of all)", optional=True)
    name = parser.read(words).name

    from decodebench.plan import entry

    print(_list() if name is None else _shown(entry(name)))


def _list() -> str:
    from tabulate import tabulate

    from decodebench.plan import catalogue, in_words

    rows = []
    for one in catalogue().values():
        set_ = {key: value for key, value in one.numbers.items() if value is not None}
        numbers = ", ".join(f"{key} {in_words(value)}" for key, value in set_.items())
        rows.append((one.name, numbers or "-", "; ".join(one.sources) or "-"))
    table = tabulate(rows, ("strategy", "numbers", "source"), disable_numparse=True, maxcolwidths=_WIDTHS)
    more = "strategies NAME shows one, with the numbers that are null here and those that go with every strategy"
    return f"{table}\n\n{more}"


def _shown(one: "Entry") -> str:
    """A strategy in full: its class's words, its numbers, and what it is in transformers."""
    from decodebench.deploy import exports
    from decodebench.plan import in_words

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
