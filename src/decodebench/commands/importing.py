"""`import SETTINGS --from ENGINE`: what is served today, as a strategy of the benchmark."""

from collections.abc import Sequence
from pathlib import Path

from decodebench.commands.arguments import Arguments
from decodebench.errors import ConfigError


def import_(words: Sequence[str]) -> None:
    """Print, or write, the yaml of the strategy that decodes as an engine does with a settings file or request."""
    parser = Arguments(
        "import",
        does="Make a strategy's yaml from a settings file or request of an engine (JSON; of Ollama a Modelfile, too).\n"
        "What it leaves out is the engine's own default (docs/engines.md). Use it with --config-dir FOLDER, where\n"
        "FOLDER/strategy has the file.",
        takes="a settings file",
        examples=[
            "import SETTINGS --from ENGINE [-o FILE]",
            "import request.json --from llama_cpp -o my_conf/strategy/mine.yaml",
        ],
    )
    parser.positional("SETTINGS", "a file of settings, or the body of a request")
    parser.flag("--from", metavar="ENGINE", help="llama_cpp, ollama, vllm, mlx_lm, ...")
    parser.flag("-o", "--output", metavar="FILE", help="where the yaml goes (default: it is printed)")
    arguments = parser.read(words)
    engine = getattr(arguments, "from")
    if engine is None:
        raise ConfigError("import --from: must be given: the engine whose settings these are (see import --help)")
    output = None if arguments.output is None else Path(arguments.output)
    if output is not None and output.suffix != ".yaml":
        raise ConfigError(f"-o {output}: allowed is a file that ends with .yaml")

    from decodebench.deploy import import_settings

    name = "imported" if output is None else output.stem
    done = import_settings(Path(arguments.settings), engine, name, output)
    for note in done.notes:
        print(f"# {note}")
    if output is None:
        print(done.text, end="")
        return
    print(f"# wrote {output}: --config-dir {output.parent.parent} strategy={name}")
