"""Every metric as an `evaluate.Measurement`, for those who work with the evaluate library; they work offline.

`data` is one list of token ids per text (the EOS left out), or one string per text where the unit is not tokens. What
else a metric needs comes as keywords of `compute`, one entry for each text: those that are not given stay empty, and a
value that cannot be had is None.

>>> evaluate.combine([measurement("distinct_2"), measurement("diversity")]).compute(data=[[1, 2, 1, 2, 3]])
{'distinct_2': 0.75, 'diversity': 0.75}
"""  # (evaluate makes a folder for each module, so this is no doctest)

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import datasets
import evaluate

from decodebench.errors import ConfigError, allowed_names
from decodebench.metrics.corpus import Corpus, corpus
from decodebench.metrics.quality import value_of
from decodebench.metrics.table import METRICS, distances
from decodebench.metrics.texts import Unit, unit_of
from decodebench.records import HUMAN, Generation, Reading

_NAMES = {metric.name: metric for metric in (*METRICS, *distances(METRICS))}
_READ = ("scorer_logprobs", "token_entropies", "embedding", "prompt_embedding")
_COSTS = ("computed_tokens", "target_forwards", "drafted_tokens", "accepted_tokens")
_HUMAN = ("human", "human_text", "human_logprobs", "human_embedding")
COLUMNS = ("prompt_id", "text", "finish_reason", "token_logprobs", *_COSTS, *_READ, *_HUMAN)
"""The keywords of `compute`, beside `vocabulary` (a number, for ead). Texts with the same `prompt_id` are samples of
one prompt (default: each its own); `text` is needed beside token ids by what counts characters or bytes; `human` has
the human reference of each text's prompt, in the form of `data`, and `human_...` what belongs to it."""


class TextMeasurement(evaluate.Measurement):  # type: ignore[misc]
    """One metric of METRICS (or a distance, `<metric>_w1`): `compute` gives {name: value}."""

    def __init__(self, metric: str, unit: str = "tokens", **options: Any) -> None:
        """Options are those of evaluate.Measurement; data stays in memory where nothing else is asked for."""
        if metric not in _NAMES:
            raise ConfigError(f"measurement({metric!r}): {allowed_names(metric, _NAMES)}")
        self.metric = _NAMES[metric]
        self.unit: Unit = unit_of(unit, "unit")
        options.setdefault("keep_in_memory", options.get("num_process", 1) == 1)
        super().__init__(config_name=f"{metric}_{self.unit}", **options)

    def _info(self) -> evaluate.MeasurementInfo:
        text = datasets.Sequence(datasets.Value("int32")) if self.unit == "tokens" else datasets.Value("string")
        return evaluate.MeasurementInfo(
            description=f"{self.metric.name}, version {self.metric.version} (docs/metrics.md)",
            citation="",
            inputs_description="\nArgs:\n    data: one list of token ids, or one string, per text.\n",
            features=datasets.Features({"data": text}),
        )

    def _compute(
        self, data: Sequence[Any], vocabulary: int | None = None, **columns: Sequence[Any]
    ) -> dict[str, float | None]:
        for name, column in columns.items():
            if name not in COLUMNS:
                raise ConfigError(f"compute({name}=...): {allowed_names(name, COLUMNS)}")
            if len(column) != len(data):
                raise ConfigError(f"compute({name}=...): has {len(column)} entries for {len(data)} texts")
        name = self.metric.name if self.unit == "tokens" else f"{self.metric.name}_{self.unit}"
        needed = [column for column in _needed(self.metric.name, self.unit) if column not in columns]
        if needed or not len(data):
            return {name: None}
        texts = replace(self._with_human(data, columns), vocabulary=vocabulary)
        return {name: value_of(self.metric, texts, self.unit)}

    def _with_human(self, data: Sequence[Any], columns: Mapping[str, Sequence[Any]]) -> Corpus:
        prompt_ids = [str(key) for key in columns.get("prompt_id", [f"{at:09}" for at in range(len(data))])]
        human = None
        if "human" in columns:
            first = {prompt_id: at for at, prompt_id in reversed(list(enumerate(prompt_ids)))}
            theirs = {
                _THEIRS[key]: [column[at] for at in first.values()] for key, column in columns.items() if key in _THEIRS
            }
            human = self._corpus(theirs.pop("data"), list(first), theirs, strategy=HUMAN)
        return replace(self._corpus(data, prompt_ids, columns), human=human)

    def _corpus(
        self, data: Sequence[Any], prompt_ids: Sequence[str], columns: Mapping[str, Sequence[Any]], strategy: str = ""
    ) -> Corpus:
        seen: Counter[str] = Counter()
        generations, readings = [], []
        for at, (text, prompt_id) in enumerate(zip(data, prompt_ids, strict=True)):
            given = {key: column[at] for key, column in columns.items()}
            given["text" if isinstance(text, str) else "token_ids"] = text
            generations.append(_generation(prompt_id, seen[prompt_id], given, strategy))
            if any(key in given for key in _READ):
                readings.append(_reading(prompt_id, seen[prompt_id], given))
            seen[prompt_id] += 1
        return corpus(generations, unit=self.unit, readings=readings)


_THEIRS = {"human": "data", "human_text": "text", "human_logprobs": "token_logprobs", "human_embedding": "embedding"}


def _needed(metric: str, unit: str) -> tuple[str, ...]:
    """The columns without which there is nothing to compute from."""
    needed = {
        "computed_tokens": ("computed_tokens",),
        "entropy": ("token_entropies",),
        "entropy_gap": ("token_entropies",),
        "prompt_cosine": ("prompt_embedding", "embedding"),
    }.get(metric, ())
    characters = metric in ("bits_per_character", "scorer_bits_per_character", "compression_ratio", "empty_share")
    return ("text", *needed) if characters and unit == "tokens" else needed


def measurement(metric: str, unit: str = "tokens", **options: Any) -> TextMeasurement:
    """The metric of that name as an evaluate module. Raises ConfigError for an unknown name or unit."""
    return TextMeasurement(metric, unit, **options)


def _generation(prompt_id: str, sample: int, given: Mapping[str, Any], strategy: str) -> Generation:
    ids = tuple(map(int, given.get("token_ids", ())))
    logprobs = tuple(given.get("token_logprobs", ()))
    # An EOS has a log-prob and is no content: it is the one log-prob more than there are ids.
    ended = bool(logprobs) and len(logprobs) == len(ids) + 1
    return Generation(
        cell="",
        model="",
        strategy=strategy,
        seed=0,
        prompt_id=prompt_id,
        sample=sample,
        prompt="",
        text=given.get("text", ""),
        token_ids=(*ids, -1) if ended else ids,
        token_logprobs=logprobs,
        finish_reason="eos" if ended else given.get("finish_reason") or "end",
        delivered_tokens=len(ids) + ended,
        **{name: given.get(name, 0 if name == "computed_tokens" else None) for name in _COSTS},
    )


def _reading(prompt_id: str, sample: int, given: Mapping[str, Any]) -> Reading:
    logprobs = tuple(given.get("scorer_logprobs", given.get("token_logprobs", ())))
    return Reading(
        cell="",
        prompt_id=prompt_id,
        sample=sample,
        scorer="",
        token_ids=(-1,) * len(logprobs),
        token_logprobs=logprobs,
        token_entropies=tuple(given.get("token_entropies", ())),
        embedding=tuple(given.get("embedding", ())),
        prompt_embedding=tuple(given.get("prompt_embedding", ())),
    )
