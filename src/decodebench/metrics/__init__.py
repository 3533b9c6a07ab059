"""Metrics: pure functions of stored records, no torch, no model (docs/metrics.md). In: texts, readings and timings of a
cell. Out: `Measurement`s.

`table` lists them all (in parts: `rows_repetition`, `rows_between`, `rows_tokens`, `rows_task`); `kinds` is what a row
is, `options` what a run asks for, `names` what the name of a metric says. `quality` walks the table over a `corpus`,
the texts of a cell counted in units (`texts`), and leaves what is `scored`; `curves` goes by position, `task_curves` by
the number of samples, `timings` over latency. The definitions: `repetition`, `samples`, `spread`, `surprisal`,
`drafts`, `rules`, `humans`, `tries` (what several samples are worth), and `sets` of whole sets.
`adapters` is not imported here: it needs the slow `evaluate`.
"""

from decodebench.metrics.corpus import Corpus, Rules, corpus
from decodebench.metrics.curves import measure_curves
from decodebench.metrics.kinds import HUMAN_GROUP, LEADING_GROUP, WITHOUT, AnyMetric, Metric, SetMetric
from decodebench.metrics.names import MetricName, read_name
from decodebench.metrics.options import COMPATS, MetricsConfig
from decodebench.metrics.quality import check_one_cell, measure, score
from decodebench.metrics.rows_task import TASK_METRICS, Judging, row_name
from decodebench.metrics.rules import broken_rules
from decodebench.metrics.scored import Scored
from decodebench.metrics.sets import MAUVE_LEAST
from decodebench.metrics.table import METRICS, check_rank_by, chosen
from decodebench.metrics.task_curves import measure_task_curves
from decodebench.metrics.texts import UNITS, Unit, countable, cut, unit_of
from decodebench.metrics.timings import TIMING_METRICS, TimingMetric, measure_timings, score_timings

__all__ = [
    "COMPATS",
    "HUMAN_GROUP",
    "LEADING_GROUP",
    "MAUVE_LEAST",
    "METRICS",
    "TASK_METRICS",
    "TIMING_METRICS",
    "UNITS",
    "WITHOUT",
    "AnyMetric",
    "Corpus",
    "Judging",
    "Metric",
    "MetricName",
    "MetricsConfig",
    "Rules",
    "Scored",
    "SetMetric",
    "TimingMetric",
    "Unit",
    "broken_rules",
    "check_one_cell",
    "check_rank_by",
    "chosen",
    "corpus",
    "countable",
    "cut",
    "measure",
    "measure_curves",
    "measure_task_curves",
    "measure_timings",
    "read_name",
    "row_name",
    "score",
    "score_timings",
    "unit_of",
]
