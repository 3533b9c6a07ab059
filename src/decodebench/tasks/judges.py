"""The judges: each is given what was extracted from a text, and the prompt with its references."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from decodebench.errors import ConfigError, some
from decodebench.records import Prompt
from decodebench.tasks import overlap
from decodebench.tasks.choices import DEFAULT_LETTERS, chosen, listed_choices, right_letters
from decodebench.tasks.config import TaskConfig
from decodebench.tasks.foreign import EvaluateModule, number, own_function
from decodebench.tasks.matching import occurs
from decodebench.tasks.normalization import normalized
from decodebench.tasks.numbers import in_digits, is_near, number_in
from decodebench.tasks.units import TextUnit, in_units, natural_unit

Verdict = tuple[str | None, float | None]
"""The answer as it was compared (None: there is none), and how good it is."""
Judge = Callable[[str, Prompt], Verdict]


def _exact_match(config: TaskConfig, answer: str, prompt: Prompt) -> Verdict:
    answer = normalized(answer, config.normalize)
    return answer, float(answer in references_of(config, prompt))


def _contains(config: TaskConfig, answer: str, prompt: Prompt) -> Verdict:
    answer = normalized(answer, config.normalize)
    return answer, float(any(occurs(one, answer) for one in references_of(config, prompt)))


def _numeric(config: TaskConfig, answer: str, prompt: Prompt) -> Verdict:
    found = number_in(answer)
    if found is None:
        return None, 0.0
    near = (is_near(found, one, config.tolerance, config.relative_tolerance) for one in _accepted_numbers(prompt))
    return in_digits(found), float(any(near))


def _multiple_choice(config: TaskConfig, answer: str, prompt: Prompt) -> Verdict:
    letter = chosen(answer, _choices(config, prompt), partial(normalized, steps=config.normalize))
    return letter, float(letter in _right(config, prompt))


def _shared(
    score: Callable[[Sequence[str], Sequence[str]], float], config: TaskConfig, answer: str, prompt: Prompt
) -> Verdict:
    """The best score against any of the references, in the units that they are counted in."""
    answer, references = normalized(answer, config.normalize), references_of(config, prompt)
    unit = _unit(config, references)
    return answer, max(score(in_units(answer, unit), in_units(one, unit)) for one in references)


def _chrf(config: TaskConfig, answer: str, prompt: Prompt) -> Verdict:
    answer = normalized(answer, config.normalize)
    return answer, max(overlap.chrf(answer, one) for one in references_of(config, prompt))


def _bleu(config: TaskConfig, answer: str, prompt: Prompt) -> Verdict:
    answer, references = normalized(answer, config.normalize), references_of(config, prompt)
    unit = _unit(config, references)
    return answer, overlap.bleu(
        overlap.bleu_tokens(answer, unit), [overlap.bleu_tokens(one, unit) for one in references]
    )


OURS: Mapping[str, Callable[[TaskConfig, str, Prompt], Verdict]] = {
    "exact_match": _exact_match,
    "contains": _contains,
    "token_f1": partial(_shared, overlap.token_f1),
    "numeric": _numeric,
    "multiple_choice": _multiple_choice,
    "chrf": _chrf,
    "bleu": _bleu,
    "rouge_l": partial(_shared, overlap.rouge_l),
}


def references_of(config: TaskConfig, prompt: Prompt) -> list[str]:
    return [normalized(one, config.normalize) for one in prompt.references]


def _unit(config: TaskConfig, references: Sequence[str]) -> TextUnit:
    given: Any = config.unit
    return given or natural_unit(references)


def _accepted_numbers(prompt: Prompt) -> list[Fraction]:
    return [found for one in prompt.references if (found := number_in(one)) is not None]


def _choices(config: TaskConfig, prompt: Prompt) -> dict[str, str]:
    """Letter -> words of the choices of a prompt."""
    listed = listed_choices(prompt.text)
    letters = config.choices or [*listed] or DEFAULT_LETTERS
    return {letter: listed.get(letter, "") for letter in letters}


def _right(config: TaskConfig, prompt: Prompt) -> set[str]:
    return right_letters(prompt.references, _choices(config, prompt), partial(normalized, steps=config.normalize))


def _own(config: TaskConfig) -> Judge:
    function = own_function(config)

    def ask(answer: str, prompt: Prompt) -> Verdict:
        answer = normalized(answer, config.normalize)
        return answer, number(function(answer, tuple(references_of(config, prompt)), prompt))

    return ask


def _of_evaluate(config: TaskConfig) -> Judge:
    module = EvaluateModule(config)
    known: dict[tuple[str, tuple[str, ...]], float] = {}

    def ask(answer: str, prompt: Prompt) -> Verdict:
        answer, references = normalized(answer, config.normalize), tuple(references_of(config, prompt))
        if (answer, references) not in known:  # a call takes milliseconds, and texts repeat
            known[answer, references] = module.of_text(answer, references)
        return answer, known[answer, references]

    return ask


def judge_of(config: TaskConfig) -> Judge:
    """The judge of a task. Raises ConfigError where it is not ours and cannot be had."""
    if config.name == "python":
        return _own(config)
    return _of_evaluate(config) if config.name == "evaluate" else partial(OURS[config.name], config)


def check_task(config: TaskConfig, prompts: Sequence[Prompt]) -> None:
    """Raise ConfigError where a judge cannot be had, or prompts cannot be judged so: the first few are named."""
    if config.name == "none":
        return
    judge_of(config)
    if config.name != "python":
        _refuse(config, prompts, lambda prompt: bool(prompt.references), "have no reference", "one for each")
    if config.name == "numeric":
        _refuse(
            config, prompts, lambda prompt: bool(_accepted_numbers(prompt)), "have no number as reference", "a number"
        )
    if config.name == "multiple_choice":
        allowed = "the letter or the words of a choice that the prompt lists, or a letter of task.choices"
        _refuse(
            config,
            prompts,
            lambda prompt: bool(_right(config, prompt)),
            "have none of their choices as reference",
            allowed,
        )


def _refuse(
    config: TaskConfig, prompts: Sequence[Prompt], has: Callable[[Prompt], bool], what: str, allowed: str
) -> None:
    without = [prompt.id for prompt in prompts if not has(prompt)]
    if without:
        raise ConfigError(
            f"task={config.name}: {len(without)} of {len(prompts)} prompts {what} ({some(without)}); "
            f"allowed is {allowed} (prompts.reference_column)"
        )
