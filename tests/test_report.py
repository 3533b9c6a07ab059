"""The report of a small run made by hand: what it shows, how it escapes, and that it never half-writes."""

import csv
import html
import json
import re
import warnings
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from decodebench.errors import StoreError
from decodebench.records import SCHEMA_VERSION, Generation, Measurement, Timing
from decodebench.report import labels, render, terminal_table
from decodebench.report.comparison import compare
from decodebench.report.figures import LeftOut, Plot
from decodebench.report.folder import load
from decodebench.report.formats import language, markdown_fence, markdown_inline, number, visible
from decodebench.report.notes import footnotes, no_interval
from decodebench.report.plots import draw_all
from decodebench.report.scatter import spread
from sample_run import NO_INTERVAL, NO_TTFT, cell, generation, golden, manifest, measurement, save

PLOTS = {f"{name}.{kind}" for name in ("metrics", "repetition_diversity", "quality_latency") for kind in ("png", "svg")}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = golden(tmp_path_factory.mktemp("report") / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(run)
    return run


def test_render_writes_every_file_and_nothing_else(rendered: Path) -> None:
    made = {"comparison.csv", "report.md", "report.html", "plots"}
    stored = {"manifest.json", "generations.parquet", "measurements.parquet", "latency.parquet"}
    assert {path.name for path in rendered.iterdir()} == made | stored
    assert {path.name for path in (rendered / "plots").iterdir()} == PLOTS


def test_rendering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    run = golden(tmp_path / "run")
    files = [run / "report.html", run / "report.md", run / "comparison.csv", *(run / "plots" / n for n in PLOTS)]
    first = render(run)
    before = [file.read_bytes() for file in files]
    assert render(run) == first
    assert [file.read_bytes() for file in files] == before


def test_a_folder_named_like_a_partition_changes_no_column(tmp_path: Path) -> None:
    run = load(golden(tmp_path / "strategy=beam"))
    assert [each.strategy for each in run.measurements[:2]] == ["greedy", "beam"]


# --- comparison.csv ---


def test_comparison_csv_has_one_row_per_cell_and_three_columns_per_metric(rendered: Path) -> None:
    rows = list(csv.DictReader((rendered / "comparison.csv").open(encoding="utf-8", newline="")))
    metrics = ["diversity", "rep_4", "distinct_2_characters", "ttft_s", "e2e_s"]
    wanted = ["cell", "label", "model", "prompts", "strategy", "seed", "status", "error"]
    assert list(rows[0]) == wanted + [m + end for m in metrics for end in ("", "_ci_low", "_ci_high")]
    assert [row["label"] for row in rows] == ["greedy", "beam", "broken"]
    assert [row["status"] for row in rows] == ["ok", "ok", "failed"]
    greedy, beam, broken = rows
    assert (greedy["diversity"], greedy["diversity_ci_low"], greedy["diversity_ci_high"]) == ("0.25", "0.15", "0.35")
    assert (beam["ttft_s"], beam["ttft_s_ci_low"]) == ("", "")
    assert broken["error"] == "ModelError: logits are NaN <at> step 3"
    assert broken["diversity"] == ""


# --- labels ---


def test_labels_name_only_what_differs() -> None:
    one = manifest([cell("greedy"), cell("beam")])
    assert labels(one) == {"id-greedy": "greedy", "id-beam": "beam"}
    many = manifest([cell("greedy", id="a"), cell("greedy", id="b", model="gpt2", prompts="open_en", seed=1)])
    assert labels(many) == {"a": "greedy · gemma · seed_ko · seed=0", "b": "greedy · gpt2 · open_en · seed=1"}


@given(st.lists(st.tuples(st.sampled_from(["a", "b "]), st.sampled_from(["m", "n"]), st.integers(0, 1)), max_size=12))
def test_labels_are_unique(kinds: list[tuple[str, str, int]]) -> None:
    cells = [cell(s, id=f"id{at}", model=m, seed=seed) for at, (s, m, seed) in enumerate(kinds)]
    names = labels(manifest(cells))
    assert len(set(names.values())) == len(cells)


# --- the terminal ---


def test_terminal_table_of_the_golden_run(rendered: Path) -> None:
    lines = terminal_table(rendered).splitlines()
    assert lines[0].split() == ["strategy", "diversity↑", "rep_4↓", "distinct_2_characters↑", "ttft_s↓", "e2e_s↓"]
    assert lines[2].split() == ["greedy", "0.250", "0.750", "0.300", "0.040", "1.50"]
    assert lines[3].split() == ["beam", "0.500", "0.400", "0.600", "–¹", "4.00"]
    assert lines[4] == "broken    failed: ModelError: logits are NaN <at> step 3"
    assert lines[5] == f"¹ {NO_TTFT} (ttft_s of beam)"


def test_terminal_table_fits_and_says_what_it_dropped(tmp_path: Path) -> None:
    name = "아주 긴 한글 이름을 가진 전략 " * 4
    names = ["diversity", "rep_4", "distinct_2", "loop_share", "perplexity", "tok_per_s", "ttft_s", "length", "e2e_s"]
    measured = [measurement(name, metric, 0.5) for metric in names]
    failed = [{"cell": "id-x", "error": "ConfigError: " + "너무 길다 " * 40}]
    run = save(tmp_path, manifest([cell(name), cell("x")], failed), [generation(name, "p")], measured)
    lines = terminal_table(run).splitlines()
    assert max(wcswidth(line) for line in lines) <= 110
    assert "…" in lines[2]
    shown = len(lines[0].split()) - 1
    assert lines[-1].startswith(f"{len(names) - shown} more metrics in comparison.csv")
    # Hangul is two columns wide: the values end where their headers end.
    assert wcswidth(lines[2]) == wcswidth(lines[0])


def test_a_metric_measured_for_some_cells_only_says_so(tmp_path: Path) -> None:
    cells = manifest([cell("a"), cell("b")])
    texts = [generation("a", "p"), generation("b", "p")]
    run = save(tmp_path, cells, texts, [measurement("a", "diversity", 0.5)])
    assert "¹ not measured (diversity of b)" in terminal_table(run)


def test_notes_name_each_reason_once(rendered: Path) -> None:
    comparison = compare(load(rendered))
    notes = footnotes(comparison, comparison.metrics)
    assert [(note.mark, note.where, note.reason) for note in notes.notes] == [(1, "ttft_s of beam", NO_TTFT)]
    assert notes.marks == {("id-beam", "ttft_s"): 1}
    assert no_interval(comparison, comparison.metrics) == (f"no interval: {NO_INTERVAL} (ttft_s, e2e_s)",)


# --- the pages ---


def test_html_escapes_texts_and_keeps_newlines(rendered: Path) -> None:
    page = (rendered / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; 알아듣습니다.\n그리고" in page
    assert "&lt;b&gt;&#34;Fish &amp; chips&#34;&lt;/b&gt;" in page
    assert "␀␛[31m" in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert 'lang="ko"' in page


def test_html_is_one_file_that_asks_for_no_other(rendered: Path) -> None:
    page = (rendered / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r"<link|@import|url\(", page)


def test_html_shows_intervals_texts_failures_and_manifest(rendered: Path) -> None:
    page = html.unescape((rendered / "report.html").read_text(encoding="utf-8"))
    assert "[0.150, 0.350]" in page
    # The mean of -1, -2 and -3.
    assert "eos · 3 tokens · mean logprob -2.00" in page
    assert page.count('<p class="rank">rank 1</p>') == 2, "both prompts show both ranks of beam"
    assert page.count('<p class="rank">sample 0</p>') == 2
    assert "1 failed cell" in page
    assert "failed: ModelError: logits are NaN <at> step 3" in page
    # 200 tokens alone, 150 computed: 50 saved, a quarter.
    assert "50 saved by sharing (25%)" in page
    assert "licence: Gemma Terms of Use" in page
    assert '"schema_version": 1' in page
    assert NO_TTFT in page


def test_markdown_holds_what_the_html_holds(rendered: Path) -> None:
    page = (rendered / "report.md").read_text(encoding="utf-8")
    assert page.startswith("# sample run\n\n```text\npython -m decodebench -m strategy=greedy,beam,broken\n```")
    assert "| 0.250 [0.150, 0.350] |" in page
    assert "failed: ModelError: logits are NaN \\<at\\> step 3" in page
    assert f"¹ {NO_TTFT} (ttft_s of beam)" in page
    assert f"No interval: {NO_INTERVAL}" in page
    for image in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (rendered / image).is_file()
    # The text of greedy holds three backticks, so its fence has four.
    assert "````text\n네, 저는 <script>" in page
    assert page.count("그럼요 & 물론이죠 ␀␛[31m |pipe|") == 4, "two prompts, two ranks"


@given(st.text(alphabet="`a\n", max_size=30))
def test_no_line_of_a_text_closes_its_fence(text: str) -> None:
    opening, *inside, closing = markdown_fence(text).split("\n")
    assert opening == closing + "text"
    assert not any(closing in line for line in inside)


def test_prompts_of_two_wordings_are_not_mixed(tmp_path: Path) -> None:
    texts = [generation("a", "p", prompt="first"), generation("a", "p", prompt="second")]
    run = save(tmp_path, manifest([cell("a")]), texts, [measurement("a", "diversity", 0.5)])
    render(run)
    assert (run / "report.md").read_text(encoding="utf-8").count("### seed_ko · p") == 2


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", "–"),
        (0.0, "share", "0.000"),
        (0.0344, "s", "0.034"),
        (0.00042, "s", "4.2e-04"),
        (1.25, "", "1.25"),
        (12.54, "", "12.5"),
        (99.96, "", "100"),
        (1250.0, "tokens", "1,250"),
        (-2.0, "", "-2.00"),
        (1_250_000_000.0, "bytes", "1.25 GB"),
        (12.0, "bytes", "12 B"),
    ],
)
def test_numbers_have_sensible_digits(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_text_formats() -> None:
    assert visible("a\x00b\tc\nd\x7f") == "a␀b\tc\nd␡"
    assert markdown_inline("top_p *x* _y_ | <b>\nz") == "top_p \\*x\\* \\_y\\_ \\| \\<b\\> z"
    assert [language(text) for text in ("안녕", "ㅋㅋ", "hello", "")] == ["ko", "ko", "", ""]


# --- plots ---


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


def test_the_font_check_can_fail(tmp_path: Path) -> None:
    """A letter that neither font has must warn: else the test above would prove nothing."""
    name = "\U0001f9ff"
    run = save(tmp_path, manifest([cell(name)]), [generation(name, "p")], [measurement(name, "rep_4", 0.2)])
    with pytest.warns(UserWarning, match="missing from font"):
        draw_all(compare(load(run)))


def test_captions_tell_missing_intervals_and_failed_cells(rendered: Path) -> None:
    metrics, _, latency = draw_all(compare(load(rendered)))
    assert isinstance(metrics, Plot)
    assert isinstance(latency, Plot)
    assert f"No interval: {NO_INTERVAL} (ttft_s, e2e_s)." in metrics.caption
    assert "Failed, not drawn: broken." in metrics.caption
    assert latency.caption.startswith("Across: e2e_s; up: diversity.")


def test_without_latency_the_plot_is_left_out_and_the_old_one_removed(tmp_path: Path) -> None:
    run = golden(tmp_path)
    render(run)
    measured = [measurement("greedy", "diversity", 0.5), measurement("greedy", "rep_4", 0.5)]
    save(run, manifest([cell("greedy")]), [generation("greedy", "p")], measured)
    render(run)
    assert not list((run / "plots").glob("quality_latency.*"))
    reason = "Quality against latency: left out, none of e2e_s, tok_per_s was measured."
    assert reason in (run / "report.md").read_text(encoding="utf-8")
    assert reason in (run / "report.html").read_text(encoding="utf-8")


def test_latency_that_could_not_be_measured_gives_its_reason(tmp_path: Path) -> None:
    measured = [measurement("a", "diversity", 0.5), measurement("a", "e2e_s", None, reason="the clock was broken")]
    run = save(tmp_path, manifest([cell("a")]), [generation("a", "p")], measured)
    latency = draw_all(compare(load(run)))[2]
    assert isinstance(latency, LeftOut)
    assert latency.reason == "the clock was broken"


def test_spread_by_hand() -> None:
    # Without the gaps 0.5, 0.5 become 0.5, 0.4: pooled to 0.45, and 0.45, 0.55 with the gap again.
    assert spread([0.5, 0.5], gap=0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.1, 0.9], gap=0.1) == pytest.approx([0.1, 0.9])
    # At the upper edge the pair has no room to be centred: it ends at 1.
    assert spread([1.0, 1.0], gap=0.1) == pytest.approx([0.9, 1.0])
    assert spread([], gap=0.1) == []


@given(st.lists(st.floats(0, 1), max_size=16))
def test_spread_keeps_apart_and_inside(heights: list[float]) -> None:
    moved = spread(sorted(heights), gap=0.05)
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in moved)
    assert all(above - below >= 0.05 - 1e-9 for below, above in pairwise(moved))


# --- when it cannot be rendered ---


def test_a_rendering_that_fails_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = golden(tmp_path / "run")
    before = {path.name for path in run.iterdir()}

    def broken(*_: object) -> str:
        raise RuntimeError("the template is broken")

    monkeypatch.setattr("decodebench.report.writing.page", broken)
    with pytest.raises(RuntimeError):
        render(run)
    assert {path.name for path in run.iterdir()} == before


def test_a_full_disk_leaves_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = golden(tmp_path / "run")
    render(run)
    before = (run / "report.html").read_bytes()
    whole_write = Path.write_bytes

    def half_write(path: Path, content: bytes) -> int:
        if "report.html" not in path.name:
            return whole_write(path, content)
        whole_write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half_write)
    with pytest.raises(StoreError, match=r"report\.html: cannot be written \(No space left on device\)"):
        render(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.rglob(".*"))


def test_a_run_whose_every_cell_failed_is_reported(tmp_path: Path) -> None:
    failed = [{"cell": "id-a", "error": "ModelError: no weights"}, {"cell": "early", "error": ""}]
    run = save(tmp_path, manifest([cell("a")], failed), [], [])
    report = render(run)
    assert "a         failed: ModelError: no weights" in report.table
    assert "early     failed: no reason was recorded" in report.table
    assert "2 failed cells" in report.html.read_text(encoding="utf-8")
    assert not (run / "plots").exists()


def test_optional_keys_of_the_manifest_may_be_absent(tmp_path: Path) -> None:
    run = golden(tmp_path)
    whole = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    bare = {"schema_version": SCHEMA_VERSION, "cells": [*whole["cells"][:2]]}
    (run / "manifest.json").write_text(json.dumps(bare), encoding="utf-8")
    render(run)
    assert (run / "report.md").read_text(encoding="utf-8").startswith(f"# {run.name}")


def breaking(run: Path, how: str) -> Path:
    """Break a good run folder in one way."""
    store = run / "manifest.json"
    if how == "no folder":
        return run / "nowhere"
    if how == "no manifest":
        store.unlink()
    elif how == "cut manifest":
        store.write_text(store.read_text(encoding="utf-8")[:40], encoding="utf-8")
    elif how == "newer":
        store.write_text(store.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 99'))
    elif how == "cut parquet":
        table = run / "measurements.parquet"
        table.write_bytes(table.read_bytes()[:-200])
    elif how == "no generations":
        (run / "generations.parquet").unlink()
    elif how == "other columns":
        (run / "latency.parquet").replace(run / "generations.parquet")
    elif how == "stranger":
        save(run, manifest([cell("greedy")]), [generation("ghost", "p")], [])
    elif how == "twice":
        save(run, manifest([cell("greedy")]), [generation("greedy", "p")], [measurement("greedy", "rep_4", 0.1)] * 2)
    return run


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no folder", "there is no such folder"),
        ("no manifest", "manifest.json: there is no manifest"),
        ("cut manifest", "manifest.json: cannot be read as JSON"),
        ("newer", "schema_version=99; this decodebench reads 1 to 1"),
        ("cut parquet", "measurements.parquet: cannot be read as parquet"),
        ("no generations", "generations.parquet: there is no such file"),
        ("other columns", "generations.parquet: has no column seed, sample, prompt, text"),
        ("stranger", "cell 'id-ghost' is not in manifest.json"),
        ("twice", "cell 'id-greedy' has metric 'rep_4' twice"),
    ],
)
def test_a_folder_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path, how: str, message: str) -> None:
    run = breaking(golden(tmp_path / "run"), how)
    with pytest.raises(StoreError, match=re.escape(message)) as caught:
        render(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_the_documented_columns_are_those_of_the_records() -> None:
    page = (Path(__file__).parent.parent / "docs" / "run_folder.md").read_text(encoding="utf-8")
    assert f"schema version {SCHEMA_VERSION}" in page
    _, generations, measurements, latency, *_ = page.split("\n## ")
    for section, record in ((generations, Generation), (measurements, Measurement), (latency, Timing)):
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        assert sorted(documented) == sorted(each.name for each in fields(record))
