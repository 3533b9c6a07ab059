"""What a run was and did, in lines: models, prompt sets, work, seconds. Read from the manifest alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from decodebench.report.folder import Run
from decodebench.report.formats import number

Facts = list[tuple[str, str]]
"""Pairs of a name and what is to be said of it."""


def models(manifest: Mapping[str, Any]) -> Facts:
    """One line for each model: where it came from, how it ran, under which licence."""
    return [(name, ", ".join(_model(model))) for name, model in (manifest.get("models") or {}).items()]


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    if source := model.get("source"):
        yield str(source)
    if parameters := model.get("parameters"):
        yield f"{parameters / 1e6:,.0f} M parameters"
    if where := [str(model[key]) for key in ("device", "dtype") if model.get(key)]:
        yield " ".join(where)
    if forward := model.get("forward"):
        yield f"{forward} forward"
    yield f"licence: {model.get('licence') or 'not recorded'}"
    if exactness := model.get("exactness"):
        yield str(exactness)


def prompt_sets(manifest: Mapping[str, Any]) -> Facts:
    """One line for each prompt set."""
    sets = (manifest.get("prompts") or {}).items()
    return [(name, ", ".join(_prompt_set(each))) for name, each in sets]


def _prompt_set(each: Mapping[str, Any]) -> Iterator[str]:
    if (count := each.get("count")) is not None:
        yield f"{count} prompt{'' if count == 1 else 's'}"
    yield f"template {each['template']!r}" if each.get("template") else "no template"
    if digest := each.get("sha256"):
        yield f"sha256 {str(digest)[:12]}"


def work(run: Run) -> Facts:
    """What the run decoded, what sharing saved, and where the time went."""
    counts = run.manifest.get("counts") or {}
    facts: Facts = []
    if (total := counts.get("requests_total")) is not None:
        before, decoded = counts.get("requests_stored_before", 0), counts.get("requests_decoded", 0)
        facts.append(("requests", f"{total:,}: {decoded:,} decoded now, {before:,} stored before"))
    if passes := counts.get("forward_passes"):
        facts.append(("forward passes", f"{passes:,}, of which {counts.get('prefills', 0):,} prefills"))
    alone, computed = counts.get("tokens_alone"), counts.get("tokens_computed")
    if alone and computed is not None:
        saved = f"{alone - computed:,} saved by sharing ({(alone - computed) / alone:.0%})"
        facts.append(
            ("tokens through the model", f"{computed:,} computed, {alone:,} if each request ran alone: {saved}")
        )
    if seconds := run.manifest.get("seconds"):
        facts.append(("seconds", ", ".join(f"{name} {number(value)}" for name, value in seconds.items())))
    if run.timings:
        facts.append(("timed calls", f"{len(run.timings):,} of model.generate, each alone (latency.parquet)"))
    return facts


def setting(manifest: Mapping[str, Any]) -> Facts:
    """When, where and from which state of the code the run was made."""
    machine = manifest.get("machine") or {}
    threads = f"{machine['threads']} threads" if machine.get("threads") else None
    facts = {
        "created": manifest.get("created"),
        "seed": ", ".join(str(seed) for seed in manifest.get("seed") or ()),
        "commit": manifest.get("git_commit"),
        "machine": ", ".join(str(part) for part in (machine.get("platform"), machine.get("cpu"), threads) if part),
        "versions": ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()),
    }
    return [(name, str(value)) for name, value in facts.items() if value]
