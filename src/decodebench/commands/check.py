"""`check RUN --against BASELINE`: has decoding become worse? The exit code says so."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from decodebench.commands.arguments import Arguments
from decodebench.errors import ConfigError

if TYPE_CHECKING:
    from decodebench.regression import Baseline, Check, Rule


def check(words: Sequence[str]) -> int:
    """Hold a run against a baseline, show and write what was found; the exit code is 0, 1 (a regression) or 2 (cannot
    be compared)."""
    arguments = _parser().read(words)
    _refuse_what_does_not_go_together(arguments)

    from decodebench.regression import (
        check_sides,
        check_text,
        github_annotations,
        read_baseline,
        read_rules,
        read_sides,
    )

    rules = read_rules(None if arguments.rules is None else Path(arguments.rules))
    baseline = read_baseline(Path(arguments.against))
    run_dir = _run_again(arguments, baseline, rules) if arguments.again else Path(arguments.run)
    sides = read_sides(run_dir, baseline)
    found = check_sides(sides, rules, run=str(run_dir), baseline=arguments.against)
    if arguments.explain is not None and not found.incomparable:
        from decodebench.regression import explain, explanation_text

        print(explanation_text(explain(sides.baseline, sides.run, rules, *arguments.explain)), end="\n\n")
    _write(arguments, found)
    print(check_text(found))
    if arguments.github:
        print(github_annotations(found))
    return found.exit_code


def _parser() -> Arguments:
    parser = Arguments(
        "check",
        usage="RUN --against BASELINE [--flag VALUE ...]",
        does="Hold a run against the baseline of an earlier one. What draws nothing must give the same tokens,\n"
        "metrics may get worse within a margin, and limits hold. Exit code 0: no regression, 1: a regression,\n"
        "2: the two cannot be compared, 3: bad input.",
        takes="a run folder, or --run, and --against BASELINE",
        examples=(
            "check results/NAME --against baselines/NAME",
            "check --run --against baselines/NAME --junit check.xml --markdown check.md",
            "check results/mine --against baselines/mine --explain top_p surprisal",
        ),
    )
    parser.positional("RUN", "the folder of a run", optional=True)
    parser.flag("--against", metavar="BASELINE", help="the file that `baseline RUN` wrote")
    parser.flag("--rules", metavar="FILE", help="a yaml file of rules (default: those of docs/regression.md)")
    parser.switch("--run", "run what the baseline was made of again, and check that", dest="again")
    parser.flag("--name", metavar="NAME", help="the name of that run (default: <name of the baseline>-check)")
    parser.flag(
        "--explain",
        metavar=("CELL", "METRIC"),
        help="also show the prompts of a strategy that moved most in a metric (tokens: whose texts differ)",
    )
    parser.flag("--markdown", metavar="FILE", help="write a page for a pull request")
    parser.flag("--junit", metavar="FILE", help="write JUnit XML")
    parser.flag("--json", metavar="FILE", help="write everything as JSON")
    parser.switch("--github", "print annotations for GitHub Actions", dest="github")
    return parser


def _refuse_what_does_not_go_together(arguments: Namespace) -> None:
    """Raise ConfigError where there is nothing to check, or twice, or a flag has no effect."""
    if arguments.against is None:
        raise ConfigError("check: needs --against BASELINE (see check --help)")
    if arguments.again and arguments.run is not None:
        raise ConfigError(f"check --run: makes a run of its own; allowed is no run folder beside it ({arguments.run})")
    if not arguments.again and arguments.run is None:
        raise ConfigError("check: takes a run folder, or --run, as in: check results/NAME --against baselines/NAME")
    if arguments.name is not None:
        if not arguments.again:
            raise ConfigError(f"--name={arguments.name}: has no effect without --run")
        if arguments.name in ("", ".", "..") or set("/\\") & set(arguments.name):
            raise ConfigError(f"--name={arguments.name}: allowed is one folder name, created below results")


def _run_again(arguments: Namespace, baseline: "Baseline", rules: "Sequence[Rule]") -> Path:
    """Run the baseline's own configuration; timed where a rule is about times."""
    from decodebench.metrics import TIMING_METRICS
    from decodebench.regression import refuse_rules
    from decodebench.run import rerun

    refuse_rules(rules, baseline)
    timed = {metric.name for metric in TIMING_METRICS}
    name = f"{Path(arguments.against).stem}-check" if arguments.name is None else arguments.name
    return rerun(
        baseline.configs,
        results="results",
        name=name,
        seeds=None,
        timed=any(rule.metric in timed for rule in rules),
    )


def _write(arguments: Namespace, found: "Check") -> None:
    """The files that were asked for."""
    from decodebench.regression import check_json, check_markdown, junit_xml
    from decodebench.store import write_whole

    for name, render in (("markdown", check_markdown), ("junit", junit_xml), ("json", check_json)):
        if (place := getattr(arguments, name)) is not None:
            write_whole(Path(place), partial(_put, render(found)))


def _put(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
