"""Every metric as an `evaluate.Measurement`, for those who work with the evaluate library; they work offline.

`data` is one list of token ids per text (the EOS left out), or one string per text where the unit is not tokens. What
else a metric needs comes as keywords of `compute`, one entry for each text: those that are not given stay empty, and a
value that cannot be had is None.

>>> evaluate.combine([measurement("distinct_2"), measurement("diversity")]).compute(data=[[1, 2, 1, 2, 3]])
{'distinct_2': 0.75, 'diversity': 0.75}
"""  # (evaluate makes a folder for each module, so this is no doctest)

from collections.abc import Mapping, Sequence
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
COLUMNS = ("prompt_id", "finish_reason", "token_logprobs", *_READ, "human", "human_logprobs", "human_embedding")
"""The keywords of `compute`. Texts with the same `prompt_id` are samples of one prompt (default: each its own);
`human` has people's text for the prompt of each text, as `data` has ours, and `human_...` what belongs to it."""


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

    def _compute(self, data: Sequence[Any], **columns: Sequence[Any]) -> dict[str, float | None]:
        for name, column in columns.items():
            if name not in COLUMNS:
                raise ConfigError(f"compute({name}=...): {allowed_names(name, COLUMNS)}")
            if len(column) != len(data):
                raise ConfigError(f"compute({name}=...): has {len(column)} entries for {len(data)} texts")
        name = self.metric.name if self.unit == "tokens" else f"{self.metric.name}_{self.unit}"
        if not len(data):
            return {name: None}
        return {name: value_of(self.metric, self._corpus(data, columns), self.unit)}

    def _corpus(self, data: Sequence[Any], columns: Mapping[str, Sequence[Any]]) -> Corpus:
        prompt_ids = list(columns.get("prompt_id", [f"{at:09}" for at in range(len(data))]))
        human = None
        if "human" in columns:
            of_prompt = {prompt: at for at, prompt in reversed(list(enumerate(prompt_ids)))}
            theirs = {
                key.removeprefix("human_"): [columns[key][at] for at in of_prompt.values()]
                for key in columns
                if key.startswith("human_")
            }
            theirs |= {"token_logprobs": theirs.pop("logprobs")} if "logprobs" in theirs else {}
            texts = [columns["human"][at] for at in of_prompt.values()]
            human = self._texts(texts, list(of_prompt), theirs, strategy=HUMAN)
        return self._texts(data, prompt_ids, columns, human=human)

    def _texts(
        self,
        data: Sequence[Any],
        prompt_ids: Sequence[str],
        columns: Mapping[str, Sequence[Any]],
        *,
        strategy: str = "",
        human: Corpus | None = None,
    ) -> Corpus:
        seen: dict[str, int] = {}
        generations, readings = [], []
        for at, (text, prompt_id) in enumerate(zip(data, map(str, prompt_ids), strict=True)):
            sample = seen[prompt_id] = seen.get(prompt_id, -1) + 1
            ids = tuple(map(int, text)) if self.unit == "tokens" else ()
            given = {key: columns[key][at] for key in columns}
            logprobs = tuple(given.get("token_logprobs", ()))
            generations.append(
                _generation(prompt_id, sample, text, ids, logprobs, given.get("finish_reason"), strategy)
            )
            if any(key in given for key in _READ):
                readings.append(_reading(prompt_id, sample, given))
        return corpus(generations, unit=self.unit, readings=readings, human=human)


def measurement(metric: str, unit: str = "tokens", **options: Any) -> TextMeasurement:
    """The metric of that name as an evaluate module. Raises ConfigError for an unknown name or unit."""
    return TextMeasurement(metric, unit, **options)


def _generation(
    prompt_id: str, sample: int, text: Any, ids: tuple[int, ...], logprobs: tuple[float, ...], end: Any, strategy: str
) -> Generation:
    return Generation(
        cell="",
        model="",
        strategy=strategy,
        seed=0,
        prompt_id=prompt_id,
        sample=sample,
        prompt="",
        text=text if isinstance(text, str) else " ".join(map(str, ids)),
        # An EOS has a log-prob and is no content: it is the one log-prob more than there are ids.
        token_ids=(*ids, -1) if len(logprobs) == len(ids) + 1 else ids,
        token_logprobs=logprobs,
        finish_reason="eos" if len(logprobs) == len(ids) + 1 else end or "end",
        delivered_tokens=len(ids),
        computed_tokens=len(ids),
    )


def _reading(prompt_id: str, sample: int, given: dict[str, Any]) -> Reading:
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
