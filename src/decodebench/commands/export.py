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
        "transformers lacks has no such file: the lines call it through model.generate(custom_generate=...).",
        takes="a run folder and a cell",
        examples=["export results/NAME CELL [-o FOLDER] [--texts N]", "export results/mine top_p -o winner"],
    )
    parser.positional("RUN", "the folder of a run")
    parser.positional("CELL", "a cell of it by its strategy, its label or its id")
    parser.flag("-o", "--output", metavar="FOLDER", help="where the file goes (default: RUN/export/<id of the cell>)")
    parser.flag("--texts", metavar="N", help="how many texts a prompt gets, whatever the run had (default: 1)")
    arguments = parser.read(words)
    texts = arguments.texts
    if texts is not None and not re.fullmatch("[1-9][0-9]{0,5}", texts):
        raise ConfigError(f"--texts={texts}: allowed is a number of texts from 1")

    from decodebench.deploy import export_cell

    folder = None if arguments.output is None else Path(arguments.output)
    done = export_cell(Path(arguments.run), arguments.cell, folder, texts=None if texts is None else int(texts))
    if done.file is not None:
        print(f"# wrote {done.file}")
    print(f"# {done.note}")
    print("\n".join(done.lines))
