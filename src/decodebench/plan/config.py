"""conf/ -> typed configuration: where the yaml lives, and one clear error for a key or value that is not allowed."""

import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from decodebench.errors import ConfigError, allowed_names, worded
from decodebench.metrics import MetricsConfig
from decodebench.models import ModelConfig, ScorerConfig, check_config, said_by_model
from decodebench.plan.served import settled, takes
from decodebench.prompts import PromptsConfig, check_template
from decodebench.strategies import Strategy
from decodebench.tasks import TaskConfig

T = TypeVar("T")
_PLAIN = (int, float, str, bool)
GROUPS = ("model", "prompts", "strategy", "metrics", "scorer", "task", "choose", "latency", "engine")
KEYS = (*GROUPS, "name", "results", "seed")
_LARGEST_SEED = 2**63 - 1
"""What a table keeps as an integer."""
_COUNTS = ("rows", "width", "samples", "returns")
_SAID = ("second_model", "second_model_key", "is_search", "packs", "in_transformers")
"""What a strategy says of itself without a model: asked for before one is loaded, and what it raises said then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyConfig:
    """conf/latency: the timed pass; `rounds` 0 leaves it out."""

    name: str
    warmups: int
    rounds: int
    prompts: int
    new_tokens: int

    def __post_init__(self) -> None:
        if self.rounds == 0:
            return
        for key, least in (("warmups", 1), ("rounds", 3), ("prompts", 1), ("new_tokens", 2)):
            if getattr(self, key) < least:
                skip = " (latency=skip leaves the pass out)" if key == "rounds" else ""
                raise ConfigError(f"latency.{key}={getattr(self, key)}: allowed is {least} or more{skip}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """conf/engine: how cells are decoded together; None: a quarter of what is free, a thread for each core."""

    max_rows: int = 512
    memory_gb: float | None = None
    threads: int | None = None
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"engine.threads={self.threads}: allowed is 1 or more, or null (one for each core)")
        if self.max_rows < 1:
            raise ConfigError(f"engine.max_rows={self.max_rows}: allowed is 1 or more")
        if self.memory_gb is not None and not 0 < self.memory_gb < math.inf:
            raise ConfigError(f"engine.memory_gb={self.memory_gb}: allowed is a number above 0, or null")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseConfig:
    """conf/choose: which settings are tried, and how one of them is chosen (docs/choosing.md).

    `families` are strategies of conf/search, each with `trials` settings (None: nothing is chosen). `by` is the metric
    to choose by (None: `task`), `cost` the metric by which the cheapest is taken of those that cannot be told apart.
    `split`: "half" of the prompts choose and the others report, "none": the same ones do both. `require` are bounds
    that a setting must meet, `search` has ranges in place of conf/search, by family. `race`: settings that are shown to
    be worse are not decoded on all prompts that choose.
    """

    name: str = "default"
    families: list[str] | None = None
    trials: int = 16
    by: str | None = None
    cost: str = "computed_tokens"
    split: Literal["half", "none"] = "half"
    race: bool = False
    require: list[str] | None = None
    search: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for key in ("families", "require"):
            value = getattr(self, key)
            texts = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
            if value is not None and not texts:
                raise ConfigError(f"choose.{key}={value!r}: allowed is a list of texts, or null")
        if self.families and len(set(self.families)) < len(self.families):
            raise ConfigError(f"choose.families={self.families}: names one twice; allowed is each family once")
        if self.trials < 1:
            raise ConfigError(f"choose.trials={self.trials}: allowed is 1 or more")
        if self.split not in ("half", "none"):
            raise ConfigError(f"choose.split={self.split}: {allowed_names(str(self.split), ('half', 'none'))}")
        if self.race and self.split == "none":
            raise ConfigError(
                "choose.race=true: the prompts that report are those that choose, and all settings need all of them; "
                "allowed is false, or choose.split=half"
            )
        if self.search is not None and not isinstance(self.search, dict):
            raise ConfigError(f"choose.search={self.search!r:.80}: allowed are ranges by family, or null")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """One resolved Hydra job, typed; `resolved` is the same as plain containers, for the manifest."""

    name: str
    results: str
    seed: int
    model: ModelConfig
    prompts: PromptsConfig
    strategy_name: str
    strategy: Strategy
    metrics: MetricsConfig
    scorer: ScorerConfig
    task: TaskConfig
    choose: ChooseConfig
    latency: LatencyConfig
    engine: EngineConfig
    resolved: Mapping[str, Any]


def _text_keys() -> frozenset[str]:
    """The keys whose values are texts or lists of texts, of which a command line may look like a number."""
    of_strategies = (
        *("negative_prompt", "stop", "bad_words", "force_words", "dry_sequence_breakers"),
        *("draft", "amateur", "answer_pattern"),
    )
    found = {
        "name",
        "results",
        "prompts.ids",
        "choose.require",
        "choose.families",
        *(f"strategy.{name}" for name in of_strategies),
    }
    kinds = {
        "model": ModelConfig,
        "prompts": PromptsConfig,
        "metrics": MetricsConfig,
        "scorer": ScorerConfig,
        "task": TaskConfig,
    }
    for group, kind in kinds.items():
        for name, hint in typing.get_type_hints(kind).items():
            if str in (hint, *typing.get_args(hint)):
                found.add(f"{group}.{name}")
    return frozenset(found)


TEXT_KEYS = _text_keys()


def conf_dir() -> Path:
    """The folder of the yaml files: in an installed wheel inside the package, in a checkout at its root."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def job_config(cfg: DictConfig) -> JobConfig:
    """Check a composed job and give it types. Raises ConfigError (or what the parts raise), one line each."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return resolved_job({key: value for key, value in plain.items() if key != "hydra"})


def resolved_job(resolved: Mapping[str, Any]) -> JobConfig:
    """The same from plain containers that nothing is left to resolve in, such as a manifest keeps."""
    _check_run_keys(resolved)
    model = typed(ModelConfig, resolved["model"], "model")
    if takes(resolved["strategy"]):
        check_config(model)
        resolved = {**resolved, "strategy": settled(resolved["strategy"], said_by_model(model))}
    job = JobConfig(
        name=str(resolved["name"]),
        results=resolved["results"],
        seed=resolved["seed"],
        model=model,
        prompts=typed(PromptsConfig, resolved["prompts"], "prompts"),
        strategy_name=str(resolved["strategy"].get("name")),
        strategy=build_strategy(resolved["strategy"]),
        metrics=typed(MetricsConfig, resolved["metrics"], "metrics"),
        scorer=typed(ScorerConfig, resolved["scorer"], "scorer"),
        task=typed(TaskConfig, resolved["task"], "task"),
        choose=typed(ChooseConfig, resolved["choose"], "choose"),
        latency=typed(LatencyConfig, resolved["latency"], "latency"),
        engine=typed(EngineConfig, resolved["engine"], "engine"),
        resolved=resolved,
    )
    check_config(job.model)
    check_template(job.prompts.template)
    return job


def _check_run_keys(resolved: Mapping[str, Any]) -> None:
    """The keys of a run that no group has, and that nothing is missing or unknown."""
    for key in (*resolved, *KEYS):
        if key not in KEYS:
            raise ConfigError(f"{key}={resolved[key]}: unknown key; {allowed_names(str(key), KEYS)}")
        if key in GROUPS and not isinstance(resolved.get(key), Mapping):
            raise ConfigError(f"{key}={resolved.get(key)}: is missing; allowed is a name of conf/{key}")
    results, name, seed = resolved.get("results"), resolved.get("name"), resolved.get("seed")
    if not results or not isinstance(results, str):
        raise ConfigError(f"results={results}: allowed is the path of a folder, in which each run has its own")
    if type(name) not in (str, int) or str(name) in ("", ".", "..") or set("/\\") & set(str(name)):
        raise ConfigError(f"name={name}: allowed is one folder name, created below results={results}")
    if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:
        raise ConfigError(f"seed={seed}: allowed is a whole number, 0 or more, below 2**63")


def build_strategy(node: Mapping[str, Any]) -> Strategy:
    """The strategy of a yaml of conf/strategy: `_target_` names its class, `name` the yaml, the rest its numbers.
    Of what it leaves to a model it gets what holds where the model says nothing."""
    numbers = settled(node, {})
    target, name = numbers.pop("_target_", None), numbers.pop("name", None)
    if not target or not name:
        raise ConfigError("strategy: a strategy's yaml has `name` and `_target_` (the class); see CONTRIBUTING.md")
    module, _, attribute = str(target).rpartition(".")
    # The file of a strategy is anybody's: it may raise anything.
    with worded(f"strategy._target_={target}: cannot be imported"):
        kind = getattr(import_module(module), attribute)
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise ConfigError(f"strategy._target_={target}: is no subclass of decodebench.strategies.Strategy")
    with worded(f"strategy={name}: {target} cannot be used"):
        strategy = typed(kind, numbers, "strategy", owner=str(name))
        for count in _COUNTS:
            value = getattr(strategy, count)
            if type(value) is not int or value < 1:
                raise ConfigError(f"strategy={name}: {count} of {target} is {value!r}; allowed is 1 or more")
        for said in _SAID:
            getattr(strategy, said)
    return strategy


def typed(kind: type[T], node: Mapping[str, Any], key: str, owner: str | None = None) -> T:
    """An instance of a config dataclass from a yaml node: unknown keys and values of a wrong type are errors."""
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for wrong in node:
        if wrong not in names:
            what = f"has no effect with {key}={owner or node.get('name', 'default')}"
            raise ConfigError(f"{key}.{wrong}={node[wrong]}: {what}; {allowed_names(str(wrong), names)}")
    schema = OmegaConf.structured(_schema(kind))
    for name, value in node.items():
        try:
            OmegaConf.update(schema, name, value)
        except OmegaConfBaseException as error:
            allowed = _in_words(typing.get_type_hints(kind)[name])
            raise ConfigError(f"{key}.{name}={value}: must be {allowed}") from error
    values: Any = OmegaConf.to_container(schema)
    try:
        return kind(**{name: value for name, value in values.items() if not OmegaConf.is_missing(schema, name)})
    except TypeError as error:
        raise ConfigError(f"{key}: {error}") from error


def _schema(kind: type) -> type:
    """A plain dataclass with the same fields: OmegaConf makes frozen ones read-only and knows no Literal."""
    hints = typing.get_type_hints(kind)
    columns: list[tuple[str, Any, Any]] = []
    for f in fields(kind):
        default = f.default if f.default is not MISSING else "???"
        columns.append((f.name, _plain_hint(hints[f.name]), field(default=default)))
    return make_dataclass(kind.__name__, columns)


def _plain_hint(hint: Any) -> Any:
    """int, float, str and bool (or None) are checked by OmegaConf; a Literal is a string; the class checks the rest."""
    if hint in _PLAIN:
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return str
    inner = [a for a in arguments if a is not NoneType]
    if origin in (UnionType, typing.Union) and len(inner) == 1 and _plain_hint(inner[0]) in _PLAIN:
        return typing.Optional[_plain_hint(inner[0])]  # noqa: UP045 - OmegaConf reads this form on every Python
    return Any


def _in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    return " or ".join(words.get(part, str(part)) for part in typing.get_args(hint) or (hint,))
