"""A Hydra launch: composing the configuration, running it, and wording what Hydra finds wrong with it."""

import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import yaml
from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from decodebench.commands.overrides import readable, with_quotes
from decodebench.errors import ConfigError, DecodebenchError, allowed_names, one_line
from decodebench.plan import KEYS, TEXT_KEYS, conf_dir

_THEIRS = ("hydra", "omegaconf", "yaml")
WITH_M = "launch it with -m (python -m decodebench -m ...)"


def launch(arguments: Sequence[str]) -> None:
    """Run Hydra over the arguments. Raises ConfigError, one line, where they cannot be composed."""
    version.setbase("1.3")
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(list(arguments))
    _check_flags(args, arguments)
    folders = _own_folders(args.config_dir, args.overrides)
    _refuse_hidden(folders)
    args.overrides = readable(args.overrides, [conf_dir(), *folders])
    errors: list[DecodebenchError] = []

    def task(cfg: DictConfig) -> None:
        """One job. Hydra prints the overrides of one that raises; a plain run has no need of that line."""
        try:
            run_job(cfg)
        except (DecodebenchError, OmegaConfBaseException) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the job of a sweep may be in another process
            errors.append(error if isinstance(error, DecodebenchError) else ConfigError(explain(error)))

    with _command_line(arguments):
        try:
            _run_hydra(args, parser, task, config_path=str(conf_dir()), config_name="config")
        except SystemExit as left:
            raise SystemExit(3 if left.code == 1 else left.code) from None  # 1 is for runs; Hydra has said why
        except Exception as error:
            if _is_theirs(error):
                raise ConfigError(explain(error)) from error
            raise
    if errors:
        raise errors[0]


def run_job(cfg: DictConfig) -> None:
    """A plain run, or one job of a sweep under a launcher that runs them one after the other."""
    from decodebench.choosing import carry_out
    from decodebench.plan import job_config

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.RUN and getattr(hydra_cfg.sweeper, "grids", None):
        experiment = hydra_cfg.runtime.choices.get("experiment")
        raise ConfigError(f"{'grids' if experiment is None else f'experiment={experiment}'}: is a grid; {WITH_M}")
    carry_out([job_config(cfg)], adds=hydra_cfg.mode == RunMode.MULTIRUN)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; allowed are key=value and the flags that --help names")


def _check_flags(args: Namespace, arguments: Sequence[str]) -> None:
    """Raise ConfigError for flags that Hydra fails on, or of which it takes one and leaves the other."""
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve: has no effect alone; allowed is --cfg job --resolve")
    if args.package is not None and not args.cfg:
        raise ConfigError(f"--package={args.package}: has no effect alone; allowed is --cfg job --package GROUP")
    what = {"--run": args.run, "--multirun": args.multirun, "--cfg": args.cfg, "--info": args.info}
    given = [flag for flag, value in (what | {"--shell-completion": args.shell_completion}).items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' '.join(given)}: allowed is one of them")
    flags = [word.split("=")[0] for word in arguments if word.startswith("-")]
    for flag in flags:
        if flags.count(flag) > 1:
            raise ConfigError(f"{flag}: is given twice; allowed is once")


def _own_folders(config_dir: str | None, overrides: Sequence[str]) -> list[Path]:
    """The folders of a user's configuration."""
    paths = " ".join(one for one in overrides if one.startswith("hydra.searchpath="))
    return [Path(folder) for folder in (*filter(None, [config_dir]), *re.findall(r"file://([^,\]'\"]+)", paths))]


def _refuse_hidden(folders: Sequence[Path]) -> None:
    """Raise ConfigError for a file of a user's folder that Hydra would not read: it looks in conf/ first."""
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ConfigError(f"{path}: is no UTF-8 text; save it as UTF-8") from error
            own = conf_dir() / path.relative_to(folder)
            if own.is_file() and own.read_bytes() != path.read_bytes():
                raise ConfigError(
                    f"{path}: has the name of a file of decodebench, which comes first; allowed is another name"
                )


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """The arguments as sys.argv, for the manifest, and errors let through to the one place that words them."""
    argv, shown = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [argv[0], *arguments], "1"
    try:
        yield
    finally:
        sys.argv = argv
        if shown is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = shown


def _is_theirs(error: Exception) -> bool:
    """Whether Hydra, or what reads yaml for it, complains of its input, for which it often has no exception."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    module = "" if last is None else str(last.tb_frame.f_globals.get("__name__"))
    return isinstance(error, HydraException | OmegaConfBaseException) or module.split(".")[0] in _THEIRS


def explain(error: Exception) -> str:
    """One line for an error of Hydra or OmegaConf: key, value, what is allowed, and the nearest name."""
    text = one_line(error)
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"{mark.name}: line {mark.line + 1}: not yaml: {error.problem} (column {mark.column + 1})"
    if isinstance(error, OverrideParseException):
        override, why = str(error.override).removeprefix("++"), text.split(" See https")[0]
        return f"{override}: {why}; allowed is key=value (quote a value with signs in it)"
    if found := re.search(r"Could not find '([^']+)/([^'/]*)'(?: Available options in '\1': (.*?) Config)?", text):
        group, choice, choices = found.groups()
        return f"{group}={choice}: unknown; {allowed_names(choice, (choices or '').split())}"
    if found := re.search(r"To append to your config use \+((\w+)=.*)", text):
        return f"{found[1]}: unknown key; {allowed_names(found[2], (*KEYS, 'experiment'))}"
    if found := re.search(r"Ambiguous value for argument '(.+?)' 1\.|Sweep parameters '(.+?)' requires", text):
        word = (found[1] or found[2]).removeprefix("++").replace("'", "")
        quotes = f"; {with_quotes(word)}" if word.split("=")[0] in TEXT_KEYS else ""
        return f"{word}: several values are a sweep; {WITH_M}{quotes}"
    return one_line(f"{text}: {error.__cause__ or ''}").strip(": ")
