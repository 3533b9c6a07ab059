"""What the name of a measured metric says: which row of the tables it is of, and where a report shows it.

A stored run tells its metrics by name only, and may have some of a version whose tables are not these.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from decodebench.metrics.kinds import GROUPS, HUMAN_GROUP, LEADING_GROUP, AnyMetric, Group, Metric
from decodebench.metrics.options import COMPATS
from decodebench.metrics.rows_task import TASK_METRICS, row_name
from decodebench.metrics.table import METRICS
from decodebench.metrics.texts import UNITS
from decodebench.metrics.timings import TIMING_METRICS, TimingMetric

_PARTS = re.compile(
    rf"(?P<row>.*?)(?P<compat>_(?:{'|'.join(COMPATS)}))?(?P<made>_first\d+|_w1)?"
    rf"(?P<unit>_(?:{'|'.join(unit for unit in UNITS if unit != 'tokens')}))?",
    re.DOTALL,
)
_ROWS: tuple[AnyMetric | TimingMetric, ...] = tuple(
    sorted((*TASK_METRICS, *METRICS, *TIMING_METRICS), key=lambda row: GROUPS.index(row.group))
)
_PLACES = {row.name: place for place, row in enumerate(_ROWS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricName:
    """A name taken apart: `rep_4_simctg_first32_words` is of the row `rep_4`, `pass_at_8` of the row `pass_at_k`.

    `row` is None where the tables have none such. `without_unit` is the name up to the unit that it was counted in;
    `plain` leaves out the script, too, that it was counted like (`rep_4_first32`). `is_distance`: from people's texts.
    `place` sorts names as a report shows them: by group, then by row. `headline` and `drawn` are the row's. But what is
    measured on leading units or as a distance is in a group of its own, and neither in the short table nor drawn; what
    is counted like a script is not drawn; what is measured of one sample is what the task is, and neither.
    """

    row: AnyMetric | TimingMetric | None
    without_unit: str
    plain: str
    is_distance: bool
    group: Group
    place: tuple[int, int]
    headline: int | None
    drawn: bool


@lru_cache(maxsize=1024)
def read_name(name: str) -> MetricName:
    """Take the name of a measured metric apart; one that no row has comes last, in the group `other`."""
    parts = _PARTS.fullmatch(name)
    assert parts is not None, "the pattern takes any text"
    made, compat, unit = parts["made"] or "", parts["compat"] or "", parts["unit"] or ""
    of_k, k = row_name(parts["row"])
    place = _PLACES.get(parts["row"], _PLACES.get(of_k, len(_ROWS)))
    row = _ROWS[place] if place < len(_ROWS) else None
    of_one = isinstance(row, Metric) and row.per_k is not None and k == 1
    group = row.group if row else "other"
    if made:
        group = HUMAN_GROUP if made == "_w1" else LEADING_GROUP
    return MetricName(
        row=row,
        without_unit=name.removesuffix(unit),
        plain=parts["row"] + made,
        is_distance=made == "_w1",
        group=group,
        place=(GROUPS.index(group), place),
        headline=row.headline if row and not (made or of_one) else None,
        drawn=not (made or compat or of_one) and (row is None or row.drawn),
    )
