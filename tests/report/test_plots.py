"""The plots: what they draw and leave out, letters without a font, and where names go."""

import html
import warnings
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from decodebench.report import render
from decodebench.report.comparison import compare
from decodebench.report.folder import load
from decodebench.report.fonts import drawable
from decodebench.report.plots import LeftOut, Plot, draw_all
from decodebench.report.plots.drawing import drawn, plot_style
from decodebench.report.plots.placing import GAP, Box, needs_leader, place
from sample_run import NO_TTFT, TOO_FEW, cell, generation, golden, manifest, measurement, save


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden(tmp_path_factory.mktemp("report") / "run")


def test_hangul_and_signs_in_labels_are_drawn(tmp_path: Path) -> None:
    names = ["탐욕 $x$ 그리고 뷁", "온도=1.0 · 표본 −1"]
    measured = [
        measurement(name, metric, value)
        for name in names
        for metric, value in (("rep_4", 0.2), ("distinct_2", 0.5), ("perplexity", 90.0 if name == names[0] else 1.5))
    ]
    run = save(tmp_path, manifest([cell(n) for n in names]), [generation(n, "p") for n in names], measured)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots = draw_all(compare(load(run)))
    assert isinstance(plots[0], Plot)
    assert plots[0].png.startswith(b"\x89PNG")
    # Text is drawn as paths, so that the page needs no font: no text elements are left.
    assert b"<text" not in plots[0].svg
    assert b"<dc:date>" not in plots[0].svg


def test_a_letter_without_a_font_warns() -> None:
    """Else the test above, and the next, would prove nothing."""
    figure = Figure()
    figure.text(0.5, 0.5, "\U0001f9ff")
    with plot_style(), pytest.warns(UserWarning, match="missing from font"):
        drawn(figure)


def test_letters_that_no_font_has_are_drawn_as_a_box(tmp_path: Path) -> None:
    # An emoji of three with joiners, a variation selector, Devanagari, a private letter, Thai, Greek, an unseen tag.
    names = ["👩\u200d👩\u200d👧 \u2764\ufe0f", "नमस्ते \ue000", "สวัสดี α\U000e0061"]
    assert drawable(names[0]) == "□\u200d□\u200d□ \u2764\ufe0f"
    assert drawable(names[2])[-1] == "α"
    measured = [measurement(name, metric, 0.5) for name in names for metric in ("rep_4", "distinct_2", "e2e_s")]
    run = save(tmp_path, manifest([cell(n) for n in names]), [generation(n, "p", text=n) for n in names], measured)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(run)
    assert html.escape(names[0]) in (run / "report.html").read_text(encoding="utf-8")


def test_captions_tell_missing_intervals_and_failed_cells(run: Path) -> None:
    repetition, latency, *_, metrics = draw_all(compare(load(run)))
    assert isinstance(repetition, Plot)
    assert isinstance(metrics, Plot)
    assert isinstance(latency, Plot)
    assert metrics.caption == "Whiskers are intervals; a hollow point has none. Failed, not drawn: broken."
    assert latency.caption.startswith("Across: e2e_s; up: diversity. Lines through a point are its intervals.")


def test_a_panel_that_tells_nothing_is_left_out_and_said(tmp_path: Path) -> None:
    none = {"ci_low": None, "ci_high": None, "reason": TOO_FEW}
    same = {"eos_share": (0.0, "1"), "length": (64.0, "tokens"), "peak_bytes": (1.976e9, "bytes")}
    measured = [measurement(n, m, value, unit=unit, **none) for n in "ab" for m, (value, unit) in same.items()]
    told = "length 64 tokens, eos_share 0, peak_bytes 1.976 GB."
    cells, texts = manifest([cell("a"), cell("b")]), [generation("a", "p"), generation("b", "p")]
    left_out = draw_all(compare(load(save(tmp_path / "none", cells, texts, measured))))[-1]
    assert isinstance(left_out, LeftOut)
    assert left_out.reason == f"The same for all, not drawn: {told}".rstrip(".")

    # The same value with an interval is drawn, and so is a value that another cell lacks.
    measured += [measurement(name, "loop_share", 0.0) for name in "ab"]
    measured += [measurement("a", "ttft_s", 0.1, **none), measurement("b", "ttft_s", None, reason=NO_TTFT)]
    some = draw_all(compare(load(save(tmp_path / "some", cells, texts, measured))))[-1]
    assert isinstance(some, Plot)
    assert some.caption.endswith(told)

    alone = draw_all(compare(load(save(tmp_path / "one", manifest([cell("a")]), texts[:1], measured[:3]))))[-1]
    assert isinstance(alone, Plot)
    assert "The same for all" not in alone.caption


def test_latency_that_could_not_be_measured_gives_its_reason(tmp_path: Path) -> None:
    measured = [measurement("a", "diversity", 0.5), measurement("a", "e2e_s", None, reason="the clock was broken")]
    run = save(tmp_path, manifest([cell("a")]), [generation("a", "p")], measured)
    latency = draw_all(compare(load(run)))[1]
    assert isinstance(latency, LeftOut)
    assert latency.reason == "the clock was broken"


FRAME = Box(0, 0, 600, 300)


def marker(point: tuple[float, float]) -> Box:
    return Box(point[0] - 4, point[1] - 4, point[0] + 4, point[1] + 4)


def overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top


def test_a_name_lies_right_beside_its_point() -> None:
    points = [(100.0, 100.0), (590.0, 200.0)]
    boxes = place(points, [(40, 10)] * 2, frame=FRAME, markers=[marker(p) for p in points])
    # Right of the first and at its height; the second has no room there, so left of it: 590 - GAP - 40 = 543.
    assert boxes == [Box(100 + GAP, 95, 140 + GAP, 105), Box(543, 195, 583, 205)]
    assert not any(needs_leader(p, box, points) for p, box in zip(points, boxes, strict=True) if box)


def test_a_name_avoids_a_line_and_keeps_from_other_points() -> None:
    line = Box(50, 100, 150, 100)
    [box] = place([(100.0, 100.0)], [(40, 10)], frame=FRAME, markers=[marker((100, 100))], lines=[line])
    assert box == Box(80, 107, 120, 117), "above the point: right of it the line is in the way"
    points = [(100.0, 100.0), (148.0, 100.0)]
    boxes = place(points, [(40, 10), (40, 10)], frame=FRAME, markers=[marker(p) for p in points])
    # Right of the first point its name would end 1 away from the second: it goes to the left, 100 - 7 - 40 = 53.
    assert boxes == [Box(53, 95, 93, 105), Box(155, 95, 195, 105)]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(10, 590), st.integers(10, 290)), max_size=16), st.booleans())
def test_names_never_overlap(places: list[tuple[int, int]], same: bool) -> None:
    points = [(float(x), float(y)) for x, y in (places[:1] * len(places) if same else places)]
    markers = [marker(point) for point in points]
    boxes = [box for box in place(points, [(90, 12)] * len(points), frame=FRAME, markers=markers) if box]
    assert len(boxes) == len(points), "there is room for all"
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
    assert not any(overlap(box, other) for box in boxes for other in markers)
    assert all(box.left >= 0 and box.bottom >= 0 and box.right <= 600 and box.top <= 300 for box in boxes)


def test_a_name_without_room_is_left_out_and_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place([(5.0, 5.0)], [(90, 12)], frame=Box(0, 0, 50, 50), markers=[]) == [None]
    assert place([], [], frame=FRAME, markers=[]) == []
    monkeypatch.setattr("decodebench.report.plots.scatter.place", lambda points, *_, **__: [None] * len(points))
    plot = draw_all(compare(load(run)))[0]
    assert isinstance(plot, Plot)
    assert "Drawn, but without room for a name: greedy, beam." in plot.caption
