"""Rows of the table of metrics: how the texts of a prompt, and those of a set, differ from each other, and from
human references."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from decodebench.metrics import samples, sets, spread
from decodebench.metrics.corpus import Stats, Text
from decodebench.metrics.kinds import HUMAN_GROUP, AnyMetric, Metric, SetMetric
from decodebench.records import Direction


def _between(
    name: str, direction: Direction, of: Callable[..., float | None], unit: str = "1", *, drawn: bool = True
) -> Metric:
    """A metric of the units of all texts of a prompt, where it returned several."""

    def per_prompt(texts: Sequence[Text]) -> Stats | None:
        value = of([text.units for text in texts]) if len(texts) > 1 else None
        return None if value is None else (value,)

    return Metric(
        name=name,
        level="samples",
        direction=direction,
        group="between samples",
        unit=unit,
        drawn=drawn,
        per_prompt=per_prompt,
        missing="no prompt has two texts to compare",
        by_unit=True,
    )


def _vendi(texts: Sequence[Text]) -> Stats | None:
    rows = sets.embeddings(texts)
    value = spread.vendi_score(rows) if len(rows) > 1 else None
    return None if value is None else (value,)


BETWEEN: tuple[AnyMetric, ...] = (
    _between("self_bleu", "lower", samples.self_bleu),
    *(_between(f"pair_distinct_{n}", "higher", partial(samples.pair_distinct, n=n), drawn=False) for n in (2, 3, 4)),
    _between("distinct_texts", "higher", samples.distinct_texts, unit="texts"),
    Metric(
        name="vendi_samples",
        level="samples",
        direction="higher",
        group="between samples",
        unit="texts",
        per_prompt=_vendi,
        missing="no prompt has two texts with an embedding",
        needs=("reading",),
    ),
    SetMetric(
        name="compression_ratio",
        direction="lower",
        version="2",
        group="the whole set",
        prepare=sets.compression,
        missing="the texts are all empty",
    ),
    SetMetric(
        name="vendi",
        direction="higher",
        version="2",
        group="the whole set",
        unit="texts",
        prepare=sets.vendi,
        within=(1.0, math.inf),
        missing="no text has an embedding",
        needs=("reading",),
    ),
)

HUMAN: tuple[AnyMetric, ...] = (
    SetMetric(
        name="mauve",
        direction="higher",
        version="2",
        group=HUMAN_GROUP,
        prepare=sets.mauve,
        needs=("human", "reading"),
    ),
)
