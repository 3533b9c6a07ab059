"""What the tables of a report say: labels, the order of metrics, the terminal, and the notes below a table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from decodebench import stats
from decodebench.metrics.kinds import HUMAN_GROUP, LEADING_GROUP
from decodebench.report import terminal_table
from decodebench.report.comparison import Metric, compare
from decodebench.report.folder import load
from decodebench.report.formats import clip, number, shorten
from decodebench.report.notes import CONFIDENCE_PERCENT, certainty, footnotes
from decodebench.store import labels
from sample_run import NO_TTFT, TOO_FEW, cell, generation, golden, manifest, measurement, pages, save


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden(tmp_path_factory.mktemp("report") / "run")


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


# --- the terminal and the notes ---


def test_terminal_table_of_the_golden_run(run: Path) -> None:
    lines = terminal_table(run).splitlines()
    assert lines[0].split() == ["strategy", "diversity↑", "rep_4↓", "e2e_s↓", "ttft_s↓", "distinct_2_characters↑"]
    assert lines[2].split() == ["greedy", "0.250", "0.750", "1.50", "0.040", "0.300"]
    assert lines[3].split() == ["beam", "0.500", "0.400", "4.00", "–¹", "0.600"]
    assert lines[4] == "broken    failed: ModelError: logits are NaN <at> step 3"
    assert lines[5] == f"¹ {NO_TTFT} (ttft_s of beam)"
    assert lines[6:] == ["the intervals: in comparison.csv and in the report"]


def test_terminal_table_fits_and_says_what_it_dropped(tmp_path: Path) -> None:
    name = "아주 긴 한글 이름을 가진 전략 " * 4 + "top_p=0.9"
    names = ["diversity", "rep_4", "distinct_2", "loop_share", "perplexity", "tok_per_s", "ttft_s", "length", "e2e_s"]
    measured = [measurement(name, metric, 0.5) for metric in names]
    failed = [{"cell": "id-x", "error": "ConfigError: " + "너무 길다 " * 40}]
    run = save(tmp_path, manifest([cell(name), cell("x")], failed), [generation(name, "p")], measured)
    lines = terminal_table(run).splitlines()
    assert max(wcswidth(line) for line in lines) <= 110
    label, values = lines[2].split("  ", 1)
    assert "…" in label
    assert label.endswith("top_p=0.9"), "the end of a label often tells cells apart"
    # Beside the widest label there is room for quality and latency: all but length and distinct_2.
    assert lines[0].split()[-3:] == ["e2e_s↑", "tok_per_s↑", "ttft_s↑"]
    assert len(values.split()) == 7
    assert lines[-1].startswith("2 more metrics and the intervals: in comparison.csv")
    # Hangul is two columns wide: the values end where their headers end.
    assert wcswidth(lines[2]) == wcswidth(lines[0])


def test_a_metric_measured_for_some_cells_only_says_so(tmp_path: Path) -> None:
    cells = manifest([cell("a"), cell("b")])
    texts = [generation("a", "p"), generation("b", "p")]
    run = save(tmp_path, cells, texts, [measurement("a", "diversity", 0.5)])
    assert "¹ not measured (diversity of b)" in terminal_table(run)


def test_notes_name_each_reason_once(run: Path) -> None:
    comparison = compare(load(run))
    notes = footnotes(comparison, comparison.metrics)
    assert [(note.mark, note.where, note.reason) for note in notes.notes] == [(1, "ttft_s of beam", NO_TTFT)]
    assert notes.marks == {("id-beam", "ttft_s"): 1}
    overlap = "Intervals are 95%, over prompts; where two overlap, the difference may be chance."
    lacking = "No interval for ttft_s, e2e_s: one prompt only, an interval needs two."
    assert certainty(comparison, comparison.metrics) == (overlap, lacking)


def without_intervals(folder: Path) -> Path:
    """Three metrics of two cells, none with an interval, for three reasons."""
    none = {"ci_low": None, "ci_high": None, "unit": "1"}
    measured = [
        measurement(name, metric, 0.5, reason=TOO_FEW, **none) for name in "ab" for metric in ("diversity", "rep_4")
    ]
    measured.append(measurement("a", "ttft_s", 0.2, reason="1 prompt: an interval needs at least 10", **none))
    measured.append(measurement("b", "ttft_s", None, reason=NO_TTFT, **none))
    measured.append(measurement("a", "perplexity", 2.0, reason=TOO_FEW, **none))
    measured.append(measurement("b", "perplexity", 3.0, reason="the BCa bootstrap is undefined", **none))
    return save(folder, manifest([cell("a"), cell("b")]), [generation("a", "p"), generation("b", "p")], measured)


def test_a_run_without_intervals_says_so_once_with_the_exceptions(tmp_path: Path) -> None:
    run = without_intervals(tmp_path)
    comparison = compare(load(run))
    sure = "No intervals: 2 prompts, an interval needs at least 10. Differences may be chance."
    assert certainty(comparison, comparison.metrics) == (
        sure,
        "ttft_s: 1 prompt, an interval needs at least 10.",
        "perplexity of b: the BCa bootstrap is undefined.",
    )
    assert sure in terminal_table(run).splitlines()
    assert all(sure in page for page in pages(run))


def test_nothing_measured_is_not_called_uncertain(tmp_path: Path) -> None:
    run = save(tmp_path, manifest([cell("a")]), [generation("a", "p")], [measurement("a", "rep_4", None, reason="x")])
    comparison = compare(load(run))
    assert certainty(comparison, comparison.metrics) == ()


def test_the_stated_confidence_is_that_of_the_intervals() -> None:
    assert pytest.approx(CONFIDENCE_PERCENT) == 100 * stats.CONFIDENCE


# --- metrics ---


def test_metrics_are_shown_in_groups_and_unknown_ones_last(tmp_path: Path) -> None:
    names = [
        "word_count",
        "rep_4_first32_words",
        "length_w1",
        "ttft_s",
        "length_words",
        "perplexity",
        "rep_2",
        "diversity",
    ]
    run = save(tmp_path, manifest([cell("a")]), [generation("a", "p")], [measurement("a", n, 0.5) for n in names])
    metrics = compare(load(run)).metrics
    assert [metric.name for metric in metrics] == [*reversed(names[2:]), *reversed(names[:2])]
    groups = ["repetition", "repetition", "likelihood", "length", "cost", HUMAN_GROUP, LEADING_GROUP, "other"]
    assert [metric.group for metric in metrics] == groups
    assert [metric.is_drawn for metric in metrics] == [True] * 5 + [False, False, True]


@pytest.mark.parametrize(
    ("name", "unit", "shown"),
    [
        ("distinct_1", "1", ""),
        ("ttft_s", "s", ""),
        ("tok_per_s", "tok/s", ""),
        ("peak_bytes", "bytes", ""),
        ("delivered_tokens", "tokens", ""),
        ("length", "tokens", "tokens"),
        ("length_words", "words", "words"),
    ],
)
def test_a_unit_is_shown_where_the_name_does_not_say_it(name: str, unit: str, shown: str) -> None:
    assert Metric(name=name, unit=unit, direction="none").unit_shown == shown


def test_the_best_value_has_a_better_side_and_an_interval_apart(tmp_path: Path) -> None:
    # every interval is the value +- 0.1: 0.2 and 0.5 lie apart, 0.2 and 0.4 touch, 0.5 and 0.5 are the same
    values = {"diversity": ("higher", 0.2, 0.5), "rep_4": ("lower", 0.2, 0.5), "perplexity": ("none", 2.0, 3.0)}
    values["distinct_2"] = ("higher", 0.5, 0.5)
    values["distinct_3"] = ("higher", 0.2, 0.4)
    measured = [
        measurement(name, metric, value, direction=direction)
        for metric, (direction, *pair) in values.items()
        for name, value in zip("ab", pair, strict=True)
    ]
    run = save(tmp_path, manifest([cell("a"), cell("b")]), [generation("a", "p"), generation("b", "p")], measured)
    comparison = compare(load(run))
    best = {metric.name: comparison.best(metric) for metric in comparison.metrics}
    assert best == {"diversity": 0.5, "rep_4": 0.2, "perplexity": None, "distinct_2": None, "distinct_3": None}
    page, _ = pages(run)
    assert "**0.500** [0.400, 0.600]" in page
    assert page.count("**0.200** [0.100, 0.300]") == 2, "in the short table and in the long one"


# --- values ---


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


@given(st.text(alphabet="ab한글🧿\u0301", max_size=30), st.integers(3, 20))
def test_cut_texts_fit(text: str, width: int) -> None:
    for cut in (clip(text, width), shorten(text, width)):
        assert wcswidth(cut) <= width
        assert cut == text or "…" in cut


def test_shorten_keeps_both_ends() -> None:
    assert shorten("contrastive top_k=4", 11) == "contr…p_k=4"
    assert shorten("가나다라마바사", 9) == "가나…바사"
