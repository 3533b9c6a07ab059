"""A Hydra launch: composing the configuration, running it, and wording what Hydra finds wrong with it."""

import re
import sys
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from decodebench.config import GROUPS, conf_dir
from decodebench.errors import ConfigError, allowed_names


def launch(arguments: Sequence[str]) -> None:
    """Run Hydra over the arguments. Raises ConfigError, one line, where they cannot be composed."""
    # Hydra reads sys.argv itself; the manifest's command is taken from there too.
    sys.argv = [sys.argv[0], *arguments]
    application: Any = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)
    try:
        application()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, arguments)) from error


def task(cfg: DictConfig) -> str:
    """One job: a plain run, or one of a sweep under a launcher that runs them one after the other."""
    from decodebench.cells import plan
    from decodebench.config import job_config
    from decodebench.run import execute

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.RUN and hydra_cfg.sweeper.get("grids"):
        choice = hydra_cfg.runtime.choices.get("experiment")
        raise ConfigError(f"experiment={choice}: is a grid; launch it with -m (python -m decodebench -m ...)")
    return str(execute(plan([job_config(cfg)]), adds=hydra_cfg.mode == RunMode.MULTIRUN))


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """One line for an error of Hydra or OmegaConf: key, value, what is allowed, and the nearest name."""
    text = str(error) or str(error.__cause__)
    unknown_key = re.search(r"Could not (?:override|append to config|delete[^']*) '([^']+)'", text)
    unknown_choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if unknown_choice:
        group, choice = unknown_choice.groups()
        return f"{group}={choice}: unknown; {allowed_names(choice, _choices(group))}"
    if unknown_key:
        return _unknown_key(unknown_key[1], arguments)
    return " ".join((f"{text}: {error.__cause__}" if error.__cause__ and str(error) else text).split())


def _choices(group: str) -> list[str]:
    return [path.stem for path in (conf_dir() / group).glob("*.yaml")]


def _unknown_key(key: str, arguments: Sequence[str]) -> str:
    """The message for an override of a key that the composed configuration does not have."""
    parent, _, leaf = key.rpartition(".")
    value = next((a.split("=", 1)[1] for a in arguments if re.match(rf"[+~]*{re.escape(key)}=", a)), "")
    if not parent:
        groups = [path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "rules"]
        return f"{key}={value}: unknown key; {allowed_names(key, {*groups, 'name', 'results', 'seed'})}"
    group = parent.split(".", maxsplit=1)[0]
    given = [a.split("=", 1)[1].split(",")[0] for a in arguments if a.startswith(f"{group}=")]
    choice = given[-1] if given and given[-1] in _choices(group) else None
    node = _composed([f"{group}={choice}"] if choice else []).get(group)
    allowed = [str(k) for k in node if k not in ("_target_", "name")] if isinstance(node, DictConfig) else []
    name = choice or (node.get("name") if isinstance(node, DictConfig) else None) or "default"
    what = f"has no effect with {group}={name}" if group in GROUPS else "unknown key"
    return f"{key}={value}: {what}; {allowed_names(leaf, allowed)}"


def _composed(overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        composed = hydra.compose(config_name="config", overrides=overrides)
    OmegaConf.set_struct(composed, False)
    return composed
