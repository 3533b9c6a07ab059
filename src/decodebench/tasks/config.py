"""What a task is: one file of conf/task, checked. What each key does: docs/tasks.md."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from dataclasses import field as with_default
from typing import Any

from decodebench.errors import ConfigError, allowed_names
from decodebench.tasks.extraction import EXTRACTORS
from decodebench.tasks.normalization import NORMALIZERS
from decodebench.tasks.units import UNITS

_COMMON = ("extract", "pattern", "after", "field", "thinking", "k")
KEYS_OF: Mapping[str, Sequence[str]] = {
    "none": (),
    "exact_match": (*_COMMON, "normalize"),
    "contains": (*_COMMON, "normalize"),
    "token_f1": (*_COMMON, "normalize", "unit"),
    "numeric": (*_COMMON, "tolerance", "relative_tolerance"),
    "multiple_choice": (*_COMMON, "normalize", "choices"),
    "chrf": (*_COMMON, "normalize"),
    "bleu": (*_COMMON, "normalize", "unit"),
    "rouge_l": (*_COMMON, "normalize", "unit"),
    "evaluate": (*_COMMON, "normalize", "id", "result", "options", "higher_is_better"),
    "python": (*_COMMON, "normalize", "function", "higher_is_better"),
}
"""The keys that have an effect with each task."""

_OF_EXTRACTOR = {"pattern": "regex", "after": "after", "field": "json_field"}
THINKING = ("keep", "strip", "opened")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """How a text is judged against its prompt's references: thinking left out, an answer extracted, both sides
    normalised, the judge `name` asked.

    Raises ConfigError for a name or value that is not allowed, and for a key that has no effect with this task.
    """

    name: str = "none"
    extract: str = "none"
    pattern: str | None = None
    after: str | None = None
    field: str | None = None
    normalize: list[str] = with_default(default_factory=list)
    unit: str | None = None
    tolerance: float = 0.0
    relative_tolerance: float = 0.0
    choices: list[str] | None = None
    id: str | None = None
    result: str | None = None
    options: dict[str, Any] | None = None
    function: str | None = None
    higher_is_better: bool = True
    thinking: str = "keep"
    k: list[int] | None = None

    def __post_init__(self) -> None:
        _one_of("task", self.name, KEYS_OF)
        self._refuse_without_effect()
        _one_of("task.extract", self.extract, EXTRACTORS)
        _one_of("task.thinking", self.thinking, THINKING)
        if self.unit is not None:
            _one_of("task.unit", self.unit, UNITS)
        _texts("normalize", self.normalize, least=0)
        for step in self.normalize:
            _one_of("task.normalize", step, NORMALIZERS)
        if self.choices is not None:
            _texts("choices", self.choices, least=2)
        for key in ("tolerance", "relative_tolerance"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ConfigError(f"task.{key}={getattr(self, key)}: allowed is a number, 0 or more")
        if self.options is not None and not isinstance(self.options, dict):
            raise ConfigError(f"task.options={self.options}: must be keywords with their values, or null")
        if self.k is not None:
            _counts(self.k)
        self._require()

    def _refuse_without_effect(self) -> None:
        for known in fields(self):
            value = getattr(self, known.name)
            default = known.default if known.default is not MISSING else []
            if known.name == "name" or value == default or known.name in KEYS_OF[self.name]:
                continue
            allowed = allowed_names(known.name, KEYS_OF[self.name])
            raise ConfigError(f"task.{known.name}={value}: has no effect with task={self.name}; {allowed}")
        for key, extractor in _OF_EXTRACTOR.items():
            if getattr(self, key) is not None and self.extract != extractor:
                raise ConfigError(
                    f"task.{key}={getattr(self, key)}: has no effect with task.extract={self.extract}; "
                    f"it belongs to task.extract={extractor}"
                )

    def _require(self) -> None:
        for key, extractor in _OF_EXTRACTOR.items():
            if self.extract == extractor and not getattr(self, key):
                raise ConfigError(
                    f"task.{key}={getattr(self, key) or 'null'}: task.extract={extractor} must be given one"
                )
        if self.pattern is not None:
            _check_pattern(self.pattern)


def _one_of(key: str, value: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key}={value}: unknown; {allowed_names(str(value), allowed)}")


def _texts(key: str, value: Any, *, least: int) -> None:
    """Raise ConfigError for what is no list of distinct texts."""
    is_list = isinstance(value, list) and all(isinstance(one, str) and one for one in value)
    if not is_list or len({*value}) < max(least, len(value)):
        raise ConfigError(
            f"task.{key}={value}: must be a list of {f'{least} or more ' if least else ''}different texts"
        )


def _counts(k: Any) -> None:
    if not isinstance(k, list) or not k or not all(type(one) is int and one > 0 for one in k) or len({*k}) < len(k):
        raise ConfigError(f"task.k={k}: must be a list of different whole numbers, 1 or more, or null (1 and all)")


def _check_pattern(pattern: str) -> None:
    allowed = "allowed is a regular expression with one group, which holds the answer"
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"task.pattern={pattern}: {error}; {allowed}") from error
    if groups != 1:
        raise ConfigError(f"task.pattern={pattern}: has {groups or 'no'} group{'s' * (groups > 1)}; {allowed}")
