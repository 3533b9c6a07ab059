"""The plots of a run: each metric by strategy, repetition against diversity, quality against latency."""

from decodebench.report.comparison import Comparison
from decodebench.report.figures import LeftOut, Plot
from decodebench.report.panels import metric_panels
from decodebench.report.scatter import scatter
from decodebench.report.style import plot_style


def draw_all(comparison: Comparison) -> tuple[Plot | LeftOut, ...]:
    """Every plot of the report, in its order."""
    with plot_style():
        return (
            metric_panels(comparison),
            scatter(
                comparison,
                name="repetition_diversity",
                title="Repetition against diversity",
                across=("rep_4", "rep_3", "rep_2"),
                up=("distinct_2", "distinct_3", "diversity"),
            ),
            scatter(
                comparison,
                name="quality_latency",
                title="Quality against latency",
                across=("e2e_s", "tok_per_s"),
                up=("diversity", "distinct_2"),
            ),
        )
