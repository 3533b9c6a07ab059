"""`export RUN CELL`: what decodes as a cell of a stored run does, elsewhere."""

import re
from collections.abc import Sequence
from pathlib import Path

from decodebench.commands.arguments import Arguments
from decodebench.errors import ConfigError


def export(words: Sequence[str]) -> None:
    """Write the generation_config.json of a cell, or print the lines that call it through `custom_generate`."""
    parser = Arguments(
        "export",
        does="Write the generation_config.json of a cell, with every field set, and print the lines that use it. What\n"
        "transformers lacks has no such file: the lines call it through model.generate(custom_generate=...).\n"
        "With --to ENGINE the settings of another engine: settings.json, and translation.json, which says of each\n"
        "number whether it is exact, rewritten, or not translatable (docs/engines.md).",
        takes="a run folder and a cell",
        examples=[
            "export results/NAME CELL [-o FOLDER] [--texts N]",
            "export results/mine top_p -o winner",
            "export results/mine top_p --to llama_cpp",
        ],
    )
    parser.positional("RUN", "the folder of a run")
    parser.positional("CELL", "a cell of it by its strategy, its label or its id")
    parser.flag("-o", "--output", metavar="FOLDER", help="where the file goes (default: RUN/export/<id of the cell>)")
    parser.flag("--texts", metavar="N", help="how many texts a prompt gets, whatever the run had (default: 1)")
    parser.flag("--to", metavar="ENGINE", help="llama_cpp, ollama, vllm, mlx_lm, ... (default: transformers)")
    parser.flag("--accept", metavar="KEYS", help="numbers that may be lost, with commas between")
    arguments = parser.read(words)
    texts = arguments.texts
    if texts is not None and not re.fullmatch("[1-9][0-9]{0,5}", texts):
        raise ConfigError(f"--texts={texts}: allowed is a number of texts from 1")

    from decodebench.deploy import export_cell

    folder = None if arguments.output is None else Path(arguments.output)
    if arguments.to not in (None, "transformers"):
        _hand_over(Path(arguments.run), arguments.cell, arguments.to, folder, int(texts or 1), arguments.accept)
        return
    if arguments.accept is not None:
        raise ConfigError(f"--accept={arguments.accept}: transformers loses nothing; allowed is with --to ENGINE")
    done = export_cell(Path(arguments.run), arguments.cell, folder, texts=None if texts is None else int(texts))
    if done.file is not None:
        print(f"# wrote {done.file}")
    print(f"# {done.note}")
    print("\n".join(done.lines))


def _hand_over(run_dir: Path, cell: str, to: str, folder: Path | None, texts: int, accept: str | None) -> None:
    """Write the settings of another engine, and say what became of each number."""
    from decodebench.deploy import engine_named, hand_over

    keys = [key.strip() for key in (accept or "").split(",") if key.strip()]
    done = hand_over(run_dir, cell, engine_named(to), folder, texts=texts, accept=keys)
    for file in done.files:
        print(f"# wrote {file}")
    for line in done.translation.lines:
        if line.kind != "exact":
            print(f"# {line.kind}: {line.key}={line.value} ({line.rule})")
    for note in done.notes:
        print(f"# {note}")
    print("\n".join(done.lines))
