"""A cell of a stored run -> what decodes so elsewhere: generation_config.json, or the lines that call our engine."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from decodebench.deploy.generate import exports, generation_config
from decodebench.errors import ConfigError, StoreError, allowed_names, worded
from decodebench.plan import build_strategy
from decodebench.store import labels, read_manifest
from decodebench.strategies import Assisted, Strategy

FILE = "generation_config.json"
_SECOND = "AutoModelForCausalLM.from_pretrained({place!r}, dtype=model.dtype).to(model.device)"
"""A model beside the user's own: a draft, an amateur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What a user runs: `lines` of Python over their own `model`, `tokenizer` and `inputs`, and the file they need."""

    lines: tuple[str, ...]
    file: Path | None
    note: str


def export_cell(run_dir: Path, name: str, folder: Path | None = None, *, texts: int | None = None) -> Export:
    """Export a cell of a run by its id, its label or its strategy; a generation_config.json goes into `folder`.

    Without a folder it goes into RUN/export/<cell id>. `texts` is how many are returned for each prompt, whatever the
    run did (None: one, or as many as the strategy's definition says). Raises ConfigError for a name that no cell or
    several have, for a cell that failed, for a number of texts that the strategy does not return, and where another
    file is in the way.
    """
    cell = cell_of(read_manifest(run_dir), name)
    with worded(f"export {run_dir} {name}: what the manifest says of this cell cannot be used"):
        return _exported(cell, run_dir, name, folder, texts)


def _exported(cell: Mapping[str, Any], run_dir: Path, name: str, folder: Path | None, texts: int | None) -> Export:
    known = cell.get("generation_config")
    if not known:
        raise ConfigError(f"export {run_dir} {name}: this cell was not decoded; allowed is one that did not fail")
    node = cell["config"]["strategy"]
    eos_ids = tuple(known["eos_token_id"] or ())
    strategy = replace(build_strategy(node), eos=list(eos_ids) or "none")
    before = strategy.samples * strategy.returns
    strategy, returned = _returning(strategy, texts)
    note = _note(cell, returned, before) + _ending_note(strategy)
    if not _fits_a_file(strategy):
        if folder is not None:
            raise ConfigError(
                f"-o {folder}: has no effect, no GenerationConfig says {cell['strategy']}; allowed is no -o"
            )
        return Export(lines=_calling(strategy, str(node["_target_"]), cell["seed"], known), file=None, note=note)
    folder = folder or run_dir / "export" / str(cell["id"])
    # What is known has the limit of one prompt.
    lengths = {"max_new_tokens": strategy.max_new_tokens, "max_length": strategy.max_total_tokens}
    changes = {**lengths, "num_return_sequences": returned}
    if not known["do_sample"]:
        changes["top_k"] = 50  # transformers' own default: not read, and the only one that strict validation allows
    if isinstance(strategy, Assisted):
        changes["stop_strings"] = None  # `generate` would hand them to the draft, without the tokenizer that they need
    settings = generation_config({**known, **changes})
    write_once(folder / FILE, settings.to_json_string(use_diff=False, ignore_metadata=True))
    return Export(lines=_loading(strategy, folder), file=folder / FILE, note=note)


def cell_of(manifest: Mapping[str, Any], name: str, command: str = "export") -> Mapping[str, Any]:
    """The one cell with this id, label or strategy. Raises ConfigError, in the name of a command."""
    cells: dict[str, Mapping[str, Any]] = {str(cell["id"]): cell for cell in manifest["cells"]}
    label_of = labels(manifest)
    found = [cell for key, cell in cells.items() if name in (key, label_of[key])]
    found = found or [cell for cell in cells.values() if cell["strategy"] == name]
    if not found:
        raise ConfigError(f"{command} {name}: no such cell; {allowed_names(name, [*label_of.values(), *cells])}")
    if len(found) > 1:
        ids = ", ".join(f"{cell['id']} ({label_of[cell['id']]})" for cell in found)
        raise ConfigError(f"{command} {name}: names {len(found)} cells; allowed is one of {ids}")
    return found[0]


def _returning(strategy: Strategy, texts: int | None) -> tuple[Strategy, int]:
    """The strategy with so many texts for each prompt, and how many; a stochastic beam has as many as beams."""
    wanted = 1 if texts is None else texts
    changes: dict[str, Any] = {f.name: wanted for f in fields(strategy) if f.name == "num_return_sequences"}
    strategy = replace(strategy, **changes)
    here = strategy.samples * strategy.returns
    if exports(strategy):  # what drafts draws its samples one after the other, which `generate` does not
        here = strategy.generation_config().get("num_return_sequences", 1)
    if texts not in (None, here):
        raise ConfigError(f"--texts={texts}: allowed is {here}, this strategy gives no other number")
    return strategy, here


def _fits_a_file(strategy: Strategy) -> bool:
    """Whether a GenerationConfig says all of it; there, a limit of new tokens hides one of all tokens."""
    return exports(strategy) and (strategy.max_total_tokens is None or strategy.max_new_tokens is None)


def _loading(strategy: Strategy, folder: Path) -> tuple[str, ...]:
    """The lines that use the file, with the second model of a strategy that drafts with one."""
    config = f"GenerationConfig.from_pretrained({str(folder)!r})"
    names, draft, named = ["GenerationConfig"], [], []
    if isinstance(strategy, Assisted) and strategy.draft is not None:
        names.insert(0, "AutoModelForCausalLM")
        draft = [f"draft = {_SECOND.format(place=strategy.draft)}"]
        draft.append(f"draft.generation_config = {config}")  # `generate` reads the size of a draft from there
        named.append("assistant_model=draft")
    if strategy.stop and isinstance(strategy, Assisted):
        names.append("StopStringCriteria")
        named.append(f"stopping_criteria=[StopStringCriteria(tokenizer, {list(strategy.stop)!r})]")
    elif strategy.stop:
        named.append("tokenizer=tokenizer")
    return (
        f"from transformers import {', '.join(names)}",
        f"model.generation_config = {config}",
        *draft,
        f"out = model.generate({', '.join(['**inputs', *named])})",
    )


def _calling(strategy: Strategy, target: str, seed: int, known: Mapping[str, Any]) -> tuple[str, ...]:
    """The lines that call a strategy through `custom_generate`: its own numbers, the rules that are in use, and the ids
    that the model's configuration masks."""
    module, _, kind = target.rpartition(".")
    rules = {f.name: f.default for f in fields(Strategy)}
    values = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    told = {name: value for name, value in values.items() if name not in rules or value != rules[name]}
    numbers = ", ".join(f"{name}={value!r}" for name, value in told.items())
    second: tuple[str, ...] = ()
    told_more = f"seed={seed}"
    if strategy.second_model:
        second = (
            "from transformers import AutoModelForCausalLM",
            f"second = {_SECOND.format(place=strategy.second_model)}",
        )
        told_more += ", second_model=second"
    masked = f", suppress_tokens={known['suppress_tokens']!r}" if known.get("suppress_tokens") else ""
    ours = f"custom_generate({kind}({numbers}), tokenizer, {told_more})"
    return (
        "from decodebench.deploy.generate import custom_generate",
        f"from {module} import {kind}",
        *second,
        f"out = model.generate(**inputs, custom_generate={ours}{masked})",
    )


def _note(cell: Mapping[str, Any], texts: int, before: int) -> str:
    template = cell["config"]["prompts"].get("template")
    prepared = "" if template is None else f"; the run put its prompts through prompts.template={template!r}"
    returned = "" if texts == before else f"; one prompt gives {texts} of the {before} texts of the run"
    return f'inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left"){prepared}{returned}'


def _ending_note(strategy: Strategy) -> str:
    """What of stop strings is left to the user: what comes out are tokens."""
    if not strategy.stop:
        return ""
    place = "behind" if strategy.stop_keep else "in front of"
    return f"; out has the stop string, cut each text {place} its first one of {list(strategy.stop)!r}"


def write_once(path: Path, text: str) -> None:
    """Write a file unless it is there already. Raises ConfigError for one that says something else."""
    try:
        if path.exists():
            if path.read_text(encoding="utf-8") != text:
                raise ConfigError(f"{path}: is there, and says something else; allowed is a new folder (-o FOLDER)")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be written ({error})") from error
