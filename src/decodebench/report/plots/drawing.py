"""What the plots share: what a plot is, what of a run can be drawn, and how everything looks."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.fonts import drawable, plot_fonts
from decodebench.report.formats import shorten

# Okabe and Ito's palette (Color Universal Design, 2008), with a grey in place of the yellow, which is lost on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT, GRID = "#1f2328", "#6e7781", "#e6e8eb"
NAME_WIDTH = 36
PNG_DPI, MOST_PIXELS = 160, 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawn plot; `name` is its file name without the ending."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A plot that this run has not the data for, and why."""

    name: str
    title: str
    reason: str


def measured(comparison: Comparison) -> list[tuple[int, Row]]:
    """The cells that did not fail, each with its place in the run: it decides the colour in every plot."""
    return [(at, row) for at, row in enumerate(comparison.rows) if not row.error]


def finite(row: Row, metric: Metric) -> float | None:
    """The value where it can be drawn: there is one, and it is not infinite."""
    value = row.value(metric)
    return value if value is not None and math.isfinite(value) else None


def ends_of(row: Row, metric: Metric) -> tuple[float, float] | None:
    """The ends of the interval where both can be drawn."""
    found = row.measured.get(metric.name)
    if found is None or found.ci_low is None or found.ci_high is None:
        return None
    return (found.ci_low, found.ci_high) if math.isfinite(found.ci_low + found.ci_high) else None


def failed_note(comparison: Comparison) -> list[str]:
    """The sentence of a caption that names the failed cells, or none."""
    names = [row.label for row in comparison.rows if row.error]
    return [f"Failed, not drawn: {', '.join(names)}."] if names else []


def name_of(row: Row) -> str:
    """The label of a cell as a plot can write it: not too long, and only with letters that its fonts have."""
    return shorten(drawable(row.label), NAME_WIDTH)


def looks(at: int) -> tuple[str, str]:
    """Colour and marker of the cell at this place: the colours go round first, then the marker changes."""
    return PALETTE[at % len(PALETTE)], MARKERS[at // len(PALETTE) % len(MARKERS)]


def in_gigabytes(axis: Any, metric: Metric) -> None:
    """Write the ticks of an axis of bytes in GB."""
    if metric.unit == "bytes":
        axis.set_major_formatter(lambda value, _: f"{value / 1e9:.4g}")


def unit_of_axis(metric: Metric) -> str:
    """The unit beside an axis: GB for bytes, nothing where the name says it."""
    return "GB" if metric.unit == "bytes" else metric.unit_shown


@contextmanager
def plot_style() -> Iterator[None]:
    """The settings of matplotlib inside; those of the caller again outside."""
    settings: Any = {
        "font.family": list(plot_fonts()),
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.labelcolor": FAINT,
        "axes.edgecolor": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": False,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "text.parse_math": False,
        "xtick.color": FAINT,
        "ytick.color": INK,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "svg.fonttype": "path",
        "svg.hashsalt": "decodebench",
    }
    with mpl.rc_context(settings):
        yield


def beside_a_legend(lines: int) -> Figure:
    """A figure of one panel with room for a legend of so many lines beside it."""
    return Figure(figsize=(7.6, max(4.2, 0.5 + 0.2 * lines)), layout="constrained")


def drawn(figure: Figure) -> tuple[bytes, bytes]:
    """The figure as PNG and SVG; the same figure gives the same bytes."""
    png, svg = BytesIO(), BytesIO()
    # A grid of hundreds of cells makes a plot that would be too tall for a picture at full resolution.
    dpi = min(PNG_DPI, MOST_PIXELS / float(max(figure.get_size_inches())))
    figure.savefig(png, format="png", dpi=dpi)
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return png.getvalue(), svg.getvalue()


def finished(figure: Figure, *, name: str, title: str, caption: Sequence[str]) -> Plot:
    """The figure as a plot of the report; the sentences of its caption stand in one paragraph."""
    png, svg = drawn(figure)
    return Plot(name=name, title=title, caption=" ".join(caption), png=png, svg=svg)
