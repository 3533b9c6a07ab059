"""What holds beyond the prompts at hand. In: values by prompt. Out: intervals, paired differences, ranks.

The prompt is the unit everywhere: the samples of one prompt are not independent; where prompts depend on each other,
it is a cluster of them (`clusters`). Every random stream is fixed, so the same data gives the same numbers.
docs/statistics.md says how well they hold. `intervals` of one number, `differences` of two (with Holm's correction),
`ranking` of many, `best_of` of several trials; `subsampling` for what is no mean over prompts.
"""

from decodebench.stats.best_of import BestOf, best_of, chance_of_best, expected_best
from decodebench.stats.clusters import Clusters, joined
from decodebench.stats.differences import (
    ALPHA,
    POWER,
    Comparison,
    Estimate,
    bound,
    compare,
    fewest_changes,
    holm,
    paired,
    pseudo_values,
    sign_floor,
    step_levels,
    t_p_values,
)
from decodebench.stats.intervals import (
    CONFIDENCE,
    MIN_PROMPTS,
    RESAMPLES,
    SEED,
    Array,
    Finish,
    Interval,
    clustered_share_interval,
    identity,
    mean_interval,
    no_interval,
    ratio_interval,
    ratio_intervals,
    share_interval,
    too_few,
)
from decodebench.stats.ranking import Standing, pareto_front, standings
from decodebench.stats.subsampling import SUBSETS, Subsampled, paired_subsamples, subsample, subsample_interval

__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "MIN_PROMPTS",
    "POWER",
    "RESAMPLES",
    "SEED",
    "SUBSETS",
    "Array",
    "BestOf",
    "Clusters",
    "Comparison",
    "Estimate",
    "Finish",
    "Interval",
    "Standing",
    "Subsampled",
    "best_of",
    "bound",
    "chance_of_best",
    "clustered_share_interval",
    "compare",
    "expected_best",
    "fewest_changes",
    "holm",
    "identity",
    "joined",
    "mean_interval",
    "no_interval",
    "paired",
    "paired_subsamples",
    "pareto_front",
    "pseudo_values",
    "ratio_interval",
    "ratio_intervals",
    "share_interval",
    "sign_floor",
    "standings",
    "step_levels",
    "subsample",
    "subsample_interval",
    "t_p_values",
    "too_few",
]
