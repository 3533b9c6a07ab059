"""The plots of a run: what more settings would find, a task against the number of samples, repetition against
diversity, quality against latency, curves, each metric by strategy."""

from collections.abc import Sequence

from decodebench.records import CurvePoint
from decodebench.report.comparison import Comparison
from decodebench.report.plots.best_of import best_of_plot
from decodebench.report.plots.curves import curve_plot
from decodebench.report.plots.drawing import LeftOut, Plot, plot_style
from decodebench.report.plots.over_k import over_k_plot
from decodebench.report.plots.panels import metric_panels
from decodebench.report.plots.scatter import scatter_plot
from decodebench.store import StoredChoice

__all__ = ["LeftOut", "Plot", "draw_all"]


def draw_all(
    comparison: Comparison, curves: Sequence[CurvePoint] = (), choice: StoredChoice | None = None
) -> tuple[Plot | LeftOut, ...]:
    """Every plot of the report, in its order; those of a choice and of a task where there is one."""
    judged = any(metric.group == "task" for metric in comparison.metrics)
    with plot_style():
        return (
            *([best_of_plot(choice)] if choice else []),
            *([over_k_plot(comparison, curves)] if judged else []),
            scatter_plot(
                comparison,
                name="repetition_diversity",
                title="Repetition against diversity",
                across=("rep_4", "rep_3", "rep_2"),
                up=("distinct_2", "distinct_3", "diversity"),
            ),
            scatter_plot(
                comparison,
                name="quality_latency",
                title="Quality against latency",
                across=("e2e_s", "tok_per_s"),
                up=("diversity", "distinct_2"),
            ),
            curve_plot(
                comparison,
                curves,
                name="surprisal",
                curve="surprisal",
                title="Surprisal against position",
                says="surprisal (nats per token)",
            ),
            curve_plot(
                comparison,
                curves,
                name="repetition_position",
                curve="rep_4",
                title="Repetition against position",
                says="share of 4-grams that the text had before",
            ),
            metric_panels(comparison),
        )
