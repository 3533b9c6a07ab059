"""`score RUN`, `score FILE`: the metrics of a stored run, or of the texts of a file, computed again."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from decodebench.commands.arguments import Arguments
from decodebench.commands.report import show
from decodebench.commands.tasks import task_of_run, task_overrides
from decodebench.errors import ConfigError, allowed_names

_UNITS = "tokens, characters, jamo, words or morphemes"
_COLUMNS = {
    "id": "which prompt a text follows (default: prompt_id)",
    "text": "the texts",
    "reference": "what a person wrote after the prompt",
    "strategy": "what made a text (without this column: the name of the file)",
    "prompt": "what a text follows",
    "sample": "the number of a text among those of its prompt and strategy, from 0 (without this column: their order)",
}
"""The fields of `given.Columns`."""
_OF_A_FILE = ("name", "results", *(f"{name}_column" for name in _COLUMNS))


def score(words: Sequence[str]) -> None:
    """Compute the metrics of a stored run again, or those of a file's texts, and render them."""
    arguments = _parser().read(words)
    target = Path(getattr(arguments, "run|file"))
    changes = _changes(arguments)
    task_words = task_overrides(arguments.overrides)
    if target.is_file() or (target.suffix.lower() in _suffixes() and not target.is_dir()):
        run_dir = _run_of_file(target, arguments, changes, words)
    else:
        run_dir = target
        _check_run(run_dir, arguments, changes)
    if arguments.scorer is not None:
        from decodebench.reading import read_run

        read_run(run_dir, arguments.scorer)
    from decodebench.scoring import judge_run, score_run

    judge_run(run_dir, task_of_run(run_dir, task_words))
    score_run(run_dir, **changes)
    show(run_dir)


def _parser() -> Arguments:
    parser = Arguments(
        "score",
        usage="RUN|FILE [task=NAME task.KEY=VALUE ...] [--flag VALUE ...]",
        does="Compute the metrics of a stored run again, without its model, and render it. Or score the texts of a\n"
        "file that were made elsewhere (.jsonl, .json, .csv, .tsv, .parquet; a row has a prompt_id and a text): they\n"
        "become a run folder, results/NAME, which report and score take from then on.",
        takes="the path of a run folder or of a file of texts",
        examples=(
            "score results/NAME",
            "score results/mine --unit words --against greedy",
            "score results/mine task=contains task.extract=first_line",
            "score results/mine --rank-by diversity,distinct_2 --leading 64",
            "score published.jsonl --unit word --compat simctg --name published",
            "score texts.csv --unit characters --id-column article --text-column continuation",
        ),
    )
    parser.positional("RUN|FILE", "the folder of a run, or a file of texts")
    parser.overrides("task.KEY=VALUE", "judge the texts so, and not as the run was told: the keys of conf/task")
    parser.flag("--unit", metavar="UNIT", help=f"what is counted: {_UNITS} (of a run: its own; a file must be told)")
    parser.flag("--compat", metavar="SCRIPT", help="count n-grams as a published script did: simctg")
    parser.flag("--leading", metavar="N", help="measure repetition also in the first N units of each text (0: not)")
    parser.flag("--against", metavar="STRATEGY", help="the strategy that the others are compared with")
    parser.flag("--rank-by", metavar="METRICS", help="the metrics of the ranking, with commas between them")
    parser.flag("--scorer", metavar="MODEL", help="read the texts with this model first (self: that of the run)")
    of_a_file = "for a file of texts"
    parser.flag("--name", metavar="NAME", help="the name of its run (default: that of the file)", group=of_a_file)
    parser.flag("--results", metavar="FOLDER", help="where its run folder goes (default: results)", group=of_a_file)
    for name, meaning in _COLUMNS.items():
        parser.flag(f"--{name}-column", metavar="COLUMN", help=meaning, group=of_a_file)
    return parser


def _changes(arguments: Namespace) -> dict[str, Any]:
    """What is to be scored otherwise than the run says, by key of conf/metrics. Raises ConfigError."""
    from decodebench.metrics import COMPATS, unit_of

    found: dict[str, Any] = {}
    if arguments.unit is not None:
        found["unit"] = unit_of(arguments.unit, "--unit")
    if arguments.compat is not None:
        if arguments.compat not in COMPATS:
            raise ConfigError(f"--compat={arguments.compat}: {allowed_names(arguments.compat, COMPATS)}")
        found["compat"] = arguments.compat
    if arguments.leading is not None:
        if not (arguments.leading.isascii() and arguments.leading.isdigit() and len(arguments.leading) < 10):
            raise ConfigError(f"--leading={arguments.leading}: allowed is a number of units, or 0 for none")
        found["leading"] = int(arguments.leading)
    if arguments.against is not None:
        found["against"] = arguments.against
    if arguments.rank_by is not None:
        found["rank_by"] = [name.strip() for name in arguments.rank_by.split(",")]
        if not all(found["rank_by"]):
            raise ConfigError(f"--rank-by={arguments.rank_by}: allowed are names of metrics with commas between them")
    return found


def _suffixes() -> tuple[str, ...]:
    from decodebench.given import SUFFIXES

    return SUFFIXES


def _check_run(run_dir: Path, arguments: Namespace, changes: dict[str, Any]) -> None:
    """Refuse flags that a run folder has no use for, and what the texts of a file do not have."""
    from decodebench.store import read_manifest

    manifest = read_manifest(run_dir)
    for name in _OF_A_FILE:
        if (value := getattr(arguments, name)) is not None:
            flag = f"--{name.replace('_', '-')}={value}"
            raise ConfigError(f"{flag}: has no effect, {run_dir} is a run folder; it belongs to a file of texts")
    if "source" in manifest:
        _refuse_a_model(run_dir, changes.get("unit"), arguments.scorer)


def _run_of_file(path: Path, arguments: Namespace, changes: dict[str, Any], words: Sequence[str]) -> Path:
    """Read a file of texts, and write it as a run folder; nothing is written where anything is wrong."""
    from decodebench.given import Columns, read, write
    from decodebench.metrics import MetricsConfig, cut
    from decodebench.store import command_line

    given = read(path, Columns(**{field: getattr(arguments, f"{field}_column") for field in _COLUMNS}))
    if "unit" not in changes:
        raise ConfigError(
            f"{path}: --unit must be given, a text is not split by a rule that is not named; {_others(None)}"
        )
    _refuse_a_model(path, changes["unit"], arguments.scorer)
    name = path.stem if arguments.name is None else arguments.name
    results = Path("results" if arguments.results is None else arguments.results)
    if name in ("", ".", "..") or set("/\\") & set(name):
        raise ConfigError(f"--name={name}: allowed is one folder name, created below --results={results}")
    against = changes.get("against")
    if against is not None and against not in given.strategies:
        raise ConfigError(f"--against={against}: {allowed_names(against, given.strategies)}")
    cut(given.texts[:1], changes["unit"])  # which may need a package that is not there
    write(given, results / name, asdict(MetricsConfig(**changes)), command_line(["score", *words]))
    return results / name


def _refuse_a_model(path: Path, unit: str | None, scorer: str | None) -> None:
    """Texts of a file have no tokens, and no model that made them."""
    if unit == "tokens":
        raise ConfigError(f"--unit=tokens: the texts of {path} were given without tokens; {_others(unit)}")
    if scorer == "self":
        raise ConfigError(f"--scorer=self: the texts of {path} have no model; allowed: a folder, a .gguf or a hub id")


def _others(unit: str | None) -> str:
    """What a text without tokens can be cut into."""
    from decodebench.metrics import UNITS

    return allowed_names(unit or "", [other for other in UNITS if other != "tokens"])
