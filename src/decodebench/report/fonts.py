"""Noto Sans KR (SIL Open Font License 1.1), so that Hangul is Hangul in the plots and on the page."""

import base64
import unicodedata
from collections.abc import Iterable
from functools import cache
from io import BytesIO

from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.font_manager import FontProperties, fontManager, get_font
from pylopdf_fonts_ko import sans_path

SECOND_FONT = "DejaVu Sans"
"""Comes with matplotlib; it has the scripts that Noto Sans KR lacks."""
NO_GLYPH = "□"
_LICENCE = (
    "<!-- The embedded font is a subset of Noto Sans KR, © 2014-2021 Adobe (http://www.adobe.com/), licensed under the "
    "SIL Open Font License, Version 1.1 (http://scripts.sil.org/OFL). -->"
)


@cache
def plot_fonts() -> tuple[str, str]:
    """The families for plots, best first; the packaged one is made known to matplotlib, once."""
    path = str(sans_path())
    fontManager.addfont(path)
    return str(FontProperties(fname=path).get_name()), SECOND_FONT


@cache
def _plot_letters() -> frozenset[int]:
    paths = (fontManager.findfont(family) for family in plot_fonts())
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def drawable(text: str) -> str:
    """The text with □ for each letter that no font of the plots has; joiners and the like, unseen, are left out."""
    return "".join(_drawable(letter) for letter in text)


def _drawable(letter: str) -> str:
    if ord(letter) in _plot_letters():
        return letter
    return "" if unicodedata.category(letter) in ("Cf", "Mn") else NO_GLYPH


def font_face(page: str) -> str:
    """A style element with the family `embedded`: the letters of the page that a plain Latin font lacks, if any."""
    letters = {ord(letter) for letter in set(page) if _is_east_asian(letter)}
    if not letters:
        return ""
    data = base64.b64encode(_subset(letters)).decode("ascii")
    source = f"url(data:font/woff;base64,{data}) format('woff')"
    return f"{_LICENCE}\n<style>@font-face {{ font-family: embedded; src: {source}; }}</style>\n"


def _is_east_asian(letter: str) -> bool:
    """Hangul jamo, or any of the blocks from CJK radicals on; all before them is Latin's neighbours and symbols."""
    return 0x1100 <= ord(letter) <= 0x11FF or ord(letter) >= 0x2E80


def _subset(letters: Iterable[int]) -> bytes:
    """These letters of the font as WOFF, without hints (screens do not need them); the same bytes each time."""
    options = subset.Options(hinting=False, layout_features=["ccmp", "ljmo", "vjmo", "tjmo"])
    options.name_IDs = [0, 1, 2, 13, 14]  # copyright, family, style, licence and its address: the licence asks for them
    options.drop_tables += ["BASE", "VORG", "vhea", "vmtx"]
    with TTFont(sans_path(), recalcTimestamp=False, lazy=True) as font, BytesIO() as woff:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=letters)
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(woff)
        return woff.getvalue()
