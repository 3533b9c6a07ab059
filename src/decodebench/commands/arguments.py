"""The arguments of a command: `--help` from argparse, and one line of ours where an argument is wrong."""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from decodebench.errors import ConfigError, allowed_names

_NEGATIVE = re.compile(r"-\.?\d")
"""argparse takes these for values."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Texts as they are written, and room for our flags beside their meaning."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


class Arguments(argparse.ArgumentParser):
    """The parser of one command. `takes` says what it must be given, and `examples` show it, the plainest first."""

    def __init__(self, name: str, *, does: str, takes: str, examples: Sequence[str], usage: str | None = None) -> None:
        super().__init__(
            prog=f"python -m decodebench {name}",
            usage=None if usage is None else f"python -m decodebench {name} {usage}",
            description=does,
            epilog="\n  ".join(("examples:", *(f"python -m decodebench {example}" for example in examples))),
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.name = name
        self._takes = f"{name}: takes {takes}, as in: {examples[0]}"
        self._flags = {"-h": "help", "--help": "help"}
        self._groups: dict[str, argparse._ArgumentGroup] = {}

    def positional(self, metavar: str, help: str, *, optional: bool = False) -> None:
        """A word without a flag, kept under its name in small letters; an optional one that is not there is None."""
        self.add_argument(metavar.lower(), metavar=metavar, nargs="?" if optional else None, help=help)

    def overrides(self, metavar: str, help: str) -> None:
        """Any number of words like key=value, kept as the list `overrides`."""
        self.add_argument("overrides", metavar=metavar, nargs="*", help=help)

    def flag(self, *names: str, metavar: str | tuple[str, ...], help: str, group: str | None = None) -> None:
        """A flag with one value, which stays a string, or with as many as there are names of them, which become a list;
        None where it is not given. A group has its own heading."""
        if group is not None and group not in self._groups:
            self._groups[group] = self.add_argument_group(group)
        values = None if isinstance(metavar, str) else len(metavar)
        action = (self._groups[group] if group else self).add_argument(*names, metavar=metavar, help=help, nargs=values)
        self._flags |= dict.fromkeys(names, action.dest)

    def switch(self, name: str, help: str, *, dest: str) -> None:
        """A flag without a value: kept under `dest`, true where it is given, else false."""
        self._flags[name] = self.add_argument(name, dest=dest, action="store_true", help=help).dest

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """What the words say. Raises ConfigError, one line; leaves with exit code 0 after `--help`."""
        self._check_flags(words)
        known, rest = self.parse_known_args(list(words))
        if rest:
            raise ConfigError(self._takes)
        return known

    def error(self, message: str) -> NoReturn:
        """What argparse finds wrong: a flag without its value, or a word that is missing."""
        if found := re.match(r"argument (-\S+): expected (one|\d+) arguments?", message):
            flag, count = found[1].split("/")[0], found[2]
            values = "one value" if count == "one" else f"{count} values"
            raise ConfigError(f"{self.name} {flag}: must have {values} after it (see {self.name} --help)")
        if found := re.match(r"argument (-\S+): ignored explicit argument", message):
            raise ConfigError(f"{self.name} {found[1]}: takes no value (see {self.name} --help)")
        raise ConfigError(self._takes)

    def _check_flags(self, words: Sequence[str]) -> None:
        """argparse would tell of an unknown flag last, without its neighbours, and let the second of two values win."""
        seen: set[str] = set()
        for word in words:
            if word == "--":
                break
            if not word.startswith("-") or word == "-" or _NEGATIVE.match(word):
                continue
            flag = word.split("=")[0] if word.startswith("--") else word[:2]
            if flag not in self._flags:
                raise ConfigError(f"{self.name} {word}: unknown flag; {allowed_names(word, self._flags)}")
            if self._flags[flag] in seen:
                raise ConfigError(f"{self.name} {flag}: is given twice; allowed is once")
            seen.add(self._flags[flag])
