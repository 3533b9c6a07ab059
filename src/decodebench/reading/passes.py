"""The pass of a scorer over a run: which model reads which cells, and what is kept of it."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from decodebench.errors import (
    ConfigError,
    DecodebenchError,
    ModelError,
    PromptError,
    StoreError,
    guarded,
    noted,
    one_line,
    some,
)
from decodebench.models import (
    SCORERS,
    SELF,
    LoadedModel,
    ModelConfig,
    ScorerConfig,
    cpu_threads,
    fastest_exact_products,
    ids_sha256,
    load,
)
from decodebench.plan import typed
from decodebench.reading.files import ReadingFiles
from decodebench.reading.texts import Item, no_embedding, prompt_tokens, read_texts, text_tokens
from decodebench.records import CellWarning, Generation, Reading
from decodebench.store import locked, other_model, read_manifest, read_records, write_json

log = logging.getLogger(__name__)

Texts = Mapping[str, Sequence[Generation]]
"""Cell id -> its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What a pass came to: what tells its scorer apart, and why cells (None: all) could not be read.

    `warnings` are what is odd about a scorer that is a model of its own.
    """

    scorer: Mapping[str, Any]
    unread: Mapping[str | None, str]
    warnings: tuple[str, ...] = ()


def read_own(run_dir: Path, loaded: LoadedModel, manifest: Mapping[str, Any], label: str, texts: Texts) -> Readings:
    """Let the model of this label in the manifest read what it generated, and the references of its prompts."""
    mine = {cell: place for cell, place in places(manifest).items() if place.model == label}
    scorer = {"id": SELF, "fingerprint": None, "dtype": None}
    return _read(run_dir, scorer, loaded, mine, texts, _own_tokens)


def read_other(run_dir: Path, config: ScorerConfig, device: str, manifest: Mapping[str, Any], texts: Texts) -> Readings:
    """Load the scorer, on this device, and let it read every cell. Raises ModelError where it cannot be loaded."""
    raised: list[DecodebenchError] = []
    with guarded(raised.append):
        loaded = load(config.model(device), announce=log.info)
    for error in raised:
        why = one_line(error.__cause__ or error, 300)
        raise ModelError(f"scorer.id={config.id}: could not be loaded; {SCORERS} ({why})") from error
    scorer = {"id": config.id, **asdict(loaded.identity)}
    readings = _read(run_dir, scorer, loaded, places(manifest), texts, _other_tokens)
    return replace(readings, warnings=tuple(f"scorer.id={config.id}: {warning}" for warning in loaded.warnings))


def finish_readings(run_dir: Path, scorer: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> None:
    """Write readings.parquet of what this scorer has read; None: nothing was."""
    if scorer is not None:
        ReadingFiles(run_dir, scorer).finish(places(manifest))


def _read(
    run_dir: Path,
    scorer: Mapping[str, Any],
    loaded: LoadedModel,
    cells: "Mapping[str, Place]",
    texts: Texts,
    tokens: "Callable[[LoadedModel, Place, Sequence[Generation]], list[Item]]",
) -> Readings:
    """Read what the files lack of these cells; each is kept when it is finished."""
    files = ReadingFiles(run_dir, scorer)
    known: dict[str, list[Item]] = {}
    unread: dict[str | None, str] = {}
    for cell, place in cells.items():
        with noted(unread, cell):
            if not texts.get(cell):
                raise StoreError(f"{run_dir}: has no text of the cell {cell} that the manifest names")
            known[cell] = tokens(loaded, place, texts[cell])
    todo = {
        cell: items
        for cell, items in known.items()
        if files.stored(cell) != {(item.prompt_id, item.sample): item.scored_ids for item in items}
    }
    if todo and (why := no_embedding(loaded, str(scorer["id"]))):
        log.warning("scorer.id=%s: %s; its readings have log-probs and entropies, no embeddings", scorer["id"], why)
    total = sum(len(item.ids) for items in todo.values() for item in items)
    title = f"reading {sum(map(len, todo.values()))} texts"
    with (
        fastest_exact_products(loaded.device, loaded.model.dtype),
        logging_redirect_tqdm(),
        tqdm(total=total, unit="tok", desc=title, disable=None) as bar,
    ):
        for cell, items in todo.items():
            with noted(unread, cell):
                found = {_key(r): r for r in read_texts(loaded, items, scorer=str(scorer["id"]), tick=bar.update)}
                files.put(cell, [found[item.prompt_id, item.sample] for item in items])
    return Readings(scorer=scorer, unread=unread)


def _own_tokens(loaded: LoadedModel, place: "Place", texts: Sequence[Generation]) -> list[Item]:
    """What was fed and delivered while decoding, with the EOS or stop string at its end.

    Raises PromptError where that cannot be told.
    """
    prompt_ids = cache(lambda text: prompt_tokens(loaded, text, place.template, place.date))
    others = [g.prompt_id for g in texts if g.prompt_ids_sha256 not in (None, ids_sha256(prompt_ids(g.prompt)))]
    if others:
        raise PromptError(
            f"scorer.id={SELF}: other tokens were fed for the prompts {some(dict.fromkeys(others))} than "
            f"model={place.model} makes of them now, so it cannot read what it wrote; allowed is another scorer"
        )
    return [_item(g, prompt_ids(g.prompt), g.token_ids, len(g.token_ids) - len(g.content_ids)) for g in texts]


def _other_tokens(loaded: LoadedModel, place: "Place", texts: Sequence[Generation]) -> list[Item]:
    """Prompt and text, each by the scorer's own tokenizer. A template of words around the prompt belongs to what
    the text continues; the markup of the generating model's chat template says nothing to another model.
    """
    template = None if place.template == "chat" else place.template
    prompt_ids = cache(lambda text: prompt_tokens(loaded, text, template))
    return [_item(g, prompt_ids(g.prompt), text_tokens(loaded, g.text), 0) for g in texts]


def _item(text: Generation, prompt_ids: tuple[int, ...], token_ids: tuple[int, ...], ending: int) -> Item:
    return Item(
        cell=text.cell,
        prompt_id=text.prompt_id,
        sample=text.sample,
        prompt_ids=prompt_ids,
        token_ids=token_ids,
        ending=ending,
    )


def _key(reading: Reading) -> tuple[str, int]:
    return reading.prompt_id, reading.sample


@dataclass(frozen=True, slots=True)
class Place:
    """What a cell of a manifest says of the prompts of its texts: whose they are, and what is put around them; `date`
    is None without a chat template, and in runs from before it was kept."""

    model: str
    template: str | None
    date: str | None


def places(manifest: Mapping[str, Any]) -> dict[str, Place]:
    """The cells of a manifest that did not fail, and then the references, in its order."""
    failed = {entry["cell"] for entry in manifest["failed"]}
    around = {name: (of.get("template"), of.get("date")) for name, of in manifest["prompts"].items()}
    return {
        entry["id"]: Place(entry["model"], *around.get(entry["prompts"], (None, None)))
        for entry in (*manifest["cells"], *manifest.get("references", ()))
        if entry["id"] not in failed
    }


def by_cell(texts: Iterable[Generation]) -> dict[str, list[Generation]]:
    """Texts by the id of their cell."""
    found: dict[str, list[Generation]] = {}
    for text in texts:
        found.setdefault(text.cell, []).append(text)
    return found


def read_run(run_dir: Path, scorer_id: str, *, dtype: str = "auto") -> None:
    """Let a scorer read the texts and references of a stored run: readings.parquet, and `scorer` in the manifest.

    `scorer_id` is "self" (the model of the manifest is loaded again, and must be the same one), a folder, a .gguf
    file or a hub id. Raises ConfigError, ModelError or StoreError, one line each; where only some cells could not be
    read, these are in the manifest's `unread`.
    """
    config = ScorerConfig(id=scorer_id, dtype=dtype)
    with locked(run_dir):
        manifest = dict(read_manifest(run_dir))
        texts = by_cell(read_records(run_dir / "generations.parquet", Generation))
        texts |= by_cell(read_records(run_dir / "references.parquet", Generation, optional=True))
        configs = [entry["config"] for entry in manifest["cells"]]
        with cpu_threads(configs[0].get("engine", {}).get("threads") if configs else None):
            if config.id == SELF:
                labels = dict.fromkeys(place.model for place in places(manifest).values())
                done = [read_own(run_dir, _load_again(manifest, label), manifest, label, texts) for label in labels]
            else:
                device = configs[0]["model"].get("device", "auto") if configs else "auto"
                done = [read_other(run_dir, config, device, manifest, texts)]
        scorer = next((each.scorer for each in done), None)
        unread = {cell: error for each in done for cell, error in each.unread.items()}
        if unread and unread.keys() >= places(manifest).keys():
            raise ModelError(next(iter(unread.values())))
        finish_readings(run_dir, scorer, manifest)
        listed = [{"cell": cell, "error": error} for cell, error in unread.items()]
        cells = tuple(cell["id"] for cell in manifest["cells"])
        new = [asdict(CellWarning(warning=line, cells=cells)) for each in done for line in each.warnings]
        warnings = [entry for entry in manifest.get("warnings", ()) if not entry["warning"].startswith("scorer.id=")]
        found = {"scorer": scorer, "unread": listed, "warnings": warnings + new}
        write_json(run_dir / "manifest.json", manifest | found)
    for line in dict.fromkeys([*unread.values(), *(entry["warning"] for entry in new)]):
        log.warning("%s", line)


def _load_again(manifest: Mapping[str, Any], label: str) -> LoadedModel:
    """The model that generated, known to be the same."""
    entry = manifest["models"].get(label, {})
    if "config" not in entry:
        raise ConfigError(
            f"scorer.id={SELF}: these texts have no model of their own; allowed is a folder of save_pretrained, a "
            ".gguf file or a hub id"
        )
    loaded = load(typed(ModelConfig, entry["config"], "model"), announce=log.info)
    if other := other_model(entry, asdict(loaded.identity)):
        raise StoreError(
            f"scorer.id={SELF}: model={label} has other {other.parts} now than when it generated these texts "
            f"({other.changes}); allowed is another scorer, or a new run"
        )
    return loaded
