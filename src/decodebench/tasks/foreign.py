"""Judges that are not ours: a function of a user's own, and modules of the evaluate library."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from decodebench.errors import ConfigError, allowed_names, worded
from decodebench.records import Prompt
from decodebench.tasks.config import TaskConfig

Function = Callable[[str, Sequence[str], Prompt], Any]


def own_function(config: TaskConfig) -> Function:
    """The function that `task.function=my_pkg.judge` names, from an installed package or the working directory.

    Raises ConfigError, one line, where it cannot be imported.
    """
    name = config.function
    module, _, attribute = (name or "").rpartition(".")
    if not module or not attribute:
        raise ConfigError(
            f"task.function={name or 'null'}: must be given a module and a function in it, as my_pkg.judge"
        )
    with worded(f"task.function={name}: cannot be imported"), _from_here():
        function = getattr(import_module(module), attribute)
    if not callable(function):
        raise ConfigError(f"task.function={name}: is no function, but {function!r:.80}")
    found: Function = function
    return found


@contextmanager
def _from_here() -> Iterator[None]:
    """Imports find files of the working directory, as `python -m` does, also for the command `decodebench`."""
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def number(value: Any) -> float | None:
    """What a judge gave, as a number: true is 1, false 0, None stays. Raises ConfigError for anything else."""
    if value is not None and not isinstance(value, str | bytes) and hasattr(value, "item"):
        value = value.item()  # one number of numpy or torch
    if value is None:
        return None
    if not isinstance(value, bool | int | float):
        what = "a text" if isinstance(value, str) else f"a {type(value).__name__}"
        raise ConfigError(f"gave {value!r:.80}, {what}; allowed is a number, true or false, or None")
    if not math.isfinite(value):
        raise ConfigError(f"gave {value}; allowed is a finite number, true or false, or None")
    return float(value)


class EvaluateModule:
    """A module of `evaluate`: a folder with a file of its own name, or a name of the hub.

    Raises ConfigError, one line, where it cannot be loaded, or takes what a text and its references are not.
    """

    def __init__(self, config: TaskConfig) -> None:
        if not config.id:
            raise ConfigError("task.id=null: must be given the folder of a module of evaluate, or its name on the hub")
        self._config = config
        self._module = _loaded(config.id)
        features = self._module.features
        several = isinstance(
            features, list
        )  # forms that references may have: a list of them for each text is the first
        names = dict(features[0] if several else features)
        self._text = "data" if "data" in names else "predictions"
        others = sorted({*names} - {"references"})
        if others != [self._text]:
            raise ConfigError(
                f"task.id={config.id}: takes {', '.join(names)}; allowed is a module that takes texts, as predictions "
                "or data, and at most references"
            )
        self._has_references = "references" in names
        self._takes_lists = type(names.get("references")).__name__ in ("List", "Sequence", "list")

    def of_text(self, answer: str, references: Sequence[str]) -> float:
        """Its number for one text. With several references for a module that takes one: the best of them."""
        if not self._has_references:
            return self._number(**{self._text: [answer]})
        if not references:
            raise ConfigError("there is no reference")
        if self._takes_lists:
            return self._number(**{self._text: [answer], "references": [[*references]]})
        values = [self._number(**{self._text: [answer], "references": [one]}) for one in references]
        return max(values) if self._config.higher_is_better else min(values)

    def of_set(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """Its number for all texts at once. Of several references a module that takes one is given the first."""
        if not self._has_references:
            return self._number(**{self._text: [*answers]})
        given = [[*some] if self._takes_lists else some[0] for some in references]
        return self._number(**{self._text: [*answers], "references": given})

    def _number(self, **columns: Any) -> float:
        result = self._module.compute(**columns, **(self._config.options or {}))
        value = number(_named(result, self._config, self._module.name))
        if value is None:
            raise ConfigError("gave None")
        return value


def _named(result: Mapping[str, Any], config: TaskConfig, module: str) -> Any:
    """The number of `task.result`; else the one of the module's name, or the only one."""
    name = config.result or (module if module in result else next(iter(result)) if len(result) == 1 else None)
    if name is None:
        raise ConfigError(f"gives {', '.join(result)}; task.result names one of them")
    if name not in result:
        raise ConfigError(f"has no task.result={name}; {allowed_names(name, result)}")
    return result[name]


@lru_cache(maxsize=1)
def _loaded(name: str) -> Any:
    if name.rstrip("/").rpartition("/")[2].removesuffix(".py") == "code_eval":
        raise ConfigError(f"task.id={name}: executes what a model wrote; allowed is a module that reads it")
    with worded(f"task.id={name}: cannot be loaded"):
        import evaluate  # only here: it takes seconds to import

        try:
            return evaluate.load(name, keep_in_memory=True)
        except (FileNotFoundError, ConnectionError) as error:
            file = Path(name).name.removesuffix(".py")
            raise ConfigError(
                f"task.id={name}: no folder here has a file {file}.py, and the hub has no such module or cannot be "
                "reached; allowed is the path of a folder, or a name of the hub (which is kept once it was loaded)"
            ) from error
