"""A Hydra launch: composing the configuration, running it, and wording what Hydra finds wrong with it."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from decodebench.errors import ConfigError, DecodebenchError, allowed_names, one_line
from decodebench.plan import KEYS, conf_dir

WITH_M = "launch it with -m (python -m decodebench -m ...)"


def launch(arguments: Sequence[str]) -> None:
    """Run Hydra over the arguments. Raises ConfigError, one line, where they cannot be composed."""
    version.setbase("1.3")
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(list(arguments))
    args.overrides = [_let_through(override) for override in args.overrides]
    _refuse_hidden(args.config_dir, args.overrides)
    errors: list[DecodebenchError] = []

    def task(cfg: DictConfig) -> None:
        """One job. Hydra prints the overrides of one that raises; a plain run has no need of that line."""
        try:
            run_job(cfg)
        except DecodebenchError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the job of a sweep may be in another process
            errors.append(error)

    with _command_line(arguments):
        try:
            _run_hydra(args, parser, task, config_path=str(conf_dir()), config_name="config")
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error
    if errors:
        raise errors[0]


def run_job(cfg: DictConfig) -> None:
    """A plain run, or one job of a sweep under a launcher that runs them one after the other."""
    from decodebench.plan import job_config, plan
    from decodebench.run import execute

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.RUN and hydra_cfg.sweeper.get("grids"):
        raise ConfigError(f"experiment={hydra_cfg.runtime.choices.get('experiment')}: is a grid; {WITH_M}")
    execute(plan([job_config(cfg)]), adds=hydra_cfg.mode == RunMode.MULTIRUN)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; allowed are key=value and the flags that --help names")


def _let_through(override: str) -> str:
    """`++` before a dotted key: Hydra then takes any key, and `job_config` says what is wrong with it.

    It knows the strategy that each job of a sweep gives the key to; Hydra would look at the default strategy.
    """
    if override.startswith("="):
        _refuse(f"{override}: has no key")
    return re.sub(r"^\+?(?!hydra\.)(?=[\w-]+\.[^=]*=)", "++", override)


def _refuse_hidden(config_dir: str | None, overrides: Sequence[str]) -> None:
    """Raise ConfigError for a file of a user's folder that Hydra would not read: it looks in conf/ first."""
    paths = " ".join(one for one in overrides if one.startswith("hydra.searchpath="))
    for folder in map(Path, [*filter(None, [config_dir]), *re.findall(r"file://([^,\]'\"]+)", paths)]):
        for path in sorted(folder.rglob("*.yaml")):
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


def explain(error: Exception) -> str:
    """One line for an error of Hydra or OmegaConf: key, value, what is allowed, and the nearest name."""
    text = one_line(error)
    if isinstance(error, OverrideParseException):
        override, why = str(error.override).removeprefix("++"), text.split(" See https")[0]
        return f"{override}: {why}; allowed is key=value (quote a value with signs in it)"
    if found := re.search(r"Could not find '([^']+)/([^'/]*)'(?: Available options in '\1': (.*?) Config)?", text):
        group, choice, choices = found.groups()
        return f"{group}={choice}: unknown; {allowed_names(choice, (choices or '').split())}"
    if found := re.search(r"To append to your config use \+((\w+)=.*)", text):
        return f"{found[1]}: unknown key; {allowed_names(found[2], (*KEYS, 'experiment'))}"
    if found := re.search(r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)'", text):
        return f"{found[1] or found[2]}: several values are a sweep; {WITH_M}"
    return " ".join(f"{text}: {error.__cause__ or ''}".split()).strip(": ")
