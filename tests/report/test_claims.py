"""What a report claims: tables of differences and of ranks, metrics without a value, curves; from records by hand."""

from pathlib import Path
from typing import Any

import pytest

from decodebench.records import CurvePoint, Difference, Measurement, Rank
from decodebench.report.claims import Claim, claims
from decodebench.report.comparison import compare
from decodebench.report.folder import load
from decodebench.report.markdown import markdown
from decodebench.report.page import page
from decodebench.report.plots import LeftOut, Plot
from decodebench.report.plots.curves import _line, curve_plot
from decodebench.report.plots.drawing import plot_style
from decodebench.scoring.run import score_run
from decodebench.store.tables import read_records, write_records
from sample_run import cell, generation, manifest, measurement, pages, save, unscored

TOO_FEW = "2 prompts: an interval needs at least 10"
PAIRED = "Each strategy minus greedy, paired by prompt."
HOLM = (
    "With 95% none of the 2 verdicts on a metric is a false claim (Holm). An interval leaves out 0 where a difference "
    "is claimed."
)
POWER = "A difference above the detectable one would be found four times out of five."


def difference(strategy: str, metric: str, value: float | None, **changes: Any) -> Difference:
    values: dict[str, Any] = {
        "model": "gemma", "prompts": "seed_ko", "strategy": strategy, "against": "greedy", "metric": metric,
        "value": value, "reason": None, "unit": "1", "direction": "higher", "n": 12, "ci_low": 0.1, "ci_high": 0.3,
        "p": 0.001, "p_holm": 0.002, "comparisons": 2, "detectable": 0.15, "verdict": "better", "version": "1",
    }  # fmt: skip
    return Difference(**values | changes)


def rank(strategy: str, **changes: Any) -> Rank:
    values: dict[str, Any] = {
        "model": "gemma", "prompts": "seed_ko", "strategy": strategy, "metrics": ("diversity", "rep_4"), "front": True,
        "strength": 0.5, "strength_low": 0.25, "strength_high": 0.75, "mean_rank": 1.2, "mean_rank_low": 1.0,
        "mean_rank_high": 1.5, "tie": 1, "n": 12, "reason": None,
    }  # fmt: skip
    return Rank(**values | changes)


def point(cell: str, start: int, value: float | None, n: int, **changes: Any) -> CurvePoint:
    values: dict[str, Any] = {
        "cell": cell, "model": "gemma", "strategy": "x", "curve": "surprisal", "unit": "tokens", "start": start,
        "stop": start + 8, "value": value, "reason": None, "n": n, "ci_low": value, "ci_high": value, "version": "1",
    }  # fmt: skip
    return CurvePoint(**values | changes)


def folder_of(
    folder: Path, measured: list[Measurement], differences: list[Difference] = (), ranks: list[Rank] = ()
) -> Path:
    names = list(dict.fromkeys(each.strategy for each in measured if each.strategy != "human"))
    people = {"id": "id-human", "model": "gemma", "prompts": "seed_ko", "strategy": "human"}
    whole = manifest([cell(name) for name in names], references=[people])
    save(folder, whole, [generation(name, "p") for name in names], measured)
    write_records(folder / "differences.parquet", Difference, differences)
    write_records(folder / "ranking.parquet", Rank, ranks)
    return folder


def tables_of(folder: Path) -> list[Any]:
    run = load(folder)
    return claims(run, compare(run))


MEASURED = [
    measurement(name, metric, 0.5, **unit)
    for name in ("greedy", "top_p", "human")
    for metric, unit in (("diversity", {}), ("rep_4", {"direction": "lower"}), ("length", {"unit": "tokens"}))
]


def test_a_table_of_differences_by_hand(tmp_path: Path) -> None:
    lower = {"direction": "lower"}
    run = folder_of(
        tmp_path,
        MEASURED,
        [
            difference("top_p", "diversity", 0.2),
            difference("human", "diversity", -0.05, ci_low=-0.1, ci_high=0.02, verdict="indistinguishable"),
            difference("top_p", "rep_4", None, ci_low=None, ci_high=None, verdict="cannot tell",
                       reason="no value", **lower),
            difference("human", "rep_4", -0.5, ci_low=None, ci_high=None, detectable=None, verdict="cannot tell",
                       reason=TOO_FEW, **lower),
            difference("top_p", "loop_onset", 3.0),  # of no metric of the short table
        ],
    )  # fmt: skip
    (table,) = tables_of(run)
    assert table.title == "Differences from greedy"
    assert table.header == ("diversity↑", "rep_4↓")
    assert table.rows == (
        ("top_p", (Claim(text="better", small="+0.200 [0.100, 0.300]", strong=True), Claim(text="cannot tell"))),
        (
            "human",
            (
                Claim(text="indistinguishable", small="-0.050 [-0.100, 0.020]; detectable 0.150"),
                Claim(text="cannot tell", small="-0.500"),
            ),
        ),
    )
    assert table.notes == (PAIRED, HOLM, POWER, "Cannot tell: no value.", f"Cannot tell: {TOO_FEW}.")
    text = markdown(load(run), compare(load(run)), [])
    assert "## Differences from greedy" in text
    assert "**better** +0.200 \\[0.100, 0.300\\]" in text
    html = page(load(run), compare(load(run)), [])
    for said in ("Differences from greedy", "indistinguishable", "detectable 0.150", f"Cannot tell: {TOO_FEW}."):
        assert html.count(said) == 1


def test_a_strategy_that_lacks_a_metric_has_a_dash(tmp_path: Path) -> None:
    told = [difference("top_p", "diversity", 0.2), difference("human", "length", -1.0, verdict="lower")]
    (table,) = tables_of(folder_of(tmp_path, MEASURED, told))
    assert [[claim.text for claim in cells] for _, cells in table.rows] == [["better", "–"], ["–", "lower"]]


def test_each_set_has_a_table_of_its_own(tmp_path: Path) -> None:
    told = [
        difference("top_p", "diversity", 0.2),
        difference("top_p", "diversity", 0.2, prompts="open_en", against="b"),
    ]
    ranks = [rank("greedy"), rank("greedy", prompts="open_en")]
    titles = [table.title for table in tables_of(folder_of(tmp_path, MEASURED, told, ranks))]
    assert titles == [
        "Differences from greedy (gemma · seed_ko)",
        "Differences from b (gemma · open_en)",
        "Ranking (gemma · seed_ko)",
        "Ranking (gemma · open_en)",
    ]


def test_a_ranking_by_hand(tmp_path: Path) -> None:
    none = dict.fromkeys(("strength_low", "strength_high", "mean_rank_low", "mean_rank_high", "tie"))
    ranks = [rank("greedy"), rank("top_p", front=False, strength=-0.5, reason=TOO_FEW, **none)]
    (table,) = tables_of(folder_of(tmp_path, MEASURED, ranks=ranks))
    assert (table.title, table.header) == ("Ranking", ("Pareto front", "Bradley-Terry strength", "mean rank", "tie"))
    assert table.rows == (
        ("greedy", (Claim(text="yes", strong=True), Claim(text="0.500", small="[0.250, 0.750]"),
                    Claim(text="1.20", small="[1.00, 1.50]"), Claim(text="1"))),
        ("top_p", (Claim(text=""), Claim(text="-0.500"), Claim(text="1.20"), Claim(text="–"))),
    )  # fmt: skip
    assert table.notes[0].startswith("By diversity, rep_4. On the front: ")
    assert table.notes[-1] == f"{TOO_FEW}."


def test_nothing_to_claim(tmp_path: Path) -> None:
    assert tables_of(folder_of(tmp_path, MEASURED)) == []
    only_small = [difference("top_p", "zipf", 0.2)]
    assert tables_of(folder_of(tmp_path / "b", MEASURED, only_small)) == []


def test_people_do_not_compete_for_the_best(tmp_path: Path) -> None:
    apart = {"greedy": 0.2, "top_p": 0.5, "human": 0.9}
    run = load(folder_of(tmp_path, [measurement(name, "diversity", value) for name, value in apart.items()]))
    comparison = compare(run)
    assert [row.label for row in comparison.rows] == ["greedy", "top_p", "human"]
    assert comparison.best(comparison.metrics[0]) == 0.5


def test_metrics_without_any_value_are_named_once_by_their_reason(tmp_path: Path) -> None:
    def none(name: str, metric: str, reason: str) -> Measurement:
        return measurement(name, metric, None, reason=reason)

    rows = [*MEASURED, none("greedy", "mauve", "too few"), none("top_p", "mauve", "too few")]
    rows += [none("greedy", "vendi", "too few"), none("human", "mauve", "these are the references themselves")]
    rows += [none("greedy", "zipf", "one reason"), none("top_p", "zipf", "another")]
    rows += [none("greedy", "ead", "too few"), measurement("top_p", "ead", 0.5)]  # one cell has it
    run = folder_of(tmp_path, rows)
    unmeasured = compare(load(run)).unmeasured
    assert unmeasured == {"one reason; another": ["zipf"], "too few; not measured": ["vendi"], "too few": ["mauve"]}
    text, html = (make(load(run), compare(load(run)), []) for make in (markdown, page))
    assert text.count("Not measured: mauve (too few).") == 1
    assert text.count("mauve") == html.split("<pre")[0].count("mauve") == 1


# --- curves ---


def test_a_line_ends_where_half_of_the_prompts_are_left(tmp_path: Path) -> None:
    row = compare(load(folder_of(tmp_path, MEASURED))).rows[0]
    points = [point(row.cell, 8, 2.0, 6), point(row.cell, 0, 1.0, 12), point(row.cell, 16, 3.0, 5)]
    points += [point("other", 0, 9.0, 12), point(row.cell, 0, 9.0, 12, curve="entropy"), point(row.cell, 24, None, 0)]
    assert [(p.start, p.value) for p in _line(row, points, "surprisal")] == [(0, 1.0), (8, 2.0)]


def test_curves_are_drawn_with_people_dashed(tmp_path: Path) -> None:
    comparison = compare(load(folder_of(tmp_path, MEASURED)))
    points = [point(row.cell, start, 1.0 + start, 12) for row in comparison.rows for start in (0, 8)]
    how = {"name": "surprisal", "curve": "surprisal", "title": "Surprisal", "says": "nats"}
    with plot_style():
        drawn = curve_plot(comparison, points, **how)
        unbanded = curve_plot(comparison, [point("id-greedy", 0, 1.0, 12, ci_low=None, ci_high=None)], **how)
        none = curve_plot(comparison, [point("id-greedy", 0, None, 0)], **how)
    assert isinstance(drawn, Plot)
    assert (
        drawn.caption
        == "Each point is the mean over 8 tokens and over prompts. Dashed: what people wrote. Bands are intervals."
    )
    assert isinstance(unbanded, Plot)
    assert unbanded.caption == "Each point is the mean over 8 tokens and over prompts."
    assert isinstance(none, LeftOut)
    assert none.reason == "no cell has a point of this curve"


# --- a scored run ---


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unscored(tmp_path_factory.mktemp("claims") / "run")
    score_run(folder)
    return folder


def test_a_scored_run_is_rendered_with_its_claims(scored: Path) -> None:
    text, html = pages(scored)
    for title in ("Differences from greedy", "Ranking"):
        assert text.count(f"## {title}\n") == 1
        assert html.count(f"{title}</h2>") == 1
    differences = text.split("## Differences from greedy")[1].split("##")[0]
    found = {(d.strategy, d.metric): d for d in read_records(scored / "differences.parquet", Difference)}
    assert f"**{found['top_p', 'diversity'].verdict}**" in differences
    assert [line.split("|")[1].strip() for line in differences.splitlines() if line.startswith("| ")] == [
        "strategy", "top_p", "human",
    ]  # fmt: skip
    ranking = text.split("## Ranking")[1].split("##")[0]
    assert [line.split("|")[1].strip() for line in ranking.splitlines() if line.startswith("| ")] == [
        "strategy", "greedy", "top_p",
    ]  # fmt: skip


def test_a_scored_run_names_what_was_not_measured_once(scored: Path) -> None:
    comparison = compare(load(scored))
    assert comparison.unmeasured["12 texts on a side: MAUVE says nothing below 100"] == ["mauve"]
    assert "acceptance_rate" in comparison.unmeasured["no token was drafted"]
    text, html = pages(scored)
    every = text.split("## Every metric")[1].split("\n## ")[0]
    for reason, names in comparison.unmeasured.items():
        assert every.count(f"({reason}).") == 1
        for name in names:
            assert f"| {name}" not in every
    assert html.count("12 texts on a side: MAUVE says nothing below 100") == 1
