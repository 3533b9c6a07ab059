"""Texts -> what a task says of them. What a judge raises, or gives that is no number, is that text's alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decodebench.errors import noted
from decodebench.records import Direction, Prompt
from decodebench.tasks.config import TaskConfig
from decodebench.tasks.extraction import EXTRACTORS, without_thinking
from decodebench.tasks.foreign import EvaluateModule
from decodebench.tasks.judges import OURS, Judge, judge_of, references_of
from decodebench.tasks.normalization import normalized

NO_JUDGEMENT = "the judge gave no value"


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


def direction(config: TaskConfig) -> Direction:
    """Which values of the task are better."""
    return "higher" if config.higher_is_better else "lower"


def unit(config: TaskConfig) -> str:
    """The unit of the task's values: ours are from 0 to 1, and of another judge's nothing is known."""
    return "1"


def judge(config: TaskConfig, items: Sequence[Item]) -> list[Judged]:
    """What the task says of each text, in the order of the items; nothing at all with task=none.

    A text whose judge raises, or gives no finite number, has no value: the reason names prompt and sample. Where
    nothing can be extracted, there is no answer: ours give it 0, other judges are given an empty text. Raises
    ConfigError where the judge cannot be had.
    """
    if config.name == "none":
        return []
    ask = judge_of(config)
    return [_judged(config, ask, item) for item in items]


def judge_set(config: TaskConfig, items: Sequence[Item], judged: Sequence[Judged]) -> JudgedSet | None:
    """The one value of all these texts, by a module of evaluate that has none of any text alone; None for all others.

    `judged` is what `judge` said of the same items.
    """
    if config.name != "evaluate" or not items or any(each.value is not None for each in judged):
        return None
    reasons: dict[str, str] = {}
    value = None
    with noted(reasons, "set"):
        answers = [normalized(_answer(config, item.text)[0] or "", config.normalize) for item in items]
        value = EvaluateModule(config).of_set(answers, [references_of(config, item.prompt) for item in items])
    return JudgedSet(value=value, reason=reasons.get("set"))


def _judged(config: TaskConfig, ask: Judge, item: Item) -> Judged:
    answer, thinking = _answer(config, item.text)
    if answer is None and config.name in OURS:
        return Judged(answer=None, value=0.0, reason=None, **thinking)
    value, reasons = None, dict[str, str]()
    with noted(reasons, "text"):
        compared, value = ask(answer or "", item.prompt)
        answer = None if answer is None else compared
    reason = reasons.get("text") or (NO_JUDGEMENT if value is None else None)
    if reason is not None:
        reason = f"task={config.name}: prompt {item.prompt.id!r}, sample {item.sample}: {reason}"
    return Judged(answer=answer, value=value, reason=reason, **thinking)


def _answer(config: TaskConfig, text: str) -> tuple[str | None, dict[str, Any]]:
    """What is extracted from a text, and what was seen of its thinking."""
    seen: dict[str, Any] = {}
    if config.thinking != "keep":
        spoken = without_thinking(text, opened=config.thinking == "opened")
        text = spoken.answer
        seen = {
            "thinking_unclosed": spoken.unclosed,
            "thinking_characters": spoken.thinking,
            "answer_characters": len(text),
        }
    return EXTRACTORS[config.extract](config, text), seen
