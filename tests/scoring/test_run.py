"""A stored run, scored whole: its tables by hand, the same bytes whatever the order of the store, and errors that leave
the old tables."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import t as student

from decodebench.errors import ConfigError, DecodebenchError, StoreError
from decodebench.metrics import METRICS
from decodebench.metrics.corpus import text_clusters
from decodebench.records import CurvePoint, Difference, Generation, Measurement, Rank, Reading, StoredPrompt
from decodebench.report.comparison import compare, to_frame
from decodebench.report.folder import load
from decodebench.scoring.run import score_run
from decodebench.store.tables import read_records, schema, write_json, write_records
from sample_run import generation, pages, unscored

KINDS = {"measurements": Measurement, "curves": CurvePoint, "differences": Difference, "ranking": Rank}
STORED: dict[str, type] = {"generations": Generation, "references": Generation, "readings": Reading}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unscored(tmp_path_factory.mktemp("scoring") / "run")
    score_run(folder)
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for name in KINDS for path in sorted(folder.glob(f"{name}.*"))}


def measured(folder: Path) -> dict[tuple[str, str], Measurement]:
    return {(m.cell, m.metric): m for m in read_records(folder / "measurements.parquet", Measurement)}


def differences(folder: Path) -> dict[str, Difference]:
    """Those of top_p, by metric."""
    found = read_records(folder / "differences.parquet", Difference)
    return {each.metric: each for each in found if each.strategy == "top_p"}


def edit(folder: Path, name: str, change: Any) -> None:
    """Write a stored table again, each of its records changed."""
    kind = STORED[name]
    path = folder / f"{name}.parquet"
    write_records(path, kind, map(change, read_records(path, kind)))


def test_every_table_has_its_columns(run: Path) -> None:
    assert len(tables(run)) == 8
    for name, kind in KINDS.items():
        assert pq.read_schema(run / f"{name}.parquet") == schema(kind)
        frame = pd.read_csv(run / f"{name}.csv")
        assert list(frame.columns) == schema(kind).names
        assert len(frame) == len(read_records(run / f"{name}.parquet", kind)) > 0


def test_measurements_by_hand(run: Path) -> None:
    rows = measured(run)
    assert list(dict.fromkeys(cell for cell, _ in rows)) == ["g0", "g1", "t0", "t1", "h"]  # people last
    names = [metric.name for metric in METRICS]
    assert [metric for cell, metric in rows if cell == "h" and metric in names] == names
    # 40 + at + 2 seed tokens, at from 0 to 11: 45.5 + 2 seed; 40 + 2 at: 51; people 38
    assert [rows[c, "length"].value for c in ("g0", "g1", "t0", "h")] == [45.5, 47.5, 51.0, 38.0]
    assert rows["g0", "length_w1"].value == pytest.approx(
        7.5, rel=1e-12
    )  # a sum of quotients: its last bit is the CPU's
    assert rows["h", "length_w1"].reason == "these are the references themselves"
    assert rows["g0", "length"].n == 12
    # log-probs -1 -2 -3, and -2 for what is left: -2 in the mean
    assert rows["t1", "surprisal"].value == pytest.approx(2.0)
    assert rows["h", "entropy_gap"].value == pytest.approx(2.0 - 1.5)
    assert rows["g0", "mauve"].reason == "12 texts on a side: MAUVE says nothing below 100"
    # 4 words in 12 texts of 45.5 tokens, of a vocabulary of 25
    assert rows["g0", "set_distinct_1"].value == pytest.approx(4 / 546)
    assert rows["g0", "ead"].value == pytest.approx(4 / (25 * (1 - (24 / 25) ** 546)))
    assert rows["g0", "rep_2_first32"].n == 12


def test_differences_and_ranks_by_hand(run: Path) -> None:
    found = {(d.strategy, d.metric): d for d in read_records(run / "differences.parquet", Difference)}
    assert {strategy for strategy, _ in found} == {"top_p", "human"}
    # greedy's seeds together: 46.5; pairs differ by (40 + 2 at) - (41 + at) = at - 1
    longer = found["top_p", "length"]
    assert (longer.against, longer.value, longer.n, longer.comparisons) == ("greedy", 4.5, 12, 2)
    assert found["human", "length"].value == 38 - 46.5
    assert found["top_p", "diversity"].verdict == "better"
    assert found["top_p", "length_w1"].comparisons == 1
    first, second = read_records(run / "ranking.parquet", Rank)
    assert (first.strategy, first.front, second.strategy, second.front) == ("greedy", False, "top_p", True)
    assert (first.metrics, first.n) == (("diversity", "loop_share"), 12)


def test_curves_of_every_cell(run: Path) -> None:
    points = {(p.cell, p.curve, p.start): p for p in read_records(run / "curves.parquet", CurvePoint)}
    assert {cell for cell, _, _ in points} == {"g0", "g1", "t0", "t1", "h"}
    # t0 has 40 + 2 at tokens; position 56 is there in texts of 57 tokens or more
    assert max(start for cell, curve, start in points if (cell, curve) == ("t0", "surprisal")) == 56
    assert points["t0", "surprisal", 56].n == 3  # 58, 60, 62 tokens
    assert points["t0", "entropy", 0].value == 1.5
    # positions 0 to 7: -1 -2 -3 -1 -2 -3 -1 -2
    assert points["h", "surprisal", 0].value == pytest.approx(15 / 8)


def test_scoring_again_gives_the_same_bytes(run: Path) -> None:
    before = tables(run)
    score_run(run)
    assert tables(run) == before


def test_neither_the_order_nor_the_row_groups_of_the_store_matter(run: Path, tmp_path: Path) -> None:
    folder = unscored(tmp_path / "run")
    for name, kind in STORED.items():
        rows = pq.read_table(folder / f"{name}.parquet").to_pylist()[::-1]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema(kind)), folder / f"{name}.parquet")
        assert pq.ParquetFile(folder / f"{name}.parquet").num_row_groups == 1
    score_run(folder)
    assert tables(folder) == tables(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank_by": ["divresity"]}, "metrics.rank_by=divresity: no such metric; allowed are "),
        ({"rank_by": ["length"]}, "metrics.rank_by=length: neither more nor less of it is better; allowed are "),
        ({"against": "gredy"}, "metrics.against=gredy: allowed: greedy, human, top_p; did you mean greedy?"),
        ({"unit": "wrods"}, "metrics.unit=wrods: allowed: "),
        ({"leading": -1}, "metrics.leading=-1: allowed is a number of tokens, or 0 for none"),
        ({"compat": "simct"}, "metrics.compat=simct: allowed: simctg; did you mean simctg?, or null"),
        ({"rank_by": []}, "metrics.rank_by=[]: allowed is a list of metrics, as in "),
    ],
)
def test_an_error_leaves_the_old_tables(run: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    before = tables(run)
    with pytest.raises(ConfigError) as error:
        score_run(run, **changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert tables(run) == before
    assert not any(path.name.startswith(".") for path in run.iterdir())


def test_changes_of_what_is_asked(tmp_path: Path) -> None:
    folder = unscored(tmp_path / "run", prompts=2)
    score_run(folder, unit="words", leading=0, compat="simctg", against="top_p", rank_by=["distinct_1_words"])
    rows = measured(folder)
    assert rows["g0", "length_words"].value == 40.5  # w0 w1 ...: as many words as tokens
    assert ("g0", "rep_2_simctg_words") in rows
    assert not any("first" in metric for _, metric in rows)
    assert {d.against for d in read_records(folder / "differences.parquet", Difference)} == {"top_p"}
    rank = read_records(folder / "ranking.parquet", Rank)[0]
    assert (rank.metrics, rank.reason) == (("distinct_1_words",), "2 prompts: an interval needs at least 10")


def test_failed_cells_are_left_out(tmp_path: Path) -> None:
    folder = unscored(tmp_path / "run", prompts=2)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    write_json(
        folder / "manifest.json", manifest | {"failed": [{"cell": "g0", "error": "x"}, {"cell": "g1", "error": "x"}]}
    )
    score_run(folder)
    assert {cell for cell, _ in measured(folder)} == {"t0", "t1", "h"}
    assert {d.against for d in read_records(folder / "differences.parquet", Difference)} == {"top_p"}
    score_run(folder, against="greedy")  # there is nothing to compare with, which its failure says
    assert read_records(folder / "differences.parquet", Difference) == []
    with pytest.raises(ConfigError, match=r"metrics.against=gredy: allowed: greedy, human, top_p; did you mean greedy"):
        score_run(folder, against="gredy")


def test_a_run_without_references_and_readings(tmp_path: Path) -> None:
    folder = unscored(tmp_path / "run", prompts=2)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    write_json(folder / "manifest.json", {key: value for key, value in manifest.items() if key != "references"})
    for name in ("references", "readings"):
        (folder / f"{name}.parquet").unlink()
    score_run(folder)
    rows = measured(folder)
    assert {cell for cell, _ in rows} == {"g0", "g1", "t0", "t1"}
    assert rows["g0", "mauve"].reason == "the prompts have no references"
    assert rows["g0", "entropy"].reason == "no scorer has read the texts (scorer.id=self, or another model)"
    assert not any(p.curve == "entropy" for p in read_records(folder / "curves.parquet", CurvePoint))


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_numbers_that_are_not_finite_are_in_no_table(tmp_path: Path, bad: float) -> None:
    folder = unscored(tmp_path / "run")

    def break_one(record: Any) -> Any:
        if record.cell not in ("g1", "h") or record.prompt_id != "p03":
            return record
        return replace(record, token_logprobs=(bad, *record.token_logprobs[1:]))

    for name in STORED:
        edit(folder, name, break_one)
    score_run(folder)
    rows = measured(folder)
    where = "prompt 'p03', sample 0: not a finite number"
    for cell in ("g1", "h"):
        for metric in ("perplexity", "surprisal_text", "scorer_surprisal", "entropy_gap", "coherence"):
            assert (rows[cell, metric].value, rows[cell, metric].reason) == (None, where)
    assert rows["t0", "surprisal_text_w1"].reason == "not a finite number for every text"  # people's
    assert rows["g0", "surprisal"].value == pytest.approx(2.0)
    points = {
        (p.cell, p.start): p for p in read_records(folder / "curves.parquet", CurvePoint) if p.curve == "surprisal"
    }
    assert (points["h", 0].value, points["h", 0].reason) == (None, "not a finite number for every text")
    assert points["h", 8].value is not None
    found = {(d.strategy, d.metric): d for d in read_records(folder / "differences.parquet", Difference)}
    # one of greedy's seeds has no value, so greedy has none
    assert (found["top_p", "perplexity"].verdict, found["top_p", "perplexity"].reason) == ("cannot tell", where)
    for name in KINDS:
        stored = pq.read_table(folder / f"{name}.parquet").to_pylist()
        assert all(math.isfinite(v) for row in stored for v in row.values() if isinstance(v, float)), name
    line = to_frame(compare(load(folder))).set_index("cell").loc["g1"]
    assert line["perplexity"] is None or pd.isna(line["perplexity"])
    text = to_frame(compare(load(folder))).to_csv(index=False)
    assert not {"nan", "inf", "-inf", "NaN"} & set(text.replace("\n", ",").split(","))


def test_a_cell_stored_twice_is_refused(tmp_path: Path) -> None:
    folder = unscored(tmp_path / "run", prompts=2)
    texts = read_records(folder / "generations.parquet", Generation)
    write_records(folder / "generations.parquet", Generation, [*texts, texts[0]])
    with pytest.raises(DecodebenchError, match="cell g0: prompt 'p00', sample 0 is stored 2 times; allowed: 1"):
        score_run(folder)
    assert not tables(folder)


def doubled(folder: Path, out: Path) -> Path:
    """The same run, each prompt under two ids: texts and readings twice."""
    shutil.copytree(folder, out)
    for name, kind in STORED.items():
        records = read_records(out / f"{name}.parquet", kind)
        both = [replace(each, prompt_id=f"{each.prompt_id}{suffix}") for each in records for suffix in ("a", "b")]
        write_records(out / f"{name}.parquet", kind, both)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["prompts"]["seed_ko"]["count"] = 24
    write_json(out / "manifest.json", manifest)
    return out


def test_the_same_text_under_two_ids_is_said_and_tells_nothing_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Intervals were narrower by the root of 2 and p values squared, and nothing was said. As clusters they are those
    of every prompt once, a little wider where t takes the place of the normal distribution (stats.intervals)."""
    once = unscored(tmp_path / "once")
    twice = doubled(once, tmp_path / "twice")
    score_run(once)
    assert json.loads((once / "manifest.json").read_text())["prompt_clusters"] == {}
    assert not caplog.messages
    score_run(twice)
    said = "24 prompts are 12 clusters (of one text or source); intervals and tests take each as one"
    assert caplog.messages == [f"prompts seed_ko: {said}"]
    for page in pages(twice):
        assert "24 prompts, 12 clusters (of one text or source; intervals and tests take each as one)" in page
    assert "clusters (of one text" not in "".join(pages(once))

    a, b = measured(once), measured(twice)
    whole_sets = {metric.name for metric in METRICS if metric.level == "corpus"}
    compared = 0
    for key, single in a.items():
        # What is counted over a set is another value where the set has its texts twice.
        if single.value is None or key[1].split("_first")[0] in whole_sets or key[1].endswith("_w1"):
            continue
        assert (b[key].value, b[key].n) == (pytest.approx(single.value), 2 * single.n), key
        if single.ci_low is not None:
            compared += 1
            assert b[key].ci_low <= single.ci_low + 1e-9, key
            assert b[key].ci_high >= single.ci_high - 1e-9, key
    assert compared > 100
    one, two = differences(once), differences(twice)
    for metric in ("length", "rep_2", "distinct_1", "diversity"):
        assert two[metric].n == 2 * one[metric].n
        assert (two[metric].p, two[metric].ci_low) == pytest.approx((one[metric].p, one[metric].ci_low)), metric
    ranks = [read_records(folder / "ranking.parquet", Rank) for folder in (once, twice)]
    assert [r.mean_rank for r in ranks[1]] == pytest.approx([r.mean_rank for r in ranks[0]])
    points = [read_records(folder / "curves.parquet", CurvePoint) for folder in (once, twice)]
    ends = [[(p.curve, p.start, p.ci_low) for p in of if p.ci_low is not None] for of in points]
    assert [end[:2] for end in ends[0]] == [end[:2] for end in ends[1]]
    assert all(b[2] <= a[2] + 1e-9 for a, b in zip(*ends, strict=True))


def named(folder: Path, clusters: Sequence[str | None], out: Path) -> Path:
    """The same run, whose prompts name these clusters."""
    shutil.copytree(folder, out)
    ids = dict.fromkeys(text.prompt_id for text in read_records(out / "generations.parquet", Generation))
    rows = [
        StoredPrompt(prompts="seed_ko", prompt_id=id_, text=f"about {id_}", references=(), cluster=c, language=None)
        for id_, c in zip(ids, clusters, strict=True)
    ]
    write_records(out / "prompts.parquet", StoredPrompt, rows)
    return out


def test_prompts_that_name_a_cluster_are_resampled_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = unscored(tmp_path / "plain", prompts=24)
    pairs = named(plain, [f"speech {at // 2}" for at in range(24)], tmp_path / "pairs")
    for folder in (plain, pairs):
        score_run(folder)
    told = "24 prompts are 12 clusters (of one text or source); intervals and tests take each as one"
    assert caplog.messages == [f"prompts seed_ko: {told}"]
    assert json.loads((pairs / "manifest.json").read_text())["prompt_clusters"] == {"seed_ko": 12}
    key = ("g0", "length")  # 40, 41, ..., 63 tokens: the mean of two neighbours has half the spread less
    a, b = measured(plain)[key], measured(pairs)[key]
    assert (a.value, a.n) == (b.value, b.n) == (51.5, 24)
    by_hand = np.array([mean + 0.5 for mean in range(40, 64, 2)], dtype=float)
    wide = 2 * student.ppf(0.975, 11) * by_hand.std(ddof=1) / np.sqrt(12)
    assert b.ci_high - b.ci_low == pytest.approx(wide, rel=0.1)
    assert b.ci_high - b.ci_low > 1.3 * (a.ci_high - a.ci_low)
    together, apart = (differences(folder)["length"] for folder in (pairs, plain))
    assert together.value == apart.value
    assert together.ci_high - together.ci_low > 1.3 * (apart.ci_high - apart.ci_low)


def test_clusters_of_one_prompt_each_change_nothing_and_one_cluster_of_all_has_no_interval(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = unscored(tmp_path / "plain")
    alone = named(plain, [f"speech {at}" for at in range(11)] + [None], tmp_path / "alone")
    one = named(plain, ["speech"] * 12, tmp_path / "one")
    with caplog.at_level("INFO", "decodebench"):
        for folder in (plain, alone, one):
            score_run(folder)
    assert [message.partition(":")[2] for message in caplog.messages] == [
        " each cluster has a single prompt: they change nothing",
        " 12 prompts are 1 cluster (of one text or source); intervals and tests take each as one",
    ]
    assert tables(plain) == tables(alone)
    reason = "1 cluster of 12 prompts: an interval needs at least 10"
    for name in ("length", "rep_2", "distinct_1", "diversity"):
        row = measured(one)["g0", name]
        assert (row.ci_low, row.reason) == (None, reason)
        difference = differences(one)[name]
        assert (difference.p, difference.verdict, difference.reason) == (None, "cannot tell", reason)
    points = read_records(one / "curves.parquet", CurvePoint)
    assert all(point.ci_low is None and point.reason for point in points)
    assert points[0].reason == reason
    assert all(rank.reason and reason in rank.reason for rank in read_records(one / "ranking.parquet", Rank))


def test_prompts_that_do_not_fit_the_texts_are_said(tmp_path: Path) -> None:
    folder = named(unscored(tmp_path / "plain", prompts=4), [None] * 4, tmp_path / "run")
    path = folder / "prompts.parquet"
    rows = read_records(path, StoredPrompt)
    write_records(path, StoredPrompt, rows[1:])
    with pytest.raises(
        StoreError, match=r"prompts\.parquet: has no prompt 'p00' of seed_ko, which has texts; run the c"
    ):
        score_run(folder)
    write_records(path, StoredPrompt, [*rows, rows[0]])
    with pytest.raises(StoreError, match=r"prompts\.parquet: has the prompt 'p00' of seed_ko twice; allowed is once"):
        score_run(folder)


def test_prompts_without_a_text_are_not_one_prompt() -> None:
    """A file of texts may come without prompts: that nothing is known of them does not make them the same."""
    texts = [generation("greedy", f"p{at}", prompt="") for at in range(3)]
    assert len(set(text_clusters(texts).values())) == 3
    same = [generation("greedy", f"p{at}", prompt="one") for at in range(3)]
    assert len(set(text_clusters(same).values())) == 1
    assert text_clusters(same)["p0"] != text_clusters([generation("greedy", "p0", prompt="One")])["p0"]
