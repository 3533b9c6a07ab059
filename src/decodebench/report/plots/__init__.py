"""The plots of a run: each metric by strategy, repetition against diversity, quality against latency."""

from decodebench.report.comparison import Comparison
from decodebench.report.plots.drawing import LeftOut, Plot, plot_style
from decodebench.report.plots.panels import metric_panels
from decodebench.report.plots.scatter import scatter_plot

__all__ = ["LeftOut", "Plot", "draw_all"]


def draw_all(comparison: Comparison) -> tuple[Plot | LeftOut, ...]:
    """Every plot of the report, in its order."""
    with plot_style():
        return (
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
            metric_panels(comparison),
        )
