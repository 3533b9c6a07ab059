"""How every plot looks: a font that has Hangul, colours that colour-blind readers tell apart, stable SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from pylopdf_fonts_ko import sans_path

# Okabe and Ito's palette (Color Universal Design, 2008), with a grey in place of the yellow, which is lost on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT, GRID = "#1f2328", "#6e7781", "#e6e8eb"


@cache
def korean_font() -> str:
    """Make the packaged Noto Sans KR known to matplotlib, once, and return its family name."""
    path = str(sans_path())
    fontManager.addfont(path)
    return str(FontProperties(fname=path).get_name())


@contextmanager
def plot_style() -> Iterator[None]:
    """The settings of matplotlib inside; those of the caller again outside."""
    settings: Any = {
        "font.family": [korean_font(), "DejaVu Sans"],
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


def looks(at: int) -> tuple[str, str]:
    """Colour and marker of the cell at this place: the colours go round first, then the marker changes."""
    return PALETTE[at % len(PALETTE)], MARKERS[at // len(PALETTE) % len(MARKERS)]


def drawn(figure: Figure) -> tuple[bytes, bytes]:
    """The figure as PNG and SVG; the same figure gives the same bytes."""
    png, svg = BytesIO(), BytesIO()
    figure.savefig(png, format="png", dpi=160)
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return png.getvalue(), svg.getvalue()
