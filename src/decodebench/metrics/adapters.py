"""The metrics as `evaluate.Measurement` modules, for those who work with the evaluate library; they work offline.

`data` is one list per text, each text a prompt of its own: token ids (the EOS left out), or for Perplexity the
log-probabilities in nats (the EOS that was generated included). A value that cannot be had is None.

>>> evaluate.combine([Distinct(2), Diversity()]).compute(data=[[1, 2, 1, 2, 3]])  # doctest: +SKIP
{'distinct_2': 0.75, 'diversity': 0.75}
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from decodebench.errors import ConfigError
from decodebench.metrics import likelihood, repetition
from decodebench.metrics.quality import set_value
from decodebench.stats import Finish, identity


class _TextMeasurement(evaluate.Measurement):  # type: ignore[misc]
    """What the adapters share: numbers that suffice for each text -> one value under the metric's name."""

    metric = ""
    description = ""
    element = "int32"
    finish: Finish = staticmethod(identity)

    def __init__(self, **options: Any) -> None:
        """Options are those of evaluate.Measurement; data stays in memory where nothing else is asked for."""
        options.setdefault("keep_in_memory", options.get("num_process", 1) == 1)
        super().__init__(**options)

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description=self.description,
            citation="",
            inputs_description="\nArgs:\n    data: one list of numbers per text.\n",
            features=datasets.Features({"data": datasets.Sequence(datasets.Value(self.element))}),
        )

    def per_text(self, numbers: Sequence[Any]) -> tuple[float, ...] | None:
        """The numbers that suffice for one text, None where it has no value."""
        raise NotImplementedError

    def _compute(self, data: Sequence[Sequence[Any]]) -> dict[str, float | None]:
        rows = [stats for numbers in data if (stats := self.per_text(list(numbers))) is not None]
        value, _ = set_value(np.array(rows), self.finish, "no text")
        return {self.metric: value}


class _NgramMeasurement(_TextMeasurement):
    """An adapter that has an n of its own: part of its name, so that several can be combined."""

    smallest = 1

    def __init__(self, n: int, **options: Any) -> None:
        if n not in range(self.smallest, 5):
            raise ConfigError(f"{type(self).__name__} n={n}: allowed: {self.smallest} to 4")
        self.n = n
        self.metric = f"{self.metric}_{n}"
        super().__init__(config_name=f"n{n}", **options)


class Distinct(_NgramMeasurement):
    """distinct_n, n from 1 to 4."""

    metric = "distinct"
    description = "Unique n-grams per n-gram of a text, mean over texts; higher is better."

    def per_text(self, numbers: Sequence[int]) -> tuple[float, ...] | None:
        """See repetition.distinct."""
        return repetition.distinct(numbers, self.n)


class Repetition(_NgramMeasurement):
    """rep_n, n from 2 to 4."""

    metric = "rep"
    description = "Share of n-grams that repeat one of their own text, pooled over texts; lower is better."
    smallest = 2
    finish = staticmethod(repetition.rep)

    def per_text(self, numbers: Sequence[int]) -> tuple[float, ...]:
        """See repetition.ngram_counts."""
        return repetition.ngram_counts(numbers, self.n)


class Diversity(_TextMeasurement):
    """diversity: the product of 1 - rep_n."""

    metric = "diversity"
    description = "Product of 1 - rep_n for n = 2, 3, 4, pooled over texts; higher is better."
    finish = staticmethod(repetition.diversity)

    def per_text(self, numbers: Sequence[int]) -> tuple[float, ...]:
        """See repetition.diversity_counts."""
        return repetition.diversity_counts(numbers)


class LoopShare(_TextMeasurement):
    """loop_share: texts that end in a loop."""

    metric = "loop_share"
    description = "Share of texts that end in a loop; lower is better."

    def per_text(self, numbers: Sequence[int]) -> tuple[float, ...]:
        """See repetition.loop_period."""
        return (float(repetition.loop_period(numbers) is not None),)


class Perplexity(_TextMeasurement):
    """perplexity, token-weighted."""

    metric = "perplexity"
    description = "exp(-mean log-probability), weighted by tokens; neither high nor low is good in itself."
    element = "float64"
    finish = staticmethod(likelihood.perplexity)

    def per_text(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """See likelihood.logprob_sum."""
        return likelihood.logprob_sum(numbers)
