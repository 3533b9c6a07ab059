"""A cell of a stored run -> the settings of an engine outside, in a folder: settings.json, what else the engine needs,
and translation.json, which says what became of each number."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decodebench.deploy.engines import ENGINES, Asked, Engine, Translation, asked, translate
from decodebench.deploy.exporting import cell_of, write_once
from decodebench.errors import ConfigError, allowed_names, worded
from decodebench.plan import build_strategy
from decodebench.records import Generation
from decodebench.store import read_cell, read_manifest
from decodebench.strategies import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What was written, what of the strategy was not translatable but accepted, and the lines that use it."""

    files: tuple[Path, ...]
    lines: tuple[str, ...]
    notes: tuple[str, ...]
    translation: Translation


def engine_named(name: str) -> Engine:
    """The engine of this name. Raises ConfigError for another one."""
    if name not in ENGINES:
        raise ConfigError(f"--to={name}: {allowed_names(name, ['transformers', *ENGINES])}")
    return ENGINES[name]


def hand_over(
    run_dir: Path, name: str, engine: Engine, folder: Path | None = None, *, texts: int = 1, accept: Sequence[str] = ()
) -> Handed:
    """Write a cell's strategy in the engine's terms into `folder` (None: RUN/export/<cell id>/<engine>).

    `accept` names what may be lost. Raises ConfigError for a cell that is none, a strategy that the engine cannot run,
    a number that is not translatable and not accepted, and an accepted one that is translatable or is not on.
    """
    cell = cell_of(read_manifest(run_dir), name)
    translation = translated(run_dir, cell, engine, texts=texts, accept=accept)
    folder = folder or run_dir / "export" / str(cell["id"]) / engine.name
    written = {
        "settings.json": json.dumps(translation.settings, indent=2, ensure_ascii=False) + "\n",
        "translation.json": json.dumps(as_json(translation), indent=2, ensure_ascii=False) + "\n",
        **engine.files(translation.settings),
    }
    for file, text in written.items():
        write_once(folder / file, text)
    return Handed(
        files=tuple(folder / file for file in written),
        lines=tuple(engine.usage(translation.settings)),
        notes=tuple(engine.notes),
        translation=translation,
    )


def translated(
    run_dir: Path, cell: Mapping[str, Any], engine: Engine, *, texts: int = 1, accept: Sequence[str] = ()
) -> Translation:
    """The strategy of a cell, as the manifest has it, in the engine's terms. Raises ConfigError as `hand_over` does."""
    with worded(f"{run_dir} {cell['id']}: what the manifest says of this cell cannot be used"):
        strategy = build_strategy(cell["config"]["strategy"])
    asks = asked(strategy, texts=texts, longest=_longest(run_dir, str(cell["id"]), strategy))
    translation = translate(engine, asks)
    _refuse(translation, asks, accept)
    return translation


def as_json(translation: Translation) -> list[dict[str, object]]:
    """What became of each number, as translation.json has it."""
    lines = [asdict(line) for line in translation.lines]
    return [
        {"key": "engine", "value": translation.engine.name, "kind": "exact", **_verified(translation.engine)},
        *lines,
    ]


def _verified(engine: Engine) -> dict[str, object]:
    if engine.version is None:
        return {"rule": "from its documentation and sources: not run", "target": None}
    return {"rule": f"verified with {engine.package} {engine.version}", "target": engine.version}


def _longest(run_dir: Path, cell: str, strategy: Strategy) -> int:
    """Tokens of the longest prompt of the run with a text of the largest length, rounded up to a power of two."""
    texts = read_cell(run_dir / "generations.parquet", Generation, cell)
    longest = max((text.computed_tokens for text in texts), default=0) + (
        strategy.max_new_tokens or strategy.max_total_tokens or 0
    )
    return 1 << max(longest - 1, 1).bit_length()


def _refuse(translation: Translation, asks: Asked, accept: Sequence[str]) -> None:
    """Raise ConfigError for what is lost without being accepted, and for what is accepted and not lost."""
    missing = {line.key: line for line in translation.missing}
    if "strategy" in missing:
        why, kind = missing["strategy"].rule, type(asks.strategy).__name__
        raise ConfigError(
            f"--to={translation.engine.name}: strategy={kind} is not translatable ({why}); allowed is an engine that "
            f"has all: {_able(asks)}"
        )
    for key in accept:
        if key not in missing:
            raise ConfigError(
                f"--accept={key}: {translation.engine.name} can be told this, or the cell has none; allowed is what is "
                f"not translatable: {', '.join(missing) or 'nothing'}"
            )
    lost = next((line for key, line in missing.items() if key not in accept), None)
    if lost is not None:
        raise ConfigError(
            f"--to={translation.engine.name}: {lost.key}={lost.value} is not translatable ({lost.rule}); allowed is "
            f"--accept {lost.key}, which leaves it out, or an engine that has all: {_able(asks)}"
        )


def _able(asks: Asked) -> str:
    """The engines that decode so with nothing left out, in words."""
    return ", ".join(engine.name for engine in ENGINES.values() if _can(engine, asks)) or "there is none"


def _can(engine: Engine, asks: Asked) -> bool:
    try:
        return not translate(engine, asks).missing
    except ConfigError:  # more texts than it gives
        return False
