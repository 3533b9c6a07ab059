"""The task that a stored run is judged by: its own, or that of words like task=contains task.extract=first_line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decodebench.errors import ConfigError, allowed_names

if TYPE_CHECKING:
    from decodebench.tasks import TaskConfig


def task_overrides(words: Sequence[str]) -> dict[str, Any]:
    """The keys and values of the words, as a launch reads them. Raises ConfigError for a word of another key."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from decodebench.commands.overrides import readable
    from decodebench.plan import conf_dir

    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key.partition(".")[0] != "task":
            raise ConfigError(
                f"score {word}: allowed beside the run or file are task=NAME and task.KEY=VALUE, as a launch has"
            )
    parsed = [OverridesParser.create().parse_override(word) for word in readable(words, [conf_dir()])]
    for one in parsed:
        if one.is_sweep_override():
            raise ConfigError(f"score {one.input_line}: several values; allowed is one (a list in brackets)")
    return {one.key_or_group: _plain(one.value()) for one in parsed}


def _plain(value: Any) -> Any:
    """A value of Hydra's parser without its quotes."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.text if hasattr(value, "text") else value


def task_of_run(run_dir: Path, overrides: Mapping[str, Any]) -> "TaskConfig":
    """The task of a run with these keys instead of its own; `task` begins with that file of conf/task. Raises
    ConfigError, one line, for a task or a key that there is not."""
    from omegaconf import OmegaConf

    from decodebench.plan import conf_dir, typed
    from decodebench.store import read_manifest
    from decodebench.tasks import TaskConfig

    changes = dict(overrides)
    name = changes.pop("task", None)
    if name is None:
        cells = read_manifest(run_dir)["cells"]
        node: Any = dict(cells[0]["config"].get("task") or {"name": "none"}) if cells else {"name": "none"}
    else:
        known = [path.stem for path in (conf_dir() / "task").glob("*.yaml")]
        if name not in known:
            raise ConfigError(f"task={name}: unknown; {allowed_names(str(name), known)}")
        node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "task" / f"{name}.yaml"))
    for key, value in changes.items():
        _put(node, key.split(".")[1:], value)
    return typed(TaskConfig, node, "task")


def _put(node: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a key, or one inside it (task.options.lang)."""
    for part in path[:-1]:
        inside = node.get(part)
        node[part] = node = dict(inside) if isinstance(inside, Mapping) else {}
    node[path[-1]] = value
