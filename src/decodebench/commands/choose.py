"""`choose RUN`: which strategy of a stored run to take, by what half of its prompts say of it."""

from collections.abc import Sequence
from pathlib import Path

from decodebench.commands.arguments import Arguments
from decodebench.commands.report import show


def choose(words: Sequence[str]) -> None:
    """Choose among the strategies of a stored run: one half of the prompts chooses, the other reports."""
    parser = Arguments(
        "choose",
        does="Choose among the strategies of a stored run. One half of its prompts takes the best setting of each\n"
        "strategy, the other half says how good these are, which of them cannot be told apart, and which one to take:\n"
        "the cheapest of these. choice.json in the run's folder holds all of it, and the report begins with it.",
        takes="a run folder",
        examples=(
            "choose results/NAME",
            "choose results/mine --by diversity --require 'loop_share<=0.02'",
            "choose results/mine --export winner",
        ),
    )
    parser.positional("RUN", "the folder of a run")
    parser.flag("--by", metavar="METRIC", help="what to choose by (default: task, what the task says of the texts)")
    parser.flag("--cost", metavar="METRIC", help="what the cheapest is found by (default: computed_tokens)")
    parser.flag(
        "--require", metavar="BOUNDS", help="what a setting must meet, with commas between: 'empty_share<=0.01'"
    )
    parser.flag("--split", metavar="HOW", help="half, or none: the same prompts choose and report (default: half)")
    parser.flag("--export", metavar="FOLDER", help="write there what decodes as the recommended strategy does")
    arguments = parser.read(words)
    run_dir = Path(arguments.run)

    from decodebench.choosing import choose_stored, configured

    require = None if arguments.require is None else [bound.strip() for bound in arguments.require.split(",")]
    config = configured(run_dir, by=arguments.by, cost=arguments.cost, require=require, split=arguments.split)
    choice = choose_stored(run_dir, config)
    show(run_dir)
    if arguments.export is not None:
        from decodebench.commands.export import export

        export([arguments.run, choice.cell, "-o", arguments.export])
