"""Texts -> what a task says of them. What a judge raises, or gives that is no number, is that text's alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decodebench.errors import ConfigError, guarded, some
from decodebench.records import Direction, Prompt
from decodebench.tasks.config import TaskConfig
from decodebench.tasks.extraction import EXTRACTORS, without_thinking
from decodebench.tasks.normalization import normalized


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text to be judged: the `sample` of a prompt, whose references it is held against."""

    prompt: Prompt
    sample: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a task says of one text, as in `records.Judgement`.

    Lengths are in characters, the two marks of thinking left out; they and `thinking_unclosed` are None where thinking
    is kept.
    """

    answer: str | None
    value: float | None
    reason: str | None
    thinking_unclosed: bool | None = None
    thinking_characters: int | None = None
    answer_characters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSet:
    """What a judge says of a whole set of texts; `reason` says why there is no value."""

    value: float | None
    reason: str | None


def check_task(config: TaskConfig, prompts: Sequence[Prompt]) -> None:
    """Raise ConfigError where prompts cannot be judged so: without references, say. The first few are named."""
    if config.name in ("none", "python"):
        return
    without = [prompt.id for prompt in prompts if not prompt.references]
    if without:
        raise ConfigError(
            f"task={config.name}: {len(without)} of {len(prompts)} prompts have no reference ({some(without)}); "
            "allowed are prompts that all have one (prompts.reference_column)"
        )


def direction(config: TaskConfig) -> Direction:
    """Which values of the task are better."""
    return "higher" if config.higher_is_better else "lower"


def unit(config: TaskConfig) -> str:
    """The unit of the task's values: all of ours are shares, 0 to 1; of another judge's nothing is known."""
    return "1"


def judge(config: TaskConfig, items: Sequence[Item]) -> list[Judged]:
    """What the task says of each text, in the order of the items; with task=none nothing."""
    if config.name == "none":
        return []
    return [_judged(config, item) for item in items]


def judge_set(config: TaskConfig, items: Sequence[Item]) -> JudgedSet | None:
    """What the task says of all these texts at once; None where it says something of each text (`judge`)."""
    return None


def _judged(config: TaskConfig, item: Item) -> Judged:
    thinking: dict[str, Any] = {}
    text = item.text
    if config.thinking != "keep":
        spoken = without_thinking(text, opened=config.thinking == "opened")
        text = spoken.answer
        thinking = {
            "thinking_unclosed": spoken.unclosed,
            "thinking_characters": spoken.thinking,
            "answer_characters": len(text),
        }
    answer = EXTRACTORS[config.extract](config, text)
    if answer is None:
        return Judged(answer=None, value=0.0, reason=None, **thinking)
    answer = normalized(answer, config.normalize)
    value = float(answer in [normalized(one, config.normalize) for one in item.prompt.references])
    return Judged(answer=answer, value=value, reason=None, **thinking)
