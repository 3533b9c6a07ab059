"""generations -> measurements: the metrics of every cell of a stored run, and what they say of its strategies.

Needs no model. One cell is in memory at a time, and the human references beside it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from decodebench.errors import ConfigError, StoreError
from decodebench.metrics import (
    UNITS,
    Corpus,
    Judging,
    MetricsConfig,
    Rules,
    broken_rules,
    check_one_cell,
    check_rank_by,
    corpus,
    countable,
    measure_curves,
    measure_task_curves,
    score,
    score_timings,
)
from decodebench.records import (
    CellWarning,
    CurvePoint,
    Difference,
    Generation,
    Judgement,
    Measurement,
    Prompt,
    Rank,
    Reading,
    StoredPrompt,
    Timing,
)
from decodebench.scoring.comparing import Arms, differences, ranking
from decodebench.scoring.judging import judged_whole, judging_of, unjudged
from decodebench.stats import joined
from decodebench.store import cells_of, read_cell, read_manifest, read_records, write_csv, write_json, write_records

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """What was measured of a run, in memory: how its texts were judged (None: they were not), records for its tables,
    and the arms that comparisons are made of; the strategies that have `failed` cells; what texts did not keep to."""

    config: MetricsConfig
    judging: Judging | None
    measurements: Sequence[Measurement]
    curves: Sequence[CurvePoint]
    arms: Arms
    failed: Sequence[str]
    warnings: Sequence[CellWarning]


def score_run(run_dir: Path, **changes: Any) -> list[Measurement]:
    """Compute the tables of a run folder that hold what was measured: measurements, curves, differences, ranking.

    Cells are in the manifest's order, failed ones left out, human references last. `changes` are keys of MetricsConfig
    that are to be otherwise than the run's configuration says.
    """
    scored = scored_run(run_dir, **changes)
    keep(run_dir, scored)
    return list(scored.measurements)


def keep(run_dir: Path, scored: ScoredRun) -> None:
    """Write what was scored of a run into its folder: the tables, and what the manifest says of it."""
    tables: dict[str, tuple[type, Sequence[Any]]] = {
        "measurements": (Measurement, scored.measurements),
        "curves": (CurvePoint, scored.curves),
        "differences": (Difference, differences(scored.arms, scored.config.against, failed=scored.failed)),
        "ranking": (Rank, ranking(scored.arms, scored.config.rank_by)),
    }
    manifest = read_manifest(run_dir)
    before = [entry for entry in manifest.get("warnings", ()) if entry["metric"] is None]
    told = {
        "metrics": asdict(scored.config),
        "warnings": before + [asdict(each) for each in scored.warnings],
        "prompt_clusters": _prompt_clusters(scored.arms),
    }
    write_json(run_dir / "manifest.json", {**manifest, **told})
    for name, (kind, records) in tables.items():
        write_records(run_dir / f"{name}.parquet", kind, records)
        write_csv(run_dir / f"{name}.csv", kind, records)


def scored_run(run_dir: Path, **changes: Any) -> ScoredRun:
    """The same without writing anything."""
    manifest = read_manifest(run_dir)
    config = metrics_config(manifest, **changes)
    judging = judging_of(run_dir, manifest)
    timings = read_records(run_dir / "latency.parquet", Timing, optional=True)
    measurements: list[Measurement] = []
    curves: list[CurvePoint] = []
    warnings: list[CellWarning] = []
    arms = Arms()
    for entry, texts in _corpora(run_dir, manifest, config):
        scored = score(texts, config, judging)
        scored += score_timings([t for t in timings if t.cell == entry["id"]], texts.clusters)
        measurements += [each.measurement(texts.first) for each in scored]
        warnings += [
            CellWarning(warning=each.line, cells=(str(entry["id"]),), metric=each.metric)
            for each in broken_rules(texts)
        ]
        warnings += unjudged(texts)
        curves += measure_curves(texts, unit=config.unit)
        curves += measure_task_curves(texts, judging) if judging else []
        arms.add(entry, scored, texts.clusters)
    missing = {entry["cell"] for entry in manifest["failed"]}
    failed = [entry["strategy"] for entry in manifest["cells"] if entry["id"] in missing]
    return ScoredRun(
        config=config,
        judging=judging,
        measurements=measurements,
        curves=curves,
        arms=arms,
        failed=failed,
        warnings=warnings,
    )


def _prompt_clusters(arms: Arms) -> dict[str, int]:
    """How many clusters the prompts of a set come to, for the sets that have fewer clusters than prompts."""
    sets = {prompts: of for (_, prompts), of in arms.clusters.items()}  # the same for every model
    found = {prompts: len(set(of.values())) for prompts, of in sets.items() if len(set(of.values())) < len(of)}
    for prompts, clusters in found.items():
        log.warning(
            "prompts %s: %d prompts are %d cluster%s (of one text or source); intervals and tests take each as one",
            prompts,
            len(sets[prompts]),
            clusters,
            "" if clusters == 1 else "s",
        )
    return found


def _clusters(run_dir: Path) -> dict[str, dict[str, str]]:
    """By prompt set, the cluster of each prompt: those of the same text, or that name the same cluster, are in one.

    Empty for a run from before there was prompts.parquet. Raises StoreError for a prompt that is there twice.
    """
    path = run_dir / "prompts.parquet"
    sets: dict[str, dict[str, StoredPrompt]] = {}
    for row in read_records(path, StoredPrompt, optional=True):
        if sets.setdefault(row.prompts, {}).setdefault(row.prompt_id, row) is not row:
            raise StoreError(f"{path}: has the prompt {row.prompt_id!r} of {row.prompts} twice; allowed is once")
    found = {}
    for prompts, of_set in sets.items():
        found[prompts] = prompt_clusters([row.prompt for row in of_set.values()])
        named = any(row.cluster is not None for row in of_set.values())
        if named and len(set(found[prompts].values())) == len(of_set):
            log.info("prompts %s: each cluster has a single prompt: they change nothing", prompts)
    return found


def prompt_clusters(prompts: Sequence[Prompt]) -> dict[str, str]:
    """The cluster of each prompt by its id: those of the same text, or that name the same cluster, are in one."""
    ids = {prompt.id: prompt.id for prompt in prompts}
    # a text of a file may come without its prompt: that is no text which two could share
    texts = {prompt.id: prompt.text for prompt in prompts if prompt.text}
    named = {prompt.id: prompt.cluster for prompt in prompts if prompt.cluster is not None}
    return joined(ids, texts, named)


def metrics_config(manifest: Mapping[str, Any], **changes: Any) -> MetricsConfig:
    """How a run is scored: as its configuration says, but for these keys. Keys that are not ours are left alone."""
    known = {field.name for field in fields(MetricsConfig)}
    stored = {key: value for cell in manifest["cells"][:1] for key, value in cell["config"].get("metrics", {}).items()}
    config = MetricsConfig(**({key: value for key, value in stored.items() if key in known} | changes))
    check_rank_by(config)
    return config


def _corpora(
    run_dir: Path, manifest: Mapping[str, Any], config: MetricsConfig
) -> Iterator[tuple[Mapping[str, Any], Corpus]]:
    """Each cell that has texts, with its entry in the manifest, and then the human references."""
    failed = {entry["cell"] for entry in manifest["failed"]}
    clusters = _clusters(run_dir)
    generated, given = (run_dir / f"{name}.parquet" for name in ("generations", "references"))
    humans = {
        (entry["model"], entry["prompts"]): (entry, _corpus(run_dir, given, entry, manifest, config, clusters))
        for entry in manifest.get("references", ())
    }
    stored = cells_of(generated, Generation)
    entries = [entry for entry in manifest["cells"] if entry["id"] in stored and entry["id"] not in failed]
    with tqdm(total=len(entries) + len(humans), unit="cell", desc="scoring", disable=None) as bar:
        for entry in entries:
            _, human = humans.get((entry["model"], entry["prompts"]), (None, None))
            yield entry, _corpus(run_dir, generated, entry, manifest, config, clusters, human)
            bar.update()
        for entry, texts in humans.values():
            yield entry, texts
            bar.update()


def _corpus(
    run_dir: Path,
    path: Path,
    entry: Mapping[str, Any],
    manifest: Mapping[str, Any],
    config: MetricsConfig,
    clusters: Mapping[str, Mapping[str, str]],
    human: Corpus | None = None,
) -> Corpus:
    """The texts of a cell, with what the scorer said of them."""
    generations = read_cell(path, Generation, entry["id"])
    if not generations:
        raise StoreError(f"{path}: has no text of the cell {entry['id']} that the manifest names")
    check_one_cell(generations)
    of_set = clusters.get(entry["prompts"])  # none of a set that was decoded before runs kept their prompts
    if of_set is not None and (lost := {g.prompt_id for g in generations} - set(of_set)):
        raise StoreError(
            f"{run_dir}/prompts.parquet: has no prompt {min(lost)!r} of {entry['prompts']}, which has texts; run the "
            "command of the manifest again to complete the run"
        )
    if not all(countable(generation, config.unit) for generation in generations):
        others = ", ".join(unit for unit in UNITS if unit != config.unit)
        raise ConfigError(
            f"metrics.unit={config.unit}: the texts of {run_dir} were given without tokens; allowed: {others}"
        )
    readings = read_cell(run_dir / "readings.parquet", Reading, entry["id"], optional=True)
    theirs = [text.reading for text in human.texts if text.reading is not None] if human else []
    widths = {len(each) for one in (*readings, *theirs) for each in (one.embedding, one.prompt_embedding) if each}
    if len(widths) > 1:
        told = " and ".join(map(str, sorted(widths)))
        raise StoreError(f"{run_dir}/readings.parquet: has embeddings of {told} numbers; allowed is one width")
    return corpus(
        generations,
        unit=config.unit,
        readings=readings,
        judgements=read_cell(run_dir / "judgements.parquet", Judgement, entry["id"], optional=True),
        judged_whole=judged_whole(manifest, entry["id"]),
        clusters=of_set,
        human=human,
        vocabulary=manifest["models"].get(entry["model"], {}).get("vocabulary"),
        rules=_rules(entry, manifest),
        unread=next((one["error"] for one in manifest.get("unread") or () if one["cell"] == entry["id"]), None),
    )


def _rules(entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> Rules:
    """What the texts of a cell were to keep to; human references have no rules."""
    if "config" not in entry:
        return Rules()
    strategy = entry["config"].get("strategy") or {}
    return Rules(
        bad_words=tuple(strategy.get("bad_words") or ()),
        force_words=tuple(strategy.get("force_words") or ()),
        unused_ids=tuple((a, b) for a, b in manifest["models"].get(entry["model"], {}).get("unused_ids") or ()),
    )
