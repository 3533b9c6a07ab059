"""What a later check needs of a run, in one small file that a reviewer can read: a line for each text and each row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BASELINE_VERSION = 1
"""Version of the file of a baseline (docs/baseline_file.md)."""

DIGITS = 9
"""Significant digits of the numbers of a baseline; margins have three."""


def significant(value: float, digits: int = DIGITS) -> float:
    """The number as a baseline keeps it. What is held against its rows must be rounded alike, or every row differs."""
    return float(f"{value:.{digits}g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineText:
    """One returned text. `sha256` is of the text itself; `score` is a search's own; `margins` say how far each token of
    greedy was ahead of the next best."""

    sample: int
    token_ids: tuple[int, ...]
    text: str
    sha256: str
    finish_reason: str
    score: float | None = None
    margins: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineMetric:
    """A metric of an arm: its definition's version, its value, and the numbers of each prompt (K each, seeds averaged),
    from which the value follows; `noise` is the standard deviation of the value over seeds, None where not measured."""

    version: str
    unit: str
    direction: str
    value: float | None
    reason: str | None
    rows: Mapping[str, tuple[float, ...]]
    noise: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineArm:
    """A strategy on one prompt set (and model, where the run has several), all seeds together.

    `is_search`: its texts must come again token for token: greedy, and searches that draw nothing. `texts`: by seed,
    then prompt id, then in the order of samples. `config` is the resolved configuration of its first cell.
    """

    model: str
    prompts: str
    strategy: str
    is_search: bool
    config: Mapping[str, Any]
    texts: Mapping[int, Mapping[str, tuple[BaselineText, ...]]]
    metrics: Mapping[str, BaselineMetric] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A run as a check needs it. `made` says of what: run, command, versions, models (their identities), metrics'
    configuration; `prompts`: by set and id the SHA-256 of the raw text; `clusters`: by set and id the cluster that a
    prompt names, where it does; `fed`: by model and set, then id, that of the
    token ids, as far as it is known; `arms` in the order of the run."""

    made: Mapping[str, Any]
    prompts: Mapping[str, Mapping[str, str]]
    arms: tuple[BaselineArm, ...]
    fed: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    clusters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def configs(self) -> tuple[Mapping[str, Any], ...]:
        """The resolved configuration of every cell: what `rerunning.rerun` takes."""
        return tuple({**arm.config, "seed": seed} for arm in self.arms for seed in arm.texts)
