"""What a run was and did, in lines: models, prompt sets, work, seconds. Read from the manifest alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from decodebench.report.folder import Run
from decodebench.report.formats import number

Facts = list[tuple[str, str]]
"""Pairs of a name and what is to be said of it."""


def opening(manifest: Mapping[str, Any]) -> str:
    """What was run, on one line: `gemma3_270m: 268 M parameters, cpu float32 · seed_ko: 2 prompts`."""
    models, sets = manifest.get("models") or {}, manifest.get("prompts") or {}
    parts = [(name, [*_size(model), *_where(model)]) for name, model in models.items()]
    parts += [(name, list(_count(manifest, name))) for name in sets]
    return " · ".join(f"{name}: {', '.join(known)}" if known else name for name, known in parts)


def details(run: Run) -> list[tuple[str, Facts]]:
    """What is known of a run, under headings; those with nothing to say are left out."""
    sections = [
        ("What the run did", work(run)),
        ("Models and prompts", [*models(run.manifest), *prompt_sets(run.manifest)]),
        ("Setting", setting(run.manifest)),
    ]
    return [(title, facts) for title, facts in sections if facts]


def models(manifest: Mapping[str, Any]) -> Facts:
    """One line for each model: where it came from, how it ran, how exactly, under which licence."""
    facts = [(name, ", ".join(_model(model))) for name, model in (manifest.get("models") or {}).items()]
    if scorer := manifest.get("scorer"):
        told = [str(scorer[key]) for key in ("id", "dtype", "fingerprint") if scorer.get(key)]
        facts.append(("scorer", ", ".join(told).replace("self", "self (the generating model)")))
    return facts


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    if source := model.get("source"):
        yield str(source)
    yield from _size(model)
    yield from _where(model)
    if forward := model.get("forward"):
        yield f"{forward} forward"
    if exactness := model.get("exactness"):
        yield str(exactness)
    yield f"licence: {model.get('licence') or 'not recorded'}"


def _size(model: Mapping[str, Any]) -> Iterator[str]:
    if parameters := model.get("parameters"):
        yield f"{parameters / 1e6:,.0f} M parameters" if parameters >= 1e6 else f"{parameters:,} parameters"


def _where(model: Mapping[str, Any]) -> Iterator[str]:
    if where := [str(model[key]) for key in ("device", "dtype") if model.get(key)]:
        yield " ".join(where)


def prompt_sets(manifest: Mapping[str, Any]) -> Facts:
    """One line for each prompt set."""
    return [(name, ", ".join(_prompt_set(manifest, name))) for name in manifest.get("prompts") or {}]


def _prompt_set(manifest: Mapping[str, Any], name: str) -> Iterator[str]:
    each = manifest["prompts"][name]
    yield from _count(manifest, name)
    yield f"template {each['template']!r}" if each.get("template") else "no template"
    if digest := each.get("sha256"):
        yield f"sha256 {str(digest)[:12]}"


def _count(manifest: Mapping[str, Any], name: str) -> Iterator[str]:
    if (count := manifest["prompts"][name].get("count")) is not None:
        yield f"{count} prompt{'' if count == 1 else 's'}"
    if (clusters := (manifest.get("prompt_clusters") or {}).get(name)) is not None:
        plural = "" if clusters == 1 else "s"
        yield f"{clusters} cluster{plural} (of one text or source; intervals and tests take each as one)"


def work(run: Run) -> Facts:
    """What the run decoded, what sharing saved, and where the time went."""
    counts = run.manifest.get("counts") or {}
    facts: Facts = []
    if (total := counts.get("requests_total")) is not None:
        before, decoded = counts.get("requests_stored_before", 0), counts.get("requests_decoded", 0)
        facts.append(("texts", f"{total:,}, of which the last command decoded {decoded:,} and found {before:,} stored"))
    if passes := counts.get("forward_passes"):
        facts.append(("forward passes", f"{passes:,}, of which {counts.get('prefills', 0):,} read a prompt"))
    alone, computed = counts.get("tokens_alone"), counts.get("tokens_computed")
    if alone and computed is not None:
        difference = abs(alone - computed)
        compared = f"{difference:,} ({difference / alone:.0%}) {'fewer' if computed <= alone else 'more'}"
        facts.append(("tokens fed to the model", f"{computed:,}, {compared} than if each text had been made alone"))
    for key in ("unread", "untimed"):
        facts += [(f"could not be {key[2:]}", str(entry["error"])) for entry in run.manifest.get(key) or ()]
    if seconds := run.manifest.get("seconds"):
        facts.append(("time", ", ".join(f"{name} {number(value)} s" for name, value in seconds.items())))
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
        "metrics": ", ".join(f"{key} {value}" for key, value in (manifest.get("metrics") or {}).items() if value),
        "commit": manifest.get("git_commit"),
        "machine": ", ".join(str(part) for part in (machine.get("platform"), machine.get("cpu"), threads) if part),
        "versions": ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()),
    }
    return [(name, str(value)) for name, value in facts.items() if value]
